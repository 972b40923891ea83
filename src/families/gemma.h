// What the Gemma families have in common.
#pragma once

#include "families/decoder.h"
#include "families/family.h"

namespace bitsmith {

class GemmaFamily : public Family {
 public:
  Graph build(const nlohmann::json& config) const final;
  float norm_offset() const final { return 1; }

 protected:
  // Adds to the traits of all.
  virtual void differ(DecoderTraits& traits) const = 0;
};

}  // namespace bitsmith

// Qwen2 and Qwen2.5: Llama with biases on q, k and v.
#include "families/decoder.h"
#include "families/family.h"
#include "families/window.h"

namespace bitsmith {
namespace {

class Qwen2 final : public Family {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"qwen2", "Qwen2 and Qwen2.5: Llama with biases on q, k and v",
                                "Yang et al. 2024, arXiv 2407.10671"};
    return kInfo;
  }

  Graph build(const nlohmann::json& config) const override {
    DecoderTraits traits;
    traits.qkv_bias = true;
    traits.window = optional_window;
    return build_decoder(config, traits);
  }
};

const Registration<Family, Qwen2> registration;

}  // namespace
}  // namespace bitsmith

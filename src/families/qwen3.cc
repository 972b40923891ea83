// Qwen3, dense: Llama with an RMS norm on each head of q and k.
#include "families/decoder.h"
#include "families/family.h"
#include "families/window.h"

namespace bitsmith {
namespace {

class Qwen3 final : public Family {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"qwen3",
                                "Qwen3, dense: Llama with an RMS norm on each head of q and k",
                                "Yang et al. 2025, arXiv 2505.09388"};
    return kInfo;
  }

  Graph build(const nlohmann::json& config) const override {
    DecoderTraits traits;
    traits.qk_norm = true;
    traits.window = optional_window;
    return build_decoder(config, traits);
  }
};

const Registration<Family, Qwen3> registration;

}  // namespace
}  // namespace bitsmith

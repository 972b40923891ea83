// Mistral 7B, Nemo and Small: Llama with an optional sliding window.
#include "families/decoder.h"
#include "families/family.h"

namespace bitsmith {
namespace {

class Mistral final : public Family {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"mistral",
                                "Mistral 7B, Nemo and Small: Llama with an optional sliding window",
                                "Jiang et al. 2023, arXiv 2310.06825"};
    return kInfo;
  }

  Graph build(const nlohmann::json& config) const override {
    DecoderTraits traits;
    traits.window = [](const Config& c, int64_t) { return c.size_or("sliding_window", 0); };
    return build_decoder(config, traits);
  }
};

const Registration<Family, Mistral> registration;

}  // namespace
}  // namespace bitsmith

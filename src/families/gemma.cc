// Gemma 1: Llama with a scaled and tied table, gated gelu, norms of 1 + w, heads of any size.
#include "families/gemma.h"

namespace bitsmith {

Graph GemmaFamily::build(const nlohmann::json& config) const {
  Config(config).size(
      "head_dim");  // it is not hidden_size / num_attention_heads where it is absent
  DecoderTraits traits;
  traits.scaled_embedding = true;
  traits.tied = true;
  traits.gelu = true;
  differ(traits);
  return build_decoder(config, traits);
}

namespace {

class Gemma final : public GemmaFamily {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{
        "gemma", "Gemma 1: Llama with a scaled and tied table, gated gelu and norms of 1 + w",
        "Gemma Team 2024, arXiv 2403.08295"};
    return kInfo;
  }

 private:
  void differ(DecoderTraits&) const override {}
};

const Registration<Family, Gemma> registration;

}  // namespace
}  // namespace bitsmith

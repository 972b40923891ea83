// Gemma 2: Gemma with norms behind layers too, soft caps, and a window on every other layer.
#include "families/gemma.h"
#include "families/window.h"

namespace bitsmith {
namespace {

class Gemma2 final : public GemmaFamily {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{
        "gemma2", "Gemma 2: norms behind layers too, soft caps, a window on every other layer",
        "Gemma Team 2024, arXiv 2408.00118"};
    return kInfo;
  }

 private:
  void differ(DecoderTraits& traits) const override {
    traits.post_norms = true;
    traits.query_scalar = true;
    traits.soft_caps = {.scores = 50, .logits = 30};
    traits.window = [](const Config& c, int64_t layer) { return periodic_window(c, layer, 2); };
  }
};

const Registration<Family, Gemma2> registration;

}  // namespace
}  // namespace bitsmith

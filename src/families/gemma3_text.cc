// Gemma 3, text: Gemma 2 with norms on q and k instead of soft caps, and a window on five layers of
// six, which rotate with frequencies of their own.
#include "families/gemma.h"
#include "families/window.h"

namespace bitsmith {
namespace {

class Gemma3Text final : public GemmaFamily {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{"gemma3_text",
                                "Gemma 3, text: norms on q and k, a window on five layers of six",
                                "Gemma Team 2025, arXiv 2503.19786"};
    return kInfo;
  }

 private:
  void differ(DecoderTraits& traits) const override {
    traits.post_norms = true;
    traits.query_scalar = true;
    traits.qk_norm = true;
    traits.soft_caps = SoftCaps{};
    traits.local_rope = true;
    traits.window = [](const Config& c, int64_t layer) { return periodic_window(c, layer, 6); };
  }
};

const Registration<Family, Gemma3Text> registration;

}  // namespace
}  // namespace bitsmith

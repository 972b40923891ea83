// Codec `nvfp4`: blocks of 16 E2M1 numbers with an E4M3 scale, in units of one binary32.
#include "codecs/grid.h"
#include "tensor/minifloat.h"

namespace bitsmith {
namespace {

class Nvfp4Codec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  std::string label(const Options& options) const override {
    const std::string& rule = options.text("rule");
    return rule == "amax" ? std::string("nvfp4") : "nvfp4 " + rule;
  }

 protected:
  GridFormat format(const Options& options) const override {
    const std::string& rule = options.text("rule");
    std::vector<float> levels;
    for (uint8_t code = 0; code < 16; ++code) levels.push_back(kE2M1.decode(code));
    return {.grids = {Grid(std::move(levels))},
            .bits = 4,
            .group = 16,
            .scale = ScaleFormat::kE4m3,
            .rule = rule == "best"            ? ScaleRule::kBest
                    : rule == "four_over_six" ? ScaleRule::kFourOverSix
                                              : ScaleRule::kExtreme};
  }

 private:
  PartInfo info_{
      .id = "nvfp4",
      .summary = "E2M1 numbers in blocks of 16 with an E4M3 scale and a binary32 of the tensor",
      .source = "NVIDIA 2025 (NVFP4), arXiv:2509.25149; four over six: arXiv:2512.02010",
      .options = {{"rule",
                   std::string("best"),
                   "scale of a block: amax: the extreme becomes 6; four_over_six: 6 or "
                   "4; best: least error",
                   -1e300,
                   1e300,
                   {"amax", "four_over_six", "best"}}}};
};

const Registration<Codec, Nvfp4Codec> kRegistration;

}  // namespace
}  // namespace bitsmith

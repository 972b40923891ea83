// Codec `nf4`: 4-bit NormalFloat, levels at quantiles of a Gaussian, with a scale per group.
#include "codecs/grid.h"

namespace bitsmith {
namespace {

// QLoRA, appendix E: code 7 is 0, code 0 is -1, code 15 is 1.
const std::vector<float> kLevels = {-1.0F,         -0.696192801F, -0.525073051F, -0.394917488F,
                                    -0.284441382F, -0.184773430F, -0.091050036F, 0.0F,
                                    0.079580300F,  0.160930201F,  0.246112302F,  0.337915242F,
                                    0.440709829F,  0.562617004F,  0.722956836F,  1.0F};

class Nf4Codec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format("nf4 {}{}", group_label(options.integer("group")),
                       scale == "f16" ? "" : " " + scale);
  }

 protected:
  GridFormat format(const Options& options) const override {
    return {.grids = {Grid(kLevels)},
            .bits = 4,
            .group = options.integer("group"),
            .scale = parse_scale_format(options.text("scale"))};
  }

 private:
  PartInfo info_{.id = "nf4",
                 .summary = "4-bit NormalFloat with a scale per group of a row",
                 .source = "Dettmers et al. 2023 (QLoRA), arXiv:2305.14314",
                 .options = {group_option(64), scale_option("f16")}};
};

const Registration<Codec, Nf4Codec> kRegistration;

}  // namespace
}  // namespace bitsmith

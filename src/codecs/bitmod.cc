// Codec `bitmod`: 3- or 4-bit floats whose negative zero is one of four other numbers, chosen for
// each group.
#include "codecs/grid.h"

namespace bitsmith {
namespace {

class BitmodCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format("bitmod{} {}{}", options.integer("bits"),
                       group_label(options.integer("group")), scale == "f16" ? "" : " " + scale);
  }

 protected:
  // Signed by 0 1 2 4 (3 bits) or 0 .5 1 1.5 2 3 4 6 (4 bits), with the code of -0 replaced, and
  // divided by 4.
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    const std::vector<float> magnitudes = bits == 3
                                              ? std::vector<float>{0, 1, 2, 4}
                                              : std::vector<float>{0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
    const std::vector<float> specials =
        bits == 3 ? std::vector<float>{3, -3, 6, -6} : std::vector<float>{5, -5, 8, -8};
    GridFormat result{.grids = {},
                      .grid_per_group = true,
                      .bits = bits,
                      .group = options.integer("group"),
                      .scale = parse_scale_format(options.text("scale"))};
    for (const float special : specials) {
      std::vector<float> levels = signed_levels(magnitudes);
      levels[magnitudes.size()] = special;
      for (float& level : levels) level *= 0.25F;
      result.grids.emplace_back(std::move(levels));
    }
    return result;
  }

 private:
  PartInfo info_{
      .id = "bitmod",
      .summary = "3- or 4-bit floats with one more number that each group chooses",
      .source = "Chen et al. 2024 (BitMoD), arXiv:2411.11745; differs: one byte for the choice",
      .options = {
          {"bits", int64_t{3}, "bits per code", 3, 4}, group_option(128), scale_option("f16")}};
};

const Registration<Codec, BitmodCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

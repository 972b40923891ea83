// Codec `pot`: signed powers of two, with or without a zero, times a scale per group.
#include <cmath>

#include "codecs/grid.h"

namespace bitsmith {
namespace {

class PotCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options&) const override { return {0, 1, 0, 0, true}; }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format("pot{} {}{}{}", options.integer("bits"),
                       group_label(options.integer("group")),
                       options.flag("zero") ? "" : " nonzero", scale == "f16" ? "" : " " + scale);
  }

 protected:
  // The highest bit is the sign. With zero, magnitude 0 is 0 and m > 0 is 2^(m - largest m); the
  // code of -0 is not used. Without, m is 2^(m - largest m).
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    const bool zero = options.flag("zero");
    const int count = 1 << (bits - 1);
    std::vector<float> magnitudes;
    for (int m = 0; m < count; ++m) {
      magnitudes.push_back(zero && m == 0 ? 0.0F : std::ldexp(1.0F, m - count + 1));
    }
    return {.grids = {Grid(signed_levels(magnitudes))},
            .bits = bits,
            .group = options.integer("group"),
            .scale = parse_scale_format(options.text("scale"))};
  }

 private:
  PartInfo info_{
      .id = "pot",
      .summary = "signed powers of two, with or without a zero, with a scale per group of a row",
      .source =
          "Zhou et al. 2017 (INQ), arXiv:1702.03044; Elhoushi et al. 2019 (DeepShift), "
          "arXiv:1905.13298; without zero: Li et al. 2022 (DenseShift), arXiv:2208.09708",
      .options = {{"bits", int64_t{4}, "bits per code, the sign included", 2, 6},
                  {"zero", true, "false: no zero, one more power (DenseShift)"},
                  group_option(64),
                  scale_option("f16")}};
};

const Registration<Codec, PotCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

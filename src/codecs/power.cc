// Codec `power`: integers raised to a power, the exponent chosen for the tensor or for each group.
#include <cmath>

#include "codecs/grid.h"

namespace bitsmith {
namespace {

// Exponents from 1/2 to 5/2 in steps of 1/16.
constexpr int kExponents = 33;

class PowerCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format(
        "power{} {}{}{}", options.integer("bits"), group_label(options.integer("group")),
        options.flag("per_group") ? " own exponents" : "", scale == "f16" ? "" : " " + scale);
  }

 protected:
  // Sign and magnitude k: the level is (k / largest k)^exponent, exponent = (8 + i) / 16 for the
  // grid i. Exponent 1 is the uniform grid; above it levels are dense near 0. The sign of a product
  // and its order are kept: x ↦ sign(x) |x|^a is an automorphism of multiplication.
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    const int largest = (1 << (bits - 1)) - 1;
    GridFormat result{.grids = {},
                      .grid_per_group = options.flag("per_group"),
                      .bits = bits,
                      .group = options.integer("group"),
                      .scale = parse_scale_format(options.text("scale"))};
    for (int i = 0; i < kExponents; ++i) {
      const double exponent = (8 + i) / 16.0;
      std::vector<float> magnitudes;
      for (int k = 0; k <= largest; ++k) {
        magnitudes.push_back(short_level(std::pow(static_cast<double>(k) / largest, exponent)));
      }
      result.grids.emplace_back(signed_levels(magnitudes));
    }
    return result;
  }

 private:
  PartInfo info_{
      .id = "power",
      .summary = "integers raised to a power that is searched, with a scale per group of a row",
      .source =
          "Yvinec et al. 2023 (PowerQuant), arXiv:2301.09858; NUPES, arXiv:2308.05600; "
          "differs: exponents in steps of 1/16",
      .options = {{"bits", int64_t{4}, "bits per code, the sign included", 2, 8},
                  {"per_group", false, "an exponent for each group, one byte; else for the tensor"},
                  group_option(64),
                  scale_option("f16")}};
};

const Registration<Codec, PowerCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `log2`: logarithmic levels of one or two words, times a scale per group.
#include <cmath>

#include "codecs/grid.h"
#include "core/error.h"

namespace bitsmith {
namespace {

class Log2Codec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  // Two words of whole exponents are two shifts.
  ProductCost product_cost(const Options& options) const override {
    if (options.integer("fraction") != 1) return {};
    const int words = options.integer("second") > 0 ? 2 : 1;
    return {0, words, words - 1, 0, true};
  }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format("log{} /{} +{} {}{}", options.integer("bits"), options.integer("fraction"),
                       options.integer("second"), group_label(options.integer("group")),
                       scale == "f16" ? "" : " " + scale);
  }

 protected:
  // From the highest bit down: the sign, the first word a, the second word b (`second` bits).
  //     first word   2^(-(A - a) / fraction), A the largest a; a = 0 with b = 0 is 0
  //     second word  b = 0: none; b > 0: the first word times 2^-b is added
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    const int second = static_cast<int>(options.integer("second"));
    const double fraction = static_cast<double>(options.integer("fraction"));
    const int first = bits - 1 - second;
    if (first < 1 || first > 5) {
      fail(
          ErrorCode::kInvalidArgument,
          "codec 'log2': {} bits are a sign, {} bits of the second word and {} of the first, which "
          "must be 1 to 5",
          bits, second, first);
    }
    std::vector<float> magnitudes;
    const int largest = (1 << first) - 1;
    for (int a = 0; a <= largest; ++a) {
      for (int b = 0; b < 1 << second; ++b) {
        const double word = std::exp2(-(largest - a) / fraction);
        const double sum = word * (b == 0 ? 1.0 : 1.0 + std::exp2(-b));
        magnitudes.push_back(a == 0 && b == 0 ? 0.0F : short_level(sum));
      }
    }
    return {.grids = {Grid(signed_levels(magnitudes))},
            .bits = bits,
            .group = options.integer("group"),
            .scale = parse_scale_format(options.text("scale"))};
  }

 private:
  PartInfo info_{
      .id = "log2",
      .summary = "logarithmic levels of one or two words, with a scale per group of a row",
      .source =
          "Miyashita et al. 2016, arXiv:1603.01025; two words: Xu et al. 2022 (STLQ), "
          "arXiv:2012.10615",
      .options = {{"bits", int64_t{4}, "bits per code, the sign included", 2, 8},
                  {"second", int64_t{1}, "bits of the second word; 0: one word", 0, 4},
                  {"fraction", int64_t{1}, "levels of the first word per factor of two", 1, 4},
                  group_option(64),
                  scale_option("f16")}};
};

const Registration<Codec, Log2Codec> kRegistration;

}  // namespace
}  // namespace bitsmith

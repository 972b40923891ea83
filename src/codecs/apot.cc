// Codec `apot`: additive powers of two, sums of a few powers of two, times a scale per group.
#include <cmath>

#include "codecs/grid.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// The sums Σ_i p_i, p_i in {0, 2^-i, 2^-(i+k), 2^-(i+2k), ...}, i in [0, k): term i has n_i bits of
// the magnitude, term 0 the lowest; m of them choose no power (0) or the power 2^-(i + (2^n_i - 1 -
// m) k). All sums differ, since no two terms share a power. Li, Dong, Wang 2020, eq. 4 and 5.
std::vector<float> additive_powers(int magnitude_bits, int terms) {
  std::vector<float> sums = {0.0F};
  for (int i = 0; i < terms; ++i) {
    const int bits = (magnitude_bits + terms - 1 - i) / terms;  // n_i: they differ by at most one
    std::vector<float> next;
    for (int m = 0; m < 1 << bits; ++m) {
      const float power = m == 0 ? 0.0F : std::ldexp(1.0F, -(i + ((1 << bits) - 1 - m) * terms));
      for (const float sum : sums) next.push_back(sum + power);
    }
    sums = std::move(next);
  }
  return sums;
}

class ApotCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options& options) const override {
    const int terms = static_cast<int>(options.integer("terms"));
    return {0, terms, terms - 1, 0, true};
  }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format("apot{} k{} {}{}", options.integer("bits"), options.integer("terms"),
                       group_label(options.integer("group")), scale == "f16" ? "" : " " + scale);
  }

 protected:
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    const int terms = static_cast<int>(options.integer("terms"));
    // A term of 5 bits would reach below 2^-30.
    if (terms > bits - 1 || (bits - 1 + terms - 1) / terms > 4) {
      fail(ErrorCode::kInvalidArgument,
           "codec 'apot': {} bits besides the sign cannot be split into {} terms of 1 to 4 bits",
           bits - 1, terms);
    }
    return {.grids = {Grid(signed_levels(normalized(additive_powers(bits - 1, terms))))},
            .bits = bits,
            .group = options.integer("group"),
            .scale = parse_scale_format(options.text("scale"))};
  }

 private:
  PartInfo info_{
      .id = "apot",
      .summary = "additive powers of two: sums of a few powers, with a scale per group of a row",
      .source = "Li, Dong, Wang 2020 (APoT), arXiv:1909.13144",
      .options = {{"bits", int64_t{4}, "bits per code, the sign included", 2, 8},
                  {"terms", int64_t{2}, "powers in a sum", 1, 4},
                  group_option(64),
                  scale_option("f16")}};
};

const Registration<Codec, ApotCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `bfp`: block floating point, signs and mantissas of a block with one exponent.
#include "codecs/grid.h"
#include "codecs/microscaling.h"

namespace bitsmith {
namespace {

class BfpCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options& options) const override {
    return {.bits = static_cast<int>(options.integer("bits"))};
  }

  std::string label(const Options& options) const override {
    return fmt::format("bfp{} {}{}", options.integer("bits"), group_label(options.integer("group")),
                       rule_label(options));
  }

 protected:
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    return {.grids = {fixed_point_grid(bits)},
            .bits = bits,
            .group = options.integer("group"),
            .scale = ScaleFormat::kE8m0,
            .rule = parse_e8m0_rule(options.text("rule"))};
  }

 private:
  PartInfo info_{
      .id = "bfp",
      .summary = "block floating point: sign and mantissa, one 8-bit exponent per group of a row",
      .source = "Wilkinson 1963; Rouhani et al. 2020 (MSFP), NeurIPS",
      .options = {
          {"bits", int64_t{4}, "bits of sign and mantissa", 2, 8},
          {"group", int64_t{16}, "columns that share an exponent; 0: the whole row", 0, 1 << 20},
          e8m0_rule_option("floor")}};
};

const Registration<Codec, BfpCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

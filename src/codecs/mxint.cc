// Codec `mxint`: OCP MXINT8, and its narrower relatives: blocks of 32 fixed-point numbers with a
// power-of-two scale.
#include "codecs/grid.h"
#include "codecs/microscaling.h"

namespace bitsmith {
namespace {

class MxintCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options& options) const override {
    return {.bits = static_cast<int>(options.integer("bits"))};
  }

  std::string label(const Options& options) const override {
    return fmt::format("mxint{}{}", options.integer("bits"), rule_label(options));
  }

 protected:
  // Two's complement k with the value k / 2^(bits-2). The lowest code, -2, is decoded but not used:
  // the specification leaves that open, and without it the grid is symmetric.
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    const int half = 1 << (bits - 1);
    std::vector<float> levels;
    for (int code = 0; code < 2 * half; ++code) {
      const int k = code < half ? code : code - 2 * half;
      levels.push_back(2.0F * static_cast<float>(k) / static_cast<float>(half));
    }
    return {.grids = {Grid(std::move(levels), /*unused=*/half)},
            .bits = bits,
            .group = kMicroscalingBlock,
            .scale = ScaleFormat::kE8m0,
            .rule = parse_e8m0_rule(options.text("rule"))};
  }

 private:
  PartInfo info_{
      .id = "mxint",
      .summary = "fixed-point numbers in blocks of 32 with a power-of-two scale (MXINT8)",
      .source = "OCP Microscaling formats 1.0; Rouhani et al. 2023, arXiv:2310.10537",
      .options = {{"bits", int64_t{8}, "bits per code", 2, 8}, e8m0_rule_option("floor")}};
};

const Registration<Codec, MxintCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

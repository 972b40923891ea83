// Codec `minifloat`: floating-point numbers of 2 to 8 bits times a scale per group.
#include "tensor/minifloat.h"

#include "codecs/grid.h"
#include "core/error.h"

namespace bitsmith {
namespace {

class MiniFloatCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options& options) const override {
    return {.bits =
                static_cast<int>(1 + options.integer("exponent") + options.integer("mantissa"))};
  }

  std::string label(const Options& options) const override {
    const auto exponent = options.integer("exponent");
    const auto mantissa = options.integer("mantissa");
    const std::string& scale = options.text("scale");
    return fmt::format("fp{} e{}m{} {}{}", 1 + exponent + mantissa, exponent, mantissa,
                       group_label(options.integer("group")), scale == "f16" ? "" : " " + scale);
  }

 protected:
  // Levels are normalized to a largest number in [1, 2): the exponent bias of the format is a power
  // of two in the scale.
  GridFormat format(const Options& options) const override {
    const int exponent = static_cast<int>(options.integer("exponent"));
    const int mantissa = static_cast<int>(options.integer("mantissa"));
    const int bits = 1 + exponent + mantissa;
    const std::string& reserved_name = options.text("reserved");
    const int reserved = reserved_name == "nan" ? 1 : reserved_name == "ieee" ? 1 << mantissa : 0;
    if (bits < 2 || bits > 8 || reserved >= (1 << (bits - 1)) - 1) {
      fail(ErrorCode::kInvalidArgument,
           "codec 'minifloat': 1 sign, {} exponent and {} mantissa bits with reserved codes '{}'; "
           "they must be 2 to 8 bits with numbers left",
           exponent, mantissa, reserved_name);
    }
    const int bias = exponent > 0 ? (1 << (exponent - 1)) - 1 : 1;
    const MiniFloat numbers{exponent, mantissa, bias, reserved};
    std::vector<float> magnitudes;
    for (int code = 0; code < 1 << (bits - 1); ++code) {
      magnitudes.push_back(
          code <= numbers.largest_code() ? numbers.decode(static_cast<uint8_t>(code)) : 0.0F);
    }
    return {.grids = {Grid(signed_levels(normalized(magnitudes)))},
            .bits = bits,
            .group = options.integer("group"),
            .scale = parse_scale_format(options.text("scale"))};
  }

 private:
  PartInfo info_{
      .id = "minifloat",
      .summary = "floating-point numbers of 2 to 8 bits with a scale per group of a row",
      .source =
          "Kuzmin et al. 2022, arXiv:2208.09225; Micikevicius et al. 2022 (FP8), "
          "arXiv:2209.05433; LLM-FP4, arXiv:2310.16836",
      .options = {{"exponent", int64_t{2}, "exponent bits", 0, 7},
                  {"mantissa", int64_t{1}, "mantissa bits", 0, 7},
                  {"reserved",
                   std::string("none"),
                   "codes that are no numbers: nan: the largest (E4M3); ieee: the largest exponent",
                   -1e300,
                   1e300,
                   {"none", "nan", "ieee"}},
                  group_option(64),
                  scale_option("f16")}};
};

const Registration<Codec, MiniFloatCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

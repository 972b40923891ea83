// Codec `mxfp`: OCP MXFP4, MXFP6 and MXFP8: blocks of 32 minifloats with a power-of-two scale.
#include "codecs/grid.h"
#include "codecs/microscaling.h"
#include "tensor/minifloat.h"

namespace bitsmith {
namespace {

const MiniFloat& element(const std::string& name) {
  if (name == "e2m1") return kE2M1;
  if (name == "e2m3") return kE2M3;
  if (name == "e3m2") return kE3M2;
  if (name == "e4m3") return kE4M3;
  BITSMITH_ASSERT(name == "e5m2");
  return kE5M2;
}

class MxfpCodec final : public GridCodec {
 public:
  const PartInfo& info() const override { return info_; }

  std::string label(const Options& options) const override {
    const std::string& name = options.text("element");
    return fmt::format("mxfp{} {}{}", element(name).bits(), name, rule_label(options));
  }

 protected:
  // Levels as they are, so that scales are those of the specification.
  GridFormat format(const Options& options) const override {
    const MiniFloat& numbers = element(options.text("element"));
    std::vector<float> levels;
    for (int code = 0; code < 1 << numbers.bits(); ++code) {
      const int magnitude = code & ((1 << (numbers.bits() - 1)) - 1);
      levels.push_back(
          magnitude <= numbers.largest_code() ? numbers.decode(static_cast<uint8_t>(code)) : 0.0F);
    }
    return {.grids = {Grid(std::move(levels))},
            .bits = numbers.bits(),
            .group = kMicroscalingBlock,
            .scale = ScaleFormat::kE8m0,
            .rule = parse_e8m0_rule(options.text("rule"))};
  }

 private:
  PartInfo info_{.id = "mxfp",
                 .summary = "minifloats in blocks of 32 with a power-of-two scale (MXFP4, 6, 8)",
                 .source = "OCP Microscaling formats 1.0; Rouhani et al. 2023, arXiv:2310.10537",
                 .options = {{"element",
                              std::string("e2m1"),
                              "format of a number",
                              -1e300,
                              1e300,
                              {"e2m1", "e2m3", "e3m2", "e4m3", "e5m2"}},
                             e8m0_rule_option("floor")}};
};

const Registration<Codec, MxfpCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `binary`: signs times a scale per group, around 0 or around a mean.
#include <cmath>

#include "codecs/digit_matrix.h"
#include "codecs/lloyd_max.h"
#include "codecs/table.h"

namespace bitsmith {
namespace {

class BinaryCodec final : public TableCodec, public DigitCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options&) const override { return {0, 0, 0, 0, false}; }

  std::string label(const Options& options) const override {
    return fmt::format("binary {}{}", group_label(options.integer("group")),
                       options.flag("mean") ? " mean" : "");
  }

  // The mean is estimated from rounded numbers when decoded values are coded again.
  bool is_idempotent(const Options& options) const override { return !options.flag("mean"); }

  std::optional<DigitMatrix> digit_matrix(const MatrixShape& shape,
                                          const Options& options) const override {
    return DigitMatrix{
        .layout = layout(shape, format(options)), .step = 2, .has_mean = options.flag("mean")};
  }

  TableFormat format(const Options& options) const override {
    return {.group = options.integer("group"), .parameters = options.flag("mean") ? 2 : 1};
  }

  // Parameters: the scale, then the mean, if there is one. Code 1 is mean + scale.
  void expand(const Options&, std::span<const float> parameters,
              std::span<float> levels) const override {
    const float mean = parameters.size() > 1 ? parameters[1] : 0.0F;
    levels[0] = mean - parameters[0];
    levels[1] = mean + parameters[0];
  }

  // Around 0 the best scale is the mean magnitude. With a mean, the two levels are free: the best
  // quantizer of two levels.
  void fit(const Options&, const TableGroup& group, std::span<float> parameters) const override {
    if (parameters.size() > 1) {
      const std::vector<float> levels = lloyd_max_levels(group.w, group.importance, 2);
      parameters[0] = 0.5F * levels[1] - 0.5F * levels[0];
      parameters[1] = 0.5F * levels[1] + 0.5F * levels[0];
      return;
    }
    double sum = 0;
    double weights = 0;
    for (size_t i = 0; i < group.w.size(); ++i) {
      const double weight =
          group.importance != nullptr ? static_cast<double>(group.importance[i]) : 1.0;
      sum += weight * static_cast<double>(std::fabs(group.w[i]));
      weights += weight;
    }
    parameters[0] = weights > 0 ? static_cast<float>(sum / weights) : 0.0F;
  }

 private:
  PartInfo info_{
      .id = "binary",
      .summary = "signs times a scale per group of a row, around 0 or a mean",
      .source = "Rastegari et al. 2016 (XNOR-Net), arXiv:1603.05279",
      .options = {group_option(128), {"mean", false, "levels mean ± scale, not ± scale"}}};
};

const Registration<Codec, BinaryCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

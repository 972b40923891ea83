// Codec `ternary`: -1, 0 and 1 times a scale per group, five to a byte.
#include "codecs/ternary.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "codecs/digit_matrix.h"
#include "codecs/table.h"

namespace bitsmith {
namespace {

// The best s >= 0 for numbers >= 0 that become 0 or s.
float best_step(std::vector<std::pair<float, double>>& magnitudes) {
  std::ranges::sort(magnitudes, [](const auto& a, const auto& b) { return a.first > b.first; });
  double weight = 0;
  double sum = 0;
  double most = 0;
  double step = 0;
  for (const auto& [magnitude, w] : magnitudes) {
    weight += w;
    sum += w * static_cast<double>(magnitude);
    if (weight > 0 && sum * sum / weight > most) {
      most = sum * sum / weight;
      step = sum / weight;
    }
  }
  return static_cast<float>(step);
}

}  // namespace

TernaryLevels best_ternary(std::span<const float> w, const float* weights, bool symmetric) {
  std::vector<std::pair<float, double>> sides[2];
  for (size_t i = 0; i < w.size(); ++i) {
    const double weight = weights != nullptr ? static_cast<double>(weights[i]) : 1.0;
    sides[!symmetric && w[i] < 0 ? 1 : 0].emplace_back(std::fabs(w[i]), weight);
  }
  const float positive = best_step(sides[0]);
  return {positive, symmetric ? positive : best_step(sides[1])};
}

namespace {

class TernaryCodec final : public TableCodec, public DigitCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options&) const override { return {0, 0, 0, 0, true}; }

  std::string label(const Options& options) const override {
    return fmt::format("ternary {}{}", group_label(options.integer("group")),
                       options.flag("symmetric") ? "" : " two scales");
  }

  std::optional<DigitMatrix> digit_matrix(const MatrixShape& shape,
                                          const Options& options) const override {
    if (!options.flag("symmetric")) return std::nullopt;
    return DigitMatrix{.layout = layout(shape, format(options))};
  }

  TableFormat format(const Options& options) const override {
    return {.base = 3,
            .digits = 1,
            .group = options.integer("group"),
            .parameters = options.flag("symmetric") ? 1 : 2};
  }

  // Code 0 is the negative level, 1 is 0, 2 the positive one.
  void expand(const Options&, std::span<const float> parameters,
              std::span<float> levels) const override {
    levels[0] = -parameters.back();
    levels[1] = 0.0F;
    levels[2] = parameters.front();
  }

  void fit(const Options& options, const TableGroup& group,
           std::span<float> parameters) const override {
    const TernaryLevels best = best_ternary(group.w, group.importance, options.flag("symmetric"));
    parameters.front() = best.positive;
    if (parameters.size() > 1) parameters[1] = best.negative;
  }

 private:
  PartInfo info_{
      .id = "ternary",
      .summary = "-1, 0 and 1 times a scale per group of a row, five codes to a byte",
      .source =
          "Li, Zhang, Liu 2016 (TWN), arXiv:1605.04711; two scales: Zhu et al. 2017 (TTQ), "
          "arXiv:1612.01064; Ma et al. 2024 (BitNet b1.58), arXiv:2402.17764",
      .options = {group_option(128),
                  {"symmetric", true, "false: negative and positive codes have their own scales"}}};
};

const Registration<Codec, TernaryCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

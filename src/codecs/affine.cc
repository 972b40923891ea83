// Codec `affine`: uniform codes with a scale and an offset of any value per group of a row.
#include <algorithm>
#include <cmath>

#include "codecs/int_fit.h"
#include "codecs/table.h"

namespace bitsmith {
namespace {

// w = offset + scale * code. Beside `int`, whose zero points are whole numbers so that kernels
// multiply integers and whose levels include 0, the levels lie anywhere.
struct Line {
  double scale = 0;
  double offset = 0;
};

// What a group's line is judged by: Σ importance |w - q|^norm.
class Group {
 public:
  Group(const TableGroup& group, int64_t bits, double norm)
      : group_(group), most_(std::ldexp(1.0, static_cast<int>(bits)) - 1), norm_(norm) {}

  // The smallest weight on the first code, the largest on the last, which a scale of few digits
  // that was rounded up would miss.
  Line plain() const {
    const auto [least, most] = std::ranges::minmax(group_.w);
    const double range = static_cast<double>(most) - static_cast<double>(least);
    Line line = rounded({range / most_, static_cast<double>(least)});
    if (range < line.scale * (most_ - 0.5)) {
      line.scale = static_cast<double>(truncate_to_f16(static_cast<float>(range / most_)));
    }
    return line;
  }

  // Half-quadratic splitting: with e for what is left of the errors after those that the norm
  // forgives are shrunk to 0, the line is the least-squares fit of w - e for the codes that w has
  // under the last line. Ends at the first round that does not lower the objective.
  Line fitted(int rounds) const {
    constexpr double kGrowth = 1.01;
    double penalty = 10;
    Line best = plain();
    double least = objective(best);
    for (int round = 0; round < rounds && best.scale > 0; ++round, penalty *= kGrowth) {
      const Line next = refit(best, penalty);
      const double value = objective(next);
      if (!(value < least)) break;
      least = value;
      best = next;
    }
    return best;
  }

 private:
  // As they are stored.
  static Line rounded(const Line& line) {
    return {static_cast<double>(round_to_f16(static_cast<float>(line.scale))),
            static_cast<double>(round_to_f16(static_cast<float>(line.offset)))};
  }

  double weight(size_t i) const {
    return group_.importance != nullptr ? static_cast<double>(group_.importance[i]) : 1.0;
  }
  double code(const Line& line, double w) const {
    if (!(line.scale > 0)) return 0;
    return std::floor(std::clamp((w - line.offset) / line.scale, 0.0, most_) + 0.5);
  }

  double objective(const Line& line) const {
    double sum = 0;
    for (size_t i = 0; i < group_.w.size(); ++i) {
      const auto w = static_cast<double>(group_.w[i]);
      const double error = std::abs(w - line.offset - line.scale * code(line, w));
      sum += weight(i) * (norm_ == 2 ? error * error : std::pow(error, norm_));
    }
    return sum;
  }

  // The generalised soft threshold of an error in units of the scale; with the norm 2 nothing is
  // forgiven.
  double shrunk(double x, double penalty) const {
    if (norm_ == 2 || x == 0) return 0;
    const double magnitude = std::abs(x);
    const double left = magnitude - std::pow(magnitude, norm_ - 1) / penalty;
    return left > 0 ? std::copysign(left, x) : 0;
  }

  Line refit(const Line& line, double penalty) const {
    double n = 0;
    double k = 0;
    double kk = 0;
    double t = 0;
    double kt = 0;
    for (size_t i = 0; i < group_.w.size(); ++i) {
      const auto w = static_cast<double>(group_.w[i]);
      const double c = code(line, w);
      const double error = (w - line.offset - line.scale * c) / line.scale;
      const double target = w - line.scale * shrunk(error, penalty);
      n += weight(i);
      k += weight(i) * c;
      kk += weight(i) * c * c;
      t += weight(i) * target;
      kt += weight(i) * c * target;
    }
    const double spread = n * kk - k * k;
    if (!(spread > 1e-12 * n * kk)) return line;
    Line next;
    next.scale = (n * kt - k * t) / spread;
    next.offset = (t - next.scale * k) / n;
    return rounded(next);
  }

  const TableGroup& group_;
  double most_;  // the last code
  double norm_;
};

class AffineCodec final : public TableCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options& options) const override {
    return {.bits = static_cast<int>(options.integer("bits"))};
  }

  // An offset is rounded to binary16: the smallest weight may get another code than the first.
  bool is_idempotent(const Options&) const override { return false; }

  std::string label(const Options& options) const override {
    return fmt::format("affine{} {}", options.integer("bits"),
                       group_label(options.integer("group")));
  }

  TableFormat format(const Options& options) const override {
    return {.base = 2,
            .digits = static_cast<int>(options.integer("bits")),
            .group = options.integer("group"),
            .parameters = 2};
  }

  bool is_uniform() const override { return true; }
  void expand(const Options&, std::span<const float> parameters,
              std::span<float> levels) const override {
    for (size_t k = 0; k < levels.size(); ++k) {
      levels[k] = parameters[1] + parameters[0] * static_cast<float>(k);
    }
  }

  void fit(const Options& options, const TableGroup& group,
           std::span<float> parameters) const override {
    const Group numbers(group, options.integer("bits"), options.number("norm"));
    const Line line = group.search_steps > 0 ? numbers.fitted(group.search_steps) : numbers.plain();
    parameters[0] = static_cast<float>(line.scale);
    parameters[1] = static_cast<float>(line.offset);
  }

 private:
  PartInfo info_{
      .id = "affine",
      .summary =
          "uniform codes with a binary16 scale and offset per group of a row, whose levels need "
          "not include 0",
      .source =
          "Badri & Shaji 2023 (HQQ, mobiusml.github.io/hqq_blog): half-quadratic fit where a "
          "solver searches; differs: errors are shrunk in units of the scale, the scale is fitted "
          "too",
      .options = {{"bits", int64_t{4}, "bits per code", 1, 8},
                  group_option(64),
                  {"norm", 2.0,
                   "of errors that the fit lowers: below 1 it forgives the few largest; readers "
                   "ignore it",
                   0.1, 2}}};
};

const Registration<Codec, AffineCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

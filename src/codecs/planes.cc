// Codec `planes`: sums of a few binary or ternary planes, each with a scale per group.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "codecs/digit_matrix.h"
#include "codecs/int_fit.h"
#include "codecs/scales.h"
#include "codecs/table.h"
#include "codecs/ternary.h"
#include "core/error.h"

namespace bitsmith {
namespace {

constexpr int kMaxUnknowns = 5;  // four planes and a mean

// The values of a digit: of signs -1, 1; of bits 0, 1; of trits -1, 0, 1.
struct Digits {
  int base;
  float lowest;
  float step;

  explicit Digits(const std::string& name)
      : base(name == "trit" ? 3 : 2),
        lowest(name == "bit" ? 0.0F : -1.0F),
        step(name == "sign" ? 2.0F : 1.0F) {}
  float value(int digit) const { return lowest + step * static_cast<float>(digit); }
};

// Alternates between the best codes for given scales and the best scales for given codes, which is
// a least-squares problem of as many unknowns as there are planes (and a mean). Neither step raises
// the error. Xu et al. 2018; for trits PTQTP.
class Alternation {
 public:
  Alternation(const TableGroup& group, const Digits& digits, int planes, bool mean, bool powers)
      : group_(group),
        digits_(digits),
        planes_(planes),
        powers_(powers),
        unknowns_(planes + (mean ? 1 : 0)),
        codes_(group.w.size()) {
    int count = 1;
    for (int p = 0; p < planes; ++p) count *= digits.base;
    order_.resize(static_cast<size_t>(count));
    levels_.resize(order_.size());
  }

  // Improves from `start`; keeps the best parameters, rounded to binary16 or powers of two.
  void run(std::vector<float> start) {
    double previous = std::numeric_limits<double>::infinity();
    for (int round = 0; round < 20; ++round) {
      for (float& p : start) p = powers_ ? round_to_powers(p, 1) : round_to_f16(p);
      const double error = choose_codes(start);
      if (error < best_error_) {
        best_error_ = error;
        best_ = start;
      }
      if (!(error < previous * (1 - 1e-5))) break;
      previous = error;
      if (!solve(start)) break;
    }
  }

  // Plane by plane, the best for what the planes before left over.
  std::vector<float> greedy() const {
    std::vector<float> rest(group_.w.begin(), group_.w.end());
    std::vector<float> parameters(static_cast<size_t>(unknowns_));
    if (unknowns_ > planes_) {
      const double sum = std::accumulate(rest.begin(), rest.end(), 0.0);
      parameters.back() = static_cast<float>(sum / static_cast<double>(rest.size()));
      for (float& r : rest) r -= parameters.back();
    }
    for (int p = 0; p < planes_; ++p) {
      double sum = 0;
      for (const float r : rest) sum += std::fabs(static_cast<double>(r));
      float scale = static_cast<float>(sum / static_cast<double>(rest.size()));
      if (digits_.base == 3) scale = best_ternary(rest, group_.importance, true).positive;
      parameters[static_cast<size_t>(p)] = scale;
      for (float& r : rest) {
        float nearest = r;
        for (int d = 0; d < digits_.base; ++d) {
          const float left = r - scale * digits_.value(d);
          if (d == 0 || std::fabs(left) < std::fabs(nearest)) nearest = left;
        }
        r = nearest;
      }
    }
    return parameters;
  }

  // Scales in the ratio of the digits of numbers, so that levels are uniform and reach `part` of
  // the extreme weight; the last plane of bits is negative, as in two's complement.
  std::vector<float> uniform(float part) const {
    float extreme = 0;
    for (const float w : group_.w) extreme = std::max(extreme, std::fabs(w));
    std::vector<float> parameters(static_cast<size_t>(unknowns_));
    float sum = 0;
    float power = 1;
    for (int p = 0; p < planes_; ++p, power *= static_cast<float>(digits_.base)) {
      const bool negative = digits_.lowest == 0.0F && p == planes_ - 1;
      parameters[static_cast<size_t>(p)] = negative ? -power : power;
      if (!negative) sum += power;
    }
    for (int p = 0; p < planes_; ++p) {
      parameters[static_cast<size_t>(p)] *= extreme * part / std::max(sum, 1.0F);
    }
    return parameters;
  }

  const std::vector<float>& best() const { return best_; }

 private:
  double weight(size_t i) const {
    return group_.importance != nullptr ? static_cast<double>(group_.importance[i]) : 1.0;
  }
  float digit_value(int code, int plane) const {
    for (int p = 0; p < plane; ++p) code /= digits_.base;
    return digits_.value(code % digits_.base);
  }

  // Nearest codes; returns their error.
  double choose_codes(const std::vector<float>& parameters) {
    std::vector<float> by_code(order_.size());
    for (size_t code = 0; code < by_code.size(); ++code) {
      float level = unknowns_ > planes_ ? parameters.back() : 0.0F;
      for (int p = 0; p < planes_; ++p) {
        level += parameters[static_cast<size_t>(p)] * digit_value(static_cast<int>(code), p);
      }
      by_code[code] = level;
    }
    std::iota(order_.begin(), order_.end(), 0);
    std::ranges::stable_sort(order_, {}, [&](int c) { return by_code[static_cast<size_t>(c)]; });
    for (size_t i = 0; i < order_.size(); ++i) {
      levels_[i] = by_code[static_cast<size_t>(order_[i])];
    }
    double error = 0;
    for (size_t i = 0; i < codes_.size(); ++i) {
      const float w = group_.w[i];
      size_t at = static_cast<size_t>(std::ranges::lower_bound(levels_, w) - levels_.begin());
      if (at == levels_.size()) --at;
      if (at > 0 && w - levels_[at - 1] < levels_[at] - w) --at;
      codes_[i] = order_[at];
      const double difference = static_cast<double>(w) - static_cast<double>(levels_[at]);
      error += weight(i) * difference * difference;
    }
    return error;
  }

  // The best parameters for the codes: normal equations, by elimination with pivots on the
  // diagonal. False if they are singular (a plane that is the same everywhere).
  bool solve(std::vector<float>& parameters) const {
    const auto n = static_cast<size_t>(unknowns_);
    std::array<std::array<double, kMaxUnknowns + 1>, kMaxUnknowns> a{};
    std::array<double, kMaxUnknowns> x{};
    for (size_t i = 0; i < codes_.size(); ++i) {
      for (size_t p = 0; p < n; ++p) {
        const bool is_plane = p < static_cast<size_t>(planes_);
        x[p] = is_plane ? static_cast<double>(digit_value(codes_[i], static_cast<int>(p))) : 1.0;
      }
      for (size_t p = 0; p < n; ++p) {
        for (size_t r = 0; r < n; ++r) a[p][r] += weight(i) * x[p] * x[r];
        a[p][n] += weight(i) * x[p] * static_cast<double>(group_.w[i]);
      }
    }
    for (size_t k = 0; k < n; ++k) {
      if (!(a[k][k] > 1e-9 * static_cast<double>(codes_.size()))) return false;
      for (size_t p = 0; p < n; ++p) {
        if (p == k) continue;
        const double factor = a[p][k] / a[k][k];
        for (size_t r = k; r <= n; ++r) a[p][r] -= factor * a[k][r];
      }
    }
    for (size_t p = 0; p < n; ++p) parameters[p] = static_cast<float>(a[p][n] / a[p][p]);
    return true;
  }

  const TableGroup& group_;
  Digits digits_;
  int planes_;
  bool powers_;
  int unknowns_;
  std::vector<int> codes_;     // [w.size()]
  std::vector<int> order_;     // codes by rank of their level
  std::vector<float> levels_;  // by rank
  double best_error_ = std::numeric_limits<double>::infinity();
  std::vector<float> best_;
};

class PlanesCodec final : public TableCodec, public DigitCodec {
 public:
  const PartInfo& info() const override { return info_; }

  // Each plane has a sum of its own.
  ProductCost product_cost(const Options& options) const override {
    return {0, 0, static_cast<int>(options.integer("planes")) - 1, 0, false};
  }

  std::string label(const Options& options) const override {
    return fmt::format("planes {}x{} {}{}{}", options.integer("planes"), options.text("digit"),
                       group_label(options.integer("group")), options.flag("mean") ? " mean" : "",
                       options.flag("powers") ? " powers" : "");
  }

  // Alternation ends in local minima.
  bool is_idempotent(const Options&) const override { return false; }

  std::optional<DigitMatrix> digit_matrix(const MatrixShape& shape,
                                          const Options& options) const override {
    const Digits digits(options.text("digit"));
    return DigitMatrix{.layout = layout(shape, format(options)),
                       .lowest = static_cast<int>(digits.lowest),
                       .step = static_cast<int>(digits.step),
                       .has_mean = options.flag("mean")};
  }

  TableFormat format(const Options& options) const override {
    const int planes = static_cast<int>(options.integer("planes"));
    return {.base = Digits(options.text("digit")).base,
            .digits = planes,
            .planes = true,
            .group = options.integer("group"),
            .parameters = planes + (options.flag("mean") ? 1 : 0)};
  }

  // Parameters: the scale of each plane, lowest digit first, then the mean, if there is one. Summed
  // in this order, from the mean or 0 on, in binary32.
  void expand(const Options& options, std::span<const float> parameters,
              std::span<float> levels) const override {
    const Digits digits(options.text("digit"));
    const auto planes = static_cast<size_t>(options.integer("planes"));
    for (size_t code = 0; code < levels.size(); ++code) {
      float level = options.flag("mean") ? parameters[planes] : 0.0F;
      int rest = static_cast<int>(code);
      for (size_t p = 0; p < planes; ++p, rest /= digits.base) {
        level += parameters[p] * digits.value(rest % digits.base);
      }
      levels[code] = level;
    }
  }

  void fit(const Options& options, const TableGroup& group,
           std::span<float> parameters) const override {
    Alternation alternation(group, Digits(options.text("digit")),
                            static_cast<int>(options.integer("planes")), options.flag("mean"),
                            options.flag("powers"));
    alternation.run(alternation.greedy());
    const int ranges = std::clamp(group.search_steps, 2, 8);
    for (int i = 0; i < ranges; ++i) {
      alternation.run(
          alternation.uniform(1.0F - 0.6F * static_cast<float>(i) / static_cast<float>(ranges)));
    }
    std::ranges::copy(alternation.best(), parameters.begin());
  }

 private:
  PartInfo info_{
      .id = "planes",
      .summary = "sums of binary or ternary planes, each with its scale per group of a row",
      .source =
          "Xu et al. 2018 (alternating multi-bit), arXiv:1802.00150; Kwon et al. 2021 (BCQ "
          "post-training, Mr.BiQ); ShiftAddLLM, arXiv:2406.05981; trits: PTQTP, "
          "arXiv:2509.16989; bits: DB-LLM, arXiv:2402.11960",
      .options = {{"planes", int64_t{2}, "planes in the sum", 1, 4},
                  {"digit",
                   std::string("sign"),
                   "values in a plane: sign: -1, 1; bit: 0, 1; trit: -1, 0, 1",
                   -1e300,
                   1e300,
                   {"sign", "bit", "trit"}},
                  {"mean", false, "a constant is added in each group"},
                  {"powers", false, "scales are powers of two: the encoder's choice"},
                  group_option(128)}};
};

const Registration<Codec, PlanesCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

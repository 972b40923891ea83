// Observer `entropy`: the range whose codes keep the distribution, by KL divergence.
#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/histogram.h"

namespace bitsmith {
namespace {

class EntropyObserver final : public Observer {
 public:
  explicit EntropyObserver(int64_t steps) : steps_(steps) {}

  void add(std::span<const float> x) override { histogram_.add(x); }

  ValueRange range(int bits) const override {
    const ValueRange all = histogram_.extremes();
    const double largest = std::max(-all.low, all.high);
    ValueRange best = all;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t s = steps_; s > 0; --s) {
      const double end = largest * static_cast<double>(s) / static_cast<double>(steps_);
      const ValueRange range = {std::max(all.low, -end), std::min(all.high, end)};
      const double divergence = kl_nats(range, bits);
      if (divergence >= least) continue;
      least = divergence;
      best = range;
    }
    return best;
  }

 private:
  // P: the values, those beyond the range at its ends. Q: what is left of those inside when all
  // values of a code count the same, spread over the bins that occur. Infinite for ranges with
  // fewer bins than codes, about which the counts say nothing.
  double kl_nats(const ValueRange& range, int bits) const {
    const double width = histogram_.width();
    const auto bin = [&](double x) {
      const auto i = static_cast<int64_t>(std::floor(x / width)) + Histogram::kHalf;
      return std::clamp<int64_t>(i, 0, 2 * Histogram::kHalf - 1);
    };
    const int64_t first = bin(range.low);
    const int64_t last = bin(std::nextafter(range.high, 0.0));
    const int64_t levels = int64_t{1} << bits;
    if (width == 0 || last - first + 1 < levels) return std::numeric_limits<double>::infinity();
    const auto size = static_cast<size_t>(last - first + 1);
    std::vector<double> p(size);
    std::vector<double> q(size);
    double beyond_low = 0;
    double beyond_high = 0;
    for (int64_t i = 0; i < 2 * Histogram::kHalf; ++i) {
      const auto count = static_cast<double>(histogram_.bins()[static_cast<size_t>(i)]);
      if (i < first) {
        beyond_low += count;
      } else if (i > last) {
        beyond_high += count;
      } else {
        p[static_cast<size_t>(i - first)] = count;
      }
    }
    for (int64_t level = 0; level < levels; ++level) {
      const auto begin = static_cast<size_t>(level) * size / static_cast<size_t>(levels);
      const auto end = static_cast<size_t>(level + 1) * size / static_cast<size_t>(levels);
      double sum = 0;
      double occupied = 0;
      for (size_t i = begin; i < end; ++i) {
        sum += p[i];
        occupied += p[i] > 0 ? 1 : 0;
      }
      for (size_t i = begin; i < end; ++i) q[i] = p[i] > 0 ? sum / occupied : 0;
    }
    p.front() += beyond_low;
    p.back() += beyond_high;
    return divergence(p, q);
  }

  static double divergence(const std::vector<double>& p, const std::vector<double>& q) {
    double p_sum = 0;
    double q_sum = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      p_sum += p[i];
      q_sum += q[i];
    }
    if (p_sum == 0 || q_sum == 0) return std::numeric_limits<double>::infinity();
    constexpr double kNone = 1e-4;  // for where only what was clipped lies
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      if (p[i] == 0) continue;
      sum += p[i] / p_sum * std::log(p[i] / p_sum / std::max(q[i] / q_sum, kNone / q_sum));
    }
    return sum;
  }

  int64_t steps_;
  Histogram histogram_;
};

class Entropy final : public ObserverMethod {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<Observer> make(const Options& options) const override {
    return std::make_unique<EntropyObserver>(options.integer("steps"));
  }

 private:
  PartInfo info_{.id = "entropy",
                 .summary = "the range whose codes keep the distribution, by KL divergence",
                 .source =
                     "Migacz 2017, 8-bit inference with TensorRT; differs: zeros do not "
                     "count, each end has its own limit",
                 .options = {{"steps", int64_t{128}, "ranges tried", 2, 1000}}};
};

const Registration<ObserverMethod, Entropy> registration;

}  // namespace
}  // namespace bitsmith

// Observer `percentile`: all values but the most extreme ones.
#include <algorithm>

#include "calibration/histogram.h"

namespace bitsmith {
namespace {

class PercentileObserver final : public Observer {
 public:
  explicit PercentileObserver(double percentile) : percentile_(percentile) {}

  void add(std::span<const float> x) override { histogram_.add(x); }

  // At most a share of 1 - percentile lies beyond each end.
  ValueRange range(int) const override {
    const double spare = (1 - percentile_ / 100) * static_cast<double>(histogram_.count());
    const ValueRange& extremes = histogram_.extremes();
    constexpr int64_t kBins = 2 * Histogram::kHalf;
    const auto bin = [&](int64_t i) { return histogram_.bins()[static_cast<size_t>(i)]; };
    ValueRange range;
    double beyond = 0;
    for (int64_t i = kBins; i-- > Histogram::kHalf;) {
      beyond += static_cast<double>(bin(i));
      if (beyond <= spare) continue;
      range.high = static_cast<double>(i + 1 - Histogram::kHalf) * histogram_.width();
      break;
    }
    beyond = 0;
    for (int64_t i = 0; i < Histogram::kHalf; ++i) {
      beyond += static_cast<double>(bin(i));
      if (beyond <= spare) continue;
      range.low = static_cast<double>(i - Histogram::kHalf) * histogram_.width();
      break;
    }
    return {std::max(range.low, extremes.low), std::min(range.high, extremes.high)};
  }

 private:
  double percentile_;
  Histogram histogram_;
};

class Percentile final : public ObserverMethod {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<Observer> make(const Options& options) const override {
    return std::make_unique<PercentileObserver>(options.number("percentile"));
  }

 private:
  PartInfo info_{
      .id = "percentile",
      .summary = "all values but a share at each end",
      .source = "Wu et al. 2020, arXiv:2004.09602, section 4.1",
      .options = {{"percentile", 99.99, "share of values below the end, in percent", 50, 100}}};
};

const Registration<ObserverMethod, Percentile> registration;

}  // namespace
}  // namespace bitsmith

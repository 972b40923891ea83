// Observer `moving_average`: a moving average of each batch's smallest and largest value.
#include <algorithm>

#include "calibration/observer.h"

namespace bitsmith {
namespace {

class MovingAverageObserver final : public Observer {
 public:
  explicit MovingAverageObserver(double momentum) : momentum_(momentum) {}

  void add(std::span<const float> x) override {
    ValueRange batch;
    for (const float v : x) {
      batch.low = std::min<double>(batch.low, v);
      batch.high = std::max<double>(batch.high, v);
    }
    const double kept = is_first_ ? 0 : momentum_;
    is_first_ = false;
    range_.low = kept * range_.low + (1 - kept) * batch.low;
    range_.high = kept * range_.high + (1 - kept) * batch.high;
  }
  ValueRange range(int) const override { return range_; }

 private:
  double momentum_;
  bool is_first_ = true;
  ValueRange range_;
};

class MovingAverage final : public ObserverMethod {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<Observer> make(const Options& options) const override {
    return std::make_unique<MovingAverageObserver>(options.number("momentum"));
  }

 private:
  PartInfo info_{.id = "moving_average",
                 .summary = "moving average over batches of the smallest and the largest value",
                 .source = "Jacob et al. 2018, arXiv:1712.05877, section 3.1",
                 .options = {{"momentum", 0.9, "what a batch leaves of the average", 0, 0.9999}}};
};

const Registration<ObserverMethod, MovingAverage> registration;

}  // namespace
}  // namespace bitsmith

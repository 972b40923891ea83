// Observer `min_max`: from the smallest to the largest value.
#include <algorithm>

#include "calibration/observer.h"

namespace bitsmith {
namespace {

class MinMaxObserver final : public Observer {
 public:
  void add(std::span<const float> x) override {
    for (const float v : x) {
      range_.low = std::min<double>(range_.low, v);
      range_.high = std::max<double>(range_.high, v);
    }
  }
  ValueRange range(int) const override { return range_; }

 private:
  ValueRange range_;
};

class MinMax final : public ObserverMethod {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<Observer> make(const Options&) const override {
    return std::make_unique<MinMaxObserver>();
  }

 private:
  PartInfo info_{.id = "min_max",
                 .summary = "all values that occur",
                 .source = "Krishnamoorthi 2018, arXiv:1806.08342"};
};

const Registration<ObserverMethod, MinMax> registration;

}  // namespace
}  // namespace bitsmith

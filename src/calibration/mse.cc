// Observer `mse`: the range whose codes have the least squared error.
#include <algorithm>

#include "calibration/histogram.h"

namespace bitsmith {
namespace {

class MseObserver final : public Observer {
 public:
  explicit MseObserver(int64_t steps) : steps_(steps) {}

  void add(std::span<const float> x) override { histogram_.add(x); }

  // Both ends are drawn in together; then each on its own, in turns.
  ValueRange range(int bits) const override {
    Search search{occupied_bins(), bits, {}, 0};
    const ValueRange all = histogram_.extremes();
    search.best = all;
    search.least = search.error(all);
    const auto part = [&](int64_t step) {
      return kLeast + (1 - kLeast) * static_cast<double>(step) / static_cast<double>(steps_);
    };
    for (int64_t s = 0; s < steps_; ++s) search.offer({all.low * part(s), all.high * part(s)});
    for (int turn = 0; turn < 2; ++turn) {
      for (int64_t s = 0; s <= steps_ && all.low < 0; ++s) {
        search.offer({all.low * part(s), search.best.high});
      }
      for (int64_t s = 0; s <= steps_ && all.high > 0; ++s) {
        search.offer({search.best.low, all.high * part(s)});
      }
    }
    return search.best;
  }

 private:
  static constexpr double kLeast = 0.1;  // of the extremes

  struct Bin {
    double center;
    double count;
  };
  struct Search {
    std::vector<Bin> bins;
    int bits;
    ValueRange best;
    double least;

    double error(const ValueRange& range) const {
      const AffineCode code(range, bits);
      double sum = 0;
      for (const Bin& bin : bins) {
        const double difference = bin.center - code.rounded(bin.center);
        sum += bin.count * difference * difference;
      }
      return sum;
    }
    void offer(const ValueRange& range) {
      const double own = error(range);
      if (own >= least) return;
      best = range;
      least = own;
    }
  };

  std::vector<Bin> occupied_bins() const {
    std::vector<Bin> result;
    for (int64_t i = 0; i < 2 * Histogram::kHalf; ++i) {
      const int64_t count = histogram_.bins()[static_cast<size_t>(i)];
      if (count > 0) result.push_back({histogram_.center(i), static_cast<double>(count)});
    }
    return result;
  }

  int64_t steps_;
  Histogram histogram_;
};

class Mse final : public ObserverMethod {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<Observer> make(const Options& options) const override {
    return std::make_unique<MseObserver>(options.integer("steps"));
  }

 private:
  PartInfo info_{.id = "mse",
                 .summary = "the range whose codes have the least squared error",
                 .source =
                     "Sung et al. 2015, arXiv:1511.06488; Nagel et al. 2021, "
                     "arXiv:2106.08295, section 3.1",
                 .options = {{"steps", int64_t{60}, "ranges tried, for each end", 2, 1000}}};
};

const Registration<ObserverMethod, Mse> registration;

}  // namespace
}  // namespace bitsmith

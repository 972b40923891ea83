#include "codecs/lloyd_max.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace bitsmith {
namespace {

constexpr int kMaxRuns = 1024;
constexpr int kMaxLevelsByProgramming = 16;

// Different numbers in ascending order, with sums over the numbers before each.
struct Sorted {
  std::vector<float> values;   // [n]
  std::vector<double> weight;  // [n + 1], as are the next two: Σ w, Σ w x, Σ w x²
  std::vector<double> first;
  std::vector<double> second;

  size_t size() const { return values.size(); }
  // The squared error of numbers [begin, end) under their mean.
  double error(size_t begin, size_t end) const {
    const double w = weight[end] - weight[begin];
    if (!(w > 0)) return 0;
    const double x = first[end] - first[begin];
    return std::max(second[end] - second[begin] - x * x / w, 0.0);
  }
  double mean(size_t begin, size_t end) const {
    const double w = weight[end] - weight[begin];
    if (w > 0) return (first[end] - first[begin]) / w;
    return static_cast<double>(values[(begin + end - 1) / 2]);
  }
};

Sorted sort_values(std::span<const float> values, const float* weights) {
  std::vector<std::pair<float, double>> pairs(values.size());
  double total = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    pairs[i] = {values[i], weights != nullptr ? static_cast<double>(weights[i]) : 1.0};
    total += pairs[i].second;
  }
  if (!(total > 0)) {
    for (auto& pair : pairs) pair.second = 1.0;
  }
  std::ranges::sort(pairs);
  Sorted sorted;
  double w = 0;
  double x = 0;
  double xx = 0;
  for (const auto& [value, weight] : pairs) {
    if (sorted.values.empty() || value != sorted.values.back()) {
      sorted.values.push_back(value);
      sorted.weight.push_back(w);
      sorted.first.push_back(x);
      sorted.second.push_back(xx);
    }
    const auto v = static_cast<double>(value);
    w += weight;
    x += weight * v;
    xx += weight * v * v;
  }
  sorted.weight.push_back(w);
  sorted.first.push_back(x);
  sorted.second.push_back(xx);
  return sorted;
}

// Boundaries of runs of about equally many different numbers, [runs + 1].
std::vector<size_t> cut_runs(size_t size, size_t runs) {
  std::vector<size_t> cuts(runs + 1);
  for (size_t i = 0; i <= runs; ++i) cuts[i] = i * size / runs;
  return cuts;
}

// The best partition of runs into `count` cells: least[j] is the least error of the runs before j
// in the cells so far; the best begin of a last cell does not fall as j rises, so halving the range
// of j finds all of them in O(runs log runs) per cell.
class Partition {
 public:
  Partition(const Sorted& sorted, std::vector<size_t> cuts)
      : sorted_(sorted), cuts_(std::move(cuts)) {}

  // Begins of the cells, as indices of numbers.
  std::vector<size_t> solve(int count) {
    const size_t runs = cuts_.size() - 1;
    least_.assign(runs + 1, std::numeric_limits<double>::infinity());
    least_[0] = 0;
    std::vector<std::vector<size_t>> begins;
    for (int cell = 0; cell < count; ++cell) {
      next_.assign(runs + 1, std::numeric_limits<double>::infinity());
      begin_.assign(runs + 1, 0);
      fill(1, runs, 0, runs - 1);
      least_ = next_;
      begins.push_back(begin_);
    }
    std::vector<size_t> result(static_cast<size_t>(count));
    size_t end = runs;
    for (int cell = count - 1; cell >= 0; --cell) {
      end = begins[static_cast<size_t>(cell)][end];
      result[static_cast<size_t>(cell)] = cuts_[end];
    }
    return result;
  }

 private:
  void fill(size_t low, size_t high, size_t begin_low, size_t begin_high) {
    if (low > high) return;
    const size_t middle = (low + high) / 2;
    for (size_t b = begin_low; b <= std::min(middle - 1, begin_high); ++b) {
      const double error = least_[b] + sorted_.error(cuts_[b], cuts_[middle]);
      if (error < next_[middle]) {
        next_[middle] = error;
        begin_[middle] = b;
      }
    }
    const size_t best = std::clamp(begin_[middle], begin_low, begin_high);
    if (middle > low) fill(low, middle - 1, begin_low, best);
    fill(middle + 1, high, best, begin_high);
  }

  const Sorted& sorted_;
  std::vector<size_t> cuts_;
  std::vector<double> least_;  // [runs + 1], as are the next two
  std::vector<double> next_;
  std::vector<size_t> begin_;
};

// Cells of equal share in Σ (width of a run)^(2/3) (its numbers)^(1/3).
std::vector<size_t> equal_shares(const Sorted& sorted, const std::vector<size_t>& cuts, int count) {
  const size_t runs = cuts.size() - 1;
  std::vector<double> share(runs + 1);
  for (size_t i = 0; i < runs; ++i) {
    const float high = sorted.values[std::min(cuts[i + 1], sorted.size() - 1)];
    const double width = static_cast<double>(high) - static_cast<double>(sorted.values[cuts[i]]);
    const double mass = sorted.weight[cuts[i + 1]] - sorted.weight[cuts[i]];
    share[i + 1] = share[i] + std::cbrt(width * width * mass);
  }
  std::vector<size_t> begins;
  for (int cell = 0; cell < count; ++cell) {
    const double target = share[runs] * cell / count;
    const auto at = std::ranges::upper_bound(share, target) - share.begin() - 1;
    const size_t least = begins.empty() ? 0 : begins.back() + 1;
    begins.push_back(std::max(cuts[static_cast<size_t>(at)], least));
  }
  // No cell may be empty: from the end, each begins before the next.
  for (size_t i = begins.size(); i-- > 0;) {
    const size_t most = sorted.size() - (begins.size() - i);
    begins[i] = std::min(begins[i], most);
  }
  return begins;
}

// Lloyd's iteration from cells that start at `begins`.
std::vector<float> improve(const Sorted& sorted, std::vector<size_t> begins) {
  const size_t count = begins.size();
  std::vector<double> levels(count);
  double previous = std::numeric_limits<double>::infinity();
  for (int iteration = 0; iteration < 200; ++iteration) {
    double error = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t end = i + 1 < count ? begins[i + 1] : sorted.size();
      if (begins[i] >= end) continue;  // an empty cell keeps its level
      levels[i] = sorted.mean(begins[i], end);
      error += sorted.error(begins[i], end);
    }
    if (!(error < previous * (1 - 1e-6))) break;
    previous = error;
    for (size_t i = 1; i < count; ++i) {
      const auto midway = static_cast<float>(0.5 * (levels[i - 1] + levels[i]));
      begins[i] = static_cast<size_t>(std::ranges::lower_bound(sorted.values, midway) -
                                      sorted.values.begin());
    }
  }
  std::ranges::sort(levels);
  return {levels.begin(), levels.end()};
}

}  // namespace

std::vector<float> lloyd_max_levels(std::span<const float> values, const float* weights,
                                    int count) {
  BITSMITH_ASSERT(count >= 1);
  if (values.empty()) return std::vector<float>(static_cast<size_t>(count));
  const Sorted sorted = sort_values(values, weights);
  if (sorted.size() <= static_cast<size_t>(count)) {
    std::vector<float> levels = sorted.values;
    levels.resize(static_cast<size_t>(count), levels.back());
    return levels;
  }
  // Never fewer runs than cells.
  const size_t runs = std::min(sorted.size(), static_cast<size_t>(std::max(kMaxRuns, 4 * count)));
  const std::vector<size_t> cuts = cut_runs(sorted.size(), runs);
  if (count <= kMaxLevelsByProgramming) {
    return improve(sorted, Partition(sorted, cuts).solve(count));
  }
  return improve(sorted, equal_shares(sorted, cuts, count));
}

}  // namespace bitsmith

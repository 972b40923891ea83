#include "allocation/relaxation.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bitsmith {
namespace {

// Loss saved per byte between two items of a tensor.
double slope(const Item& from, const Item& to) {
  return (from.loss - to.loss) / static_cast<double>(to.bytes - from.bytes);
}

// Positions of the items on the lower convex hull: slopes fall from one to the next.
std::vector<size_t> convex_hull(const std::vector<Item>& items) {
  std::vector<size_t> hull;
  for (size_t i = 0; i < items.size(); ++i) {
    while (hull.size() >= 2 && slope(items[hull[hull.size() - 2]], items[hull.back()]) <=
                                   slope(items[hull.back()], items[i])) {
      hull.pop_back();
    }
    hull.push_back(i);
  }
  return hull;
}

// A step along the hull of one tensor.
struct Step {
  double saved_per_byte;
  size_t tensor;
  size_t from;  // positions in the items
  size_t to;
};

std::vector<Step> steps_by_value(const Knapsack& knapsack) {
  std::vector<Step> steps;
  for (size_t t = 0; t < knapsack.items.size(); ++t) {
    const auto& items = knapsack.items[t];
    const std::vector<size_t> hull = convex_hull(items);
    for (size_t i = 1; i < hull.size(); ++i) {
      steps.push_back({slope(items[hull[i - 1]], items[hull[i]]), t, hull[i - 1], hull[i]});
    }
  }
  std::ranges::stable_sort(steps, std::ranges::greater{}, &Step::saved_per_byte);
  return steps;
}

// Replaces picks by better ones, best first, as long as one fits into `left` bytes.
void fill_up(const Knapsack& knapsack, uint64_t left, std::vector<size_t>& picks) {
  for (;;) {
    double best_saving = 0;
    size_t best_tensor = 0;
    size_t best_pick = 0;
    for (size_t t = 0; t < picks.size(); ++t) {
      const auto& items = knapsack.items[t];
      const Item& now = items[picks[t]];
      for (size_t i = picks[t] + 1; i < items.size(); ++i) {
        if (items[i].bytes - now.bytes > left) break;
        if (now.loss - items[i].loss > best_saving) {
          best_saving = now.loss - items[i].loss;
          best_tensor = t;
          best_pick = i;
        }
      }
    }
    if (best_saving <= 0) return;
    const auto& items = knapsack.items[best_tensor];
    left -= items[best_pick].bytes - items[picks[best_tensor]].bytes;
    picks[best_tensor] = best_pick;
  }
}

double priced(const Item& item, double price) {
  return item.loss + price * static_cast<double>(item.bytes);
}

double cheapest(const std::vector<Item>& items, double price) {
  double best = std::numeric_limits<double>::infinity();
  for (const Item& item : items) best = std::min(best, priced(item, price));
  return best;
}

}  // namespace

Knapsack reduce_tables(const Tables& tables, uint64_t budget_bytes) {
  Knapsack knapsack;
  knapsack.slack = budget_bytes;
  for (const auto& table : tables) {
    const uint64_t smallest = std::ranges::min(table, {}, &Candidate::bytes).bytes;
    const double best = std::ranges::min(table, {}, &Candidate::loss).loss;
    knapsack.slack -= smallest;
    std::vector<Item> items;
    for (size_t i = 0; i < table.size(); ++i) {
      items.push_back({i, table[i].bytes - smallest, table[i].loss - best});
    }
    std::ranges::stable_sort(items, [](const Item& a, const Item& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
    });
    double least = std::numeric_limits<double>::infinity();
    std::erase_if(items, [&](const Item& item) {
      const bool dominated = item.loss >= least;
      least = std::min(least, item.loss);
      return dominated;
    });
    knapsack.items.push_back(std::move(items));
  }
  // One item alone must fit.
  for (auto& items : knapsack.items) {
    std::erase_if(items, [&](const Item& item) { return item.bytes > knapsack.slack; });
  }
  return knapsack;
}

Relaxation relax(const Knapsack& knapsack) {
  Relaxation result;
  result.picks.resize(knapsack.items.size());
  uint64_t left = knapsack.slack;
  for (const Step& step : steps_by_value(knapsack)) {
    const auto& items = knapsack.items[step.tensor];
    const uint64_t more = items[step.to].bytes - items[step.from].bytes;
    if (more > left && result.price == 0) result.price = step.saved_per_byte;
    if (more > left || result.picks[step.tensor] != step.from) continue;
    left -= more;
    result.picks[step.tensor] = step.to;
  }
  fill_up(knapsack, left, result.picks);
  result.bound = -result.price * static_cast<double>(knapsack.slack);
  for (size_t t = 0; t < result.picks.size(); ++t) {
    result.loss += knapsack.items[t][result.picks[t]].loss;
    result.bound += cheapest(knapsack.items[t], result.price);
  }
  result.bound = std::clamp(result.bound, 0.0, result.loss);
  return result;
}

void remove_hopeless(const Relaxation& relaxation, Knapsack& knapsack) {
  // Far above rounding, far below any difference in loss that matters.
  const double limit = relaxation.loss * (1.0 + 1e-9);
  for (size_t t = 0; t < knapsack.items.size(); ++t) {
    auto& items = knapsack.items[t];
    const double best = cheapest(items, relaxation.price);
    const size_t picked = items[relaxation.picks[t]].index;
    std::erase_if(items, [&](const Item& item) {
      if (item.index == picked) return false;
      return relaxation.bound - best + priced(item, relaxation.price) > limit;
    });
  }
}

}  // namespace bitsmith

#include "encoding/code_lengths.h"

#include <algorithm>
#include <vector>

namespace bitsmith {
namespace {

// A leaf, or two items of the level below taken together.
struct Item {
  uint64_t weight = 0;
  int symbol = -1;  // of a leaf
  int left = -1;    // of a package: indices of items
  int right = -1;
};

}  // namespace

// A coin of value 2^-l for each symbol and l = 1..limit: the cheapest set of coins worth n - 1 has
// a symbol's coins 2^-1 .. 2^-length. Level by level from the smallest value, pairs of the cheapest
// coins become coins of twice the value.
CodeLengths limited_code_lengths(const Histogram& counts, int limit) {
  std::vector<Item> items;
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] > 0) items.push_back({counts[s], static_cast<int>(s)});
  }
  std::ranges::stable_sort(items, {}, &Item::weight);
  const size_t symbols = items.size();
  BITSMITH_ASSERT(symbols >= 2 && limit >= 1 && limit <= 30 && symbols <= size_t{1} << limit);

  std::vector<int> leaves(symbols);
  for (size_t i = 0; i < symbols; ++i) leaves[i] = static_cast<int>(i);
  std::vector<int> level = leaves;  // indices of items, lightest first
  const auto lighter = [&](int a, int b) {
    return items[static_cast<size_t>(a)].weight < items[static_cast<size_t>(b)].weight;
  };
  for (int l = 1; l < limit; ++l) {
    std::vector<int> packages;
    for (size_t i = 0; i + 1 < level.size(); i += 2) {
      const uint64_t weight = items[static_cast<size_t>(level[i])].weight +
                              items[static_cast<size_t>(level[i + 1])].weight;
      packages.push_back(static_cast<int>(items.size()));
      items.push_back({weight, -1, level[i], level[i + 1]});
    }
    level.clear();
    std::ranges::merge(leaves, packages, std::back_inserter(level), lighter);
  }

  CodeLengths lengths{};
  std::vector<int> pending(level.begin(),
                           level.begin() + static_cast<std::ptrdiff_t>(2 * symbols - 2));
  while (!pending.empty()) {
    const Item& item = items[static_cast<size_t>(pending.back())];
    pending.pop_back();
    if (item.symbol >= 0) {
      ++lengths[static_cast<size_t>(item.symbol)];
    } else {
      pending.push_back(item.left);
      pending.push_back(item.right);
    }
  }
  return lengths;
}

}  // namespace bitsmith

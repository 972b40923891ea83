// The multiple-choice knapsack without its integers: bounds from both sides, and what they rule
// out.
#pragma once

#include <cstdint>
#include <vector>

#include "allocation/tables.h"

namespace bitsmith {

// A candidate that may be part of the best choice.
struct Item {
  size_t index;    // in its table
  uint64_t bytes;  // beyond the smallest candidate of the tensor
  double loss;     // beyond the smallest loss of the tensor
};

// A knapsack in excess bytes and excess losses. items[t] is sorted by rising bytes and falling
// loss; dominated candidates (as large and as bad as another one) are gone. Of equal candidates the
// first in the table stays.
struct Knapsack {
  std::vector<std::vector<Item>> items;
  uint64_t slack = 0;  // budget beyond the smallest candidates
};

// The tables must have passed check_tables().
Knapsack reduce_tables(const Tables& tables, uint64_t budget_bytes);

struct Relaxation {
  std::vector<size_t> picks;  // a feasible choice: per tensor, position in its items
  double loss = 0;            // of that choice, in excess
  double bound = 0;           // no choice has a smaller excess loss
  double price = 0;           // loss per byte at which the bound was taken
};

// The linear relaxation: candidates on the lower convex hull of each tensor, in order of loss saved
// per byte, until the slack is used up (Sinha and Zoltners 1979); then whatever still fits. The
// bound is Lagrange's: with price p per byte, Σ_t min_j (loss_tj + p bytes_tj) - p slack. O(n log
// n) for n candidates.
Relaxation relax(const Knapsack& knapsack);

// Removes items that cannot be part of a choice better than relaxation.picks: with them the bound
// would exceed its loss. The picks themselves stay, but their positions are lost.
void remove_hopeless(const Relaxation& relaxation, Knapsack& knapsack);

}  // namespace bitsmith

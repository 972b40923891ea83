// What allocators share: checks of the candidate tables and exact sums.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "allocation/allocator.h"

namespace bitsmith {

using Tables = std::vector<std::vector<Candidate>>;

// a + b, or the largest number if that overflows.
uint64_t saturating_add(uint64_t a, uint64_t b);

// Throws kInvalidArgument if a table is empty or a loss is not finite, and kImpossibleBudget if the
// smallest candidates of all tensors together exceed the budget.
void check_tables(const Tables& tables, uint64_t budget_bytes, std::string_view allocator);

// The choice of candidate picks[t] for each tensor t; its bound is the sum of the smallest losses.
Choice choice_of(const Tables& tables, std::vector<size_t> picks);

}  // namespace bitsmith

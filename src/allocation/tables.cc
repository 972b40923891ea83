#include "allocation/tables.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace bitsmith {

uint64_t saturating_add(uint64_t a, uint64_t b) {
  const uint64_t sum = a + b;
  return sum < a ? std::numeric_limits<uint64_t>::max() : sum;
}

void check_tables(const Tables& tables, uint64_t budget_bytes, std::string_view allocator) {
  uint64_t smallest = 0;
  for (size_t t = 0; t < tables.size(); ++t) {
    if (tables[t].empty()) {
      fail(ErrorCode::kInvalidArgument, "allocator '{}': tensor {} has no candidates", allocator,
           t);
    }
    for (const Candidate& candidate : tables[t]) {
      if (!std::isfinite(candidate.loss)) {
        fail(ErrorCode::kInvalidArgument, "allocator '{}': tensor {} has a candidate of loss {}",
             allocator, t, candidate.loss);
      }
    }
    smallest = saturating_add(smallest, std::ranges::min(tables[t], {}, &Candidate::bytes).bytes);
  }
  if (smallest > budget_bytes) {
    fail(ErrorCode::kImpossibleBudget,
         "the budget of {} bytes is too small: the smallest candidates take {} bytes; raise the "
         "budget or allow smaller formats",
         budget_bytes, smallest);
  }
}

Choice choice_of(const Tables& tables, std::vector<size_t> picks) {
  Choice choice;
  choice.picks = std::move(picks);
  for (size_t t = 0; t < tables.size(); ++t) {
    const Candidate& picked = tables[t][choice.picks[t]];
    choice.bytes = saturating_add(choice.bytes, picked.bytes);
    choice.loss += picked.loss;
    choice.bound += std::ranges::min(tables[t], {}, &Candidate::loss).loss;
  }
  return choice;
}

}  // namespace bitsmith

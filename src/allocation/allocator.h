// How many bits, where: picks one candidate per tensor under a budget.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/registry.h"

namespace bitsmith {

// One way to code one tensor.
struct Candidate {
  uint64_t bytes = 0;  // exact, on disk
  double loss = 0;     // predicted, additive over tensors (kl_nats)
};

struct Choice {
  std::vector<size_t> picks;  // [tensors]: index of the candidate
  uint64_t bytes = 0;
  double loss = 0;
  double bound = 0;  // no choice under the budget has a smaller loss than this
};

class Allocator {
 public:
  static const char* kind() { return "allocator"; }
  virtual ~Allocator() = default;
  virtual const PartInfo& info() const = 0;

  // tables [tensors][candidates of that tensor], each not empty. Throws kImpossibleBudget, naming
  // the smallest possible size, if even the smallest candidates exceed `budget_bytes`.
  virtual Choice allocate(const std::vector<std::vector<Candidate>>& tables, uint64_t budget_bytes,
                          const Options& options) const = 0;
};

}  // namespace bitsmith

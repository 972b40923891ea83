// Allocator `uniform`: the same candidate for every tensor.
#include <optional>

#include "allocation/tables.h"
#include "core/error.h"

namespace bitsmith {
namespace {

class Uniform final : public Allocator {
 public:
  const PartInfo& info() const override { return info_; }

  // Candidate i must mean the same in every table, so the tables must be equally long.
  Choice allocate(const Tables& tables, uint64_t budget_bytes, const Options&) const override {
    check_tables(tables, budget_bytes, info_.id);
    if (tables.empty()) return {};
    const size_t count = tables[0].size();
    for (size_t t = 1; t < tables.size(); ++t) {
      if (tables[t].size() != count) {
        fail(ErrorCode::kInvalidArgument,
             "allocator 'uniform' needs the same candidates for every tensor; tensor 0 has {}, "
             "tensor {} has {}",
             count, t, tables[t].size());
      }
    }
    std::optional<Choice> best;
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < count; ++i) {
      Choice choice = choice_of(tables, std::vector<size_t>(tables.size(), i));
      smallest = std::min(smallest, choice.bytes);
      if (choice.bytes > budget_bytes) continue;
      if (!best || choice.loss < best->loss) best = std::move(choice);
    }
    if (!best) {
      fail(ErrorCode::kImpossibleBudget,
           "the budget of {} bytes is too small: the smallest candidate used for all tensors takes "
           "{} "
           "bytes; raise the budget, or use the allocator 'knapsack'",
           budget_bytes, smallest);
    }
    return *best;
  }

 private:
  PartInfo info_{.id = "uniform",
                 .summary = "the best single format for all tensors that fits the budget",
                 .source = "the baseline that mixed precision is compared with"};
};

const Registration<Allocator, Uniform> kRegistration;

}  // namespace
}  // namespace bitsmith

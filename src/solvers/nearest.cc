// Solver `nearest`: every weight to its nearest code, groups fitted to their smallest and largest
// weight.
#include "solvers/direct.h"

namespace bitsmith {
namespace {

class Nearest final : public Solver {
 public:
  const PartInfo& info() const override { return info_; }
  int64_t scratch_bytes(bool has_statistics) const override {
    return direct_scratch_bytes(has_statistics);
  }

  Solution solve(const Problem& problem, const Options&, ThreadPool& pool) const override {
    check_problem(problem, info_.id);
    return solve_directly(problem, 0, {}, pool);
  }

 private:
  PartInfo info_{.id = "nearest",
                 .summary = "round to nearest, ranges from the extreme weights of each group",
                 .source = "Jacob et al. 2018, arXiv:1712.05877"};
};

const Registration<Solver, Nearest> kRegistration;

}  // namespace
}  // namespace bitsmith

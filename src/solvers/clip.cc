// Solver `clip`: every weight to its nearest code, after a search for each group's best range.
#include "solvers/direct.h"

namespace bitsmith {
namespace {

class Clip final : public Solver {
 public:
  const PartInfo& info() const override { return info_; }
  int64_t scratch_bytes(bool has_statistics) const override {
    return direct_scratch_bytes(has_statistics);
  }

  // With `weighted` and statistics, a column's squared error counts by the mean square of its
  // input: the diagonal of the second moment. Without statistics all columns count the same.
  Solution solve(const Problem& problem, const Options& options, ThreadPool& pool) const override {
    check_problem(problem, info_.id);
    std::vector<float> importance;
    if (options.flag("weighted") && problem.statistics != nullptr) {
      importance = problem.statistics->importance();
    }
    return solve_directly(problem, static_cast<int>(options.integer("steps")), importance, pool);
  }

 private:
  PartInfo info_{
      .id = "clip",
      .summary = "round to nearest, ranges searched for the least (weighted) squared error",
      .source =
          "Lin et al. 2023 (AWQ, clipping), arXiv:2306.00978; differs: both ends, all columns",
      .options = {{"steps", int64_t{20}, "ranges tried for each end", 1, 1000},
                  {"weighted", true, "weigh columns by the mean square of their input"}}};
};

const Registration<Solver, Clip> kRegistration;

}  // namespace
}  // namespace bitsmith

// Allocator `knapsack`: the choice of least total loss under the budget, as an integer programme.
#include <Cbc_C_Interface.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "allocation/relaxation.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// What CBC found, in the units of the knapsack.
struct Answer {
  std::vector<size_t> picks;  // positions in the items
  double bound;               // no choice has a smaller excess loss
};

class CbcModel {
 public:
  CbcModel() : model_(Cbc_newModel()) { Cbc_setLogLevel(model_, 0); }
  ~CbcModel() { Cbc_deleteModel(model_); }
  CbcModel(const CbcModel&) = delete;
  CbcModel& operator=(const CbcModel&) = delete;
  Cbc_Model* get() const { return model_; }

 private:
  Cbc_Model* model_;
};

// A number for the largest coefficients: large enough that CBC's absolute tolerances (1e-7, and
// 1e-5 for an improvement) are far below what matters, small enough for its arithmetic.
constexpr double kScale = 1e6;

// minimise Σ loss x  subject to  Σ_j x_tj = 1 for each tensor t,  Σ bytes x <= limit,  x in {0, 1}
// Row 0 is the budget, row 1 + t the choice of tensor t. Nothing if CBC found no choice.
std::optional<Answer> solve_programme(const Knapsack& knapsack, double limit, double largest_loss,
                                      double gap, int64_t nodes) {
  const double per_byte = kScale / std::max(limit, 1.0);
  const double per_loss = kScale / largest_loss;
  std::vector<int> starts = {0};
  std::vector<int> rows;
  std::vector<double> coefficients;
  std::vector<double> objective;
  for (size_t t = 0; t < knapsack.items.size(); ++t) {
    for (const Item& item : knapsack.items[t]) {
      rows.insert(rows.end(), {0, static_cast<int>(t) + 1});
      coefficients.insert(coefficients.end(), {static_cast<double>(item.bytes) * per_byte, 1.0});
      starts.push_back(static_cast<int>(rows.size()));
      objective.push_back(item.loss * per_loss);
    }
  }
  const auto columns = static_cast<int>(objective.size());
  const std::vector<double> zeros(objective.size(), 0.0);
  const std::vector<double> ones(objective.size(), 1.0);
  std::vector<double> row_lower(knapsack.items.size() + 1, 1.0);
  std::vector<double> row_upper = row_lower;
  row_lower[0] = 0.0;
  row_upper[0] = limit * per_byte;

  const CbcModel owner;
  Cbc_Model* model = owner.get();
  Cbc_loadProblem(model, columns, static_cast<int>(row_lower.size()), starts.data(), rows.data(),
                  coefficients.data(), zeros.data(), ones.data(), objective.data(),
                  row_lower.data(), row_upper.data());
  for (int i = 0; i < columns; ++i) Cbc_setInteger(model, i);
  Cbc_setObjSense(model, 1.0);
  Cbc_setAllowableGap(model, 0.0);
  Cbc_setAllowableFractionGap(model, gap);
  Cbc_setMaximumNodes(model, static_cast<int>(nodes));
  Cbc_setParameter(model, "increment", "1e-7");
  Cbc_solve(model);

  const double* x = Cbc_bestSolution(model);
  if (x == nullptr) return std::nullopt;
  Answer answer;
  for (const auto& items : knapsack.items) {
    answer.picks.push_back(static_cast<size_t>(std::max_element(x, x + items.size()) - x));
    x += items.size();
  }
  answer.bound = std::max(Cbc_getBestPossibleObjValue(model) / per_loss, 0.0);
  return answer;
}

// Bytes of a choice beyond the smallest one.
uint64_t excess_bytes(const Knapsack& knapsack, const std::vector<size_t>& picks) {
  uint64_t bytes = 0;
  for (size_t t = 0; t < picks.size(); ++t) {
    bytes = saturating_add(bytes, knapsack.items[t][picks[t]].bytes);
  }
  return bytes;
}

double excess_loss(const Knapsack& knapsack, const std::vector<size_t>& picks) {
  double loss = 0;
  for (size_t t = 0; t < picks.size(); ++t) loss += knapsack.items[t][picks[t]].loss;
  return loss;
}

// Candidates' indices of picks.
std::vector<size_t> indices(const Knapsack& knapsack, const std::vector<size_t>& picks) {
  std::vector<size_t> result;
  for (size_t t = 0; t < picks.size(); ++t) result.push_back(knapsack.items[t][picks[t]].index);
  return result;
}

class KnapsackAllocator final : public Allocator {
 public:
  const PartInfo& info() const override { return info_; }

  // Deterministic: CBC runs on one thread and stops by nodes, never by time.
  Choice allocate(const Tables& tables, uint64_t budget_bytes,
                  const Options& options) const override {
    check_tables(tables, budget_bytes, info_.id);
    Knapsack knapsack = reduce_tables(tables, budget_bytes);
    const Relaxation relaxation = relax(knapsack);
    Choice choice = choice_of(tables, indices(knapsack, relaxation.picks));
    const double base = choice.bound;  // excess losses count from here
    double bound = relaxation.bound;
    if (relaxation.bound < relaxation.loss) {
      remove_hopeless(relaxation, knapsack);
      const double gap = options.number("gap");
      const int64_t nodes = options.integer("nodes");
      // CBC keeps the budget up to its tolerance only. A choice that is too large by e bytes is
      // looked for again with 2 e bytes less; the relaxation's choice remains the answer if that
      // fails too.
      auto limit = static_cast<double>(knapsack.slack);
      for (int attempt = 0; attempt < 4 && limit >= 0; ++attempt) {
        const auto answer = solve_programme(knapsack, limit, relaxation.loss, gap, nodes);
        if (!answer) break;
        if (attempt == 0) bound = std::max(bound, answer->bound);
        const uint64_t bytes = excess_bytes(knapsack, answer->picks);
        if (bytes > knapsack.slack) {
          limit -= 2.0 * static_cast<double>(bytes - knapsack.slack);
          continue;
        }
        if (excess_loss(knapsack, answer->picks) < relaxation.loss) {
          choice = choice_of(tables, indices(knapsack, answer->picks));
        }
        break;
      }
    }
    choice.bound = std::min(base + bound, choice.loss);
    BITSMITH_ASSERT(choice.bytes <= budget_bytes);
    return choice;
  }

 private:
  PartInfo info_{
      .id = "knapsack",
      .summary = "the least total loss under the budget: an integer programme, solved exactly",
      .source =
          "Yao et al. 2021 (HAWQ-V3), arXiv:2011.10680; Hubara et al. 2021 (AdaQuant), "
          "arXiv:2006.10518; solver: COIN-OR CBC",
      .options = {{"gap", 1e-9, "how far the loss may be from the best one, relative", 0, 1},
                  {"nodes", int64_t{1000000},
                   "most branch-and-bound nodes before the best choice "
                   "so far is taken",
                   1, 1000000000}}};
};

const Registration<Allocator, KnapsackAllocator> kRegistration;

}  // namespace
}  // namespace bitsmith

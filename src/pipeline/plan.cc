#include "pipeline/plan.h"

#include <algorithm>
#include <cmath>

namespace bitsmith {

std::optional<uint64_t> parameter_budget(const Model& model, const Budget& budget,
                                         uint64_t overhead_bytes) {
  if (budget.bits) {
    if (!(*budget.bits > 0 && *budget.bits <= 64)) {
      fail(ErrorCode::kInvalidArgument,
           "a budget of {} bits per weight: expected a number above 0, at most 64", *budget.bits);
    }
    return static_cast<uint64_t>(*budget.bits * static_cast<double>(model.parameter_count()) / 8);
  }
  if (!budget.file_bytes) return std::nullopt;
  if (*budget.file_bytes <= overhead_bytes) {
    fail(ErrorCode::kImpossibleBudget,
         "a file of {} bytes cannot hold this model: graph, tokenizer and metadata alone take {}",
         *budget.file_bytes, overhead_bytes);
  }
  return *budget.file_bytes - overhead_bytes;
}

Plan make_plan(const Model& model, const std::vector<MatrixTask>& tasks, const Recipe& recipe,
               std::optional<uint64_t> budget_bytes, const Survey* survey,
               const OutputFormat& format) {
  Plan plan;
  plan.original_bytes = model.parameter_bytes();
  plan.weights = model.parameter_count();
  const uint64_t fixed = untouched_bytes(model, tasks, format);

  if (recipe.candidates.size() <= 1 && !budget_bytes) {
    plan.picks.assign(tasks.size(), 0);
  } else {
    BITSMITH_ASSERT(survey != nullptr || recipe.candidates.size() <= 1);
    std::vector<std::vector<Candidate>> tables;
    for (size_t t = 0; t < tasks.size(); ++t) {
      tables.emplace_back();
      for (size_t s = 0; s < tasks[t].schemes.size(); ++s) {
        // Without a survey the only question is whether the one scheme fits.
        const double loss = survey != nullptr                  ? survey->losses[t][s]
                            : s + 1 == tasks[t].schemes.size() ? 0.0
                                                               : 1.0;
        tables.back().push_back({tasks[t].bytes[s], loss});
      }
    }
    if (*budget_bytes < fixed) {
      fail(ErrorCode::kImpossibleBudget,
           "the parameters that stay as they are (norms, biases) take {} "
           "bytes alone; the budget is {}",
           fixed, *budget_bytes);
    }
    try {
      plan.picks =
          recipe.allocator.part->allocate(tables, *budget_bytes - fixed, recipe.allocator.options)
              .picks;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kImpossibleBudget) throw;
      fail(ErrorCode::kImpossibleBudget,
           "{} bytes ({:.3f} bits per weight) are too few for recipe '{}'; parameters that stay as "
           "they are take {} of them, and for the others {}",
           *budget_bytes,
           8 * static_cast<double>(*budget_bytes) / static_cast<double>(plan.weights), recipe.id,
           fixed, error.what());
    }
  }
  plan.tensor_bytes = fixed;
  for (size_t t = 0; t < tasks.size(); ++t) plan.tensor_bytes += tasks[t].bytes[plan.picks[t]];
  if (survey != nullptr) {
    double kl = 0;
    for (size_t t = 0; t < tasks.size(); ++t) {
      plan.losses.push_back(survey->losses[t][plan.picks[t]]);
      kl += plan.losses.back();
    }
    plan.predicted_kl_nats = kl;
    plan.anchors = survey->anchors;
  }
  return plan;
}

}  // namespace bitsmith

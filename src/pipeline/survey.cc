#include "pipeline/survey.h"

#include <chrono>
#include <cmath>

namespace bitsmith {
namespace {

using nlohmann::json;

// The anchor's factor at `block`, between anchors by interpolation of its logarithm.
double factor_at(const std::vector<BlockAnchor>& anchors, size_t block) {
  const BlockAnchor* before = nullptr;
  const BlockAnchor* after = nullptr;
  for (const BlockAnchor& anchor : anchors) {
    if (anchor.block <= block) before = &anchor;
    if (anchor.block >= block && after == nullptr) after = &anchor;
  }
  if (before == nullptr) return after == nullptr ? 1 : after->factor();
  if (after == nullptr || after == before) return before->factor();
  const double share = static_cast<double>(block - before->block) /
                       static_cast<double>(after->block - before->block);
  return std::exp((1 - share) * std::log(before->factor()) + share * std::log(after->factor()));
}

double use_loss(const UseErrors& use, size_t scheme, const std::vector<double>& sensitivity) {
  double sum = 0;
  for (size_t i = 0; i < use.channels.size(); ++i) {
    sum += sensitivity[static_cast<size_t>(use.channels[i])] * use.errors[scheme][i];
  }
  // Sampled channels stand for all of them.
  return 0.5 * sum * static_cast<double>(sensitivity.size()) /
         static_cast<double>(use.channels.size());
}

}  // namespace

Survey run_survey(const Context& context, const std::vector<Block>& blocks,
                  const std::vector<MatrixTask>& tasks, const Recipe& recipe,
                  const CalibrationSet& calibration, double bits) {
  const auto start = std::chrono::steady_clock::now();
  Survey survey;
  if (const auto finished = context.workspace.load("survey")) {
    survey.losses = finished->at("losses").get<std::vector<std::vector<double>>>();
    for (const json& a : finished->at("anchors")) {
      survey.anchors.push_back({a.at("block"), a.at("predicted"), a.at("measured")});
    }
    survey.seconds = finished->at("seconds");
    return survey;
  }
  SurveyState state{blocks, tasks, recipe, calibration, {}, {}};
  measure_errors(context, state);
  const std::vector<std::vector<double>> sensitivity = measure_sensitivity(context, state);
  survey.anchors = measure_anchors(context, state, sensitivity, bits);

  for (const MatrixTask& task : tasks) survey.losses.emplace_back(task.schemes.size(), 0.0);
  for (const UseErrors& use : state.errors) {
    const MatrixTask& task = tasks[use.task];
    size_t block = 0;
    for (const MatrixUse& u : task.uses) block = u.node == use.node ? u.block : block;
    for (size_t s = 0; s + 1 < task.schemes.size(); ++s) {
      survey.losses[use.task][s] +=
          use_loss(use, s, sensitivity[use.node]) * factor_at(survey.anchors, block);
    }
  }
  survey.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  json record = {
      {"losses", survey.losses}, {"anchors", json::array()}, {"seconds", survey.seconds}};
  for (const BlockAnchor& a : survey.anchors) {
    record["anchors"].push_back(
        {{"block", a.block}, {"predicted", a.predicted_kl_nats}, {"measured", a.measured_kl_nats}});
  }
  context.workspace.save("survey", record);
  return survey;
}

}  // namespace bitsmith

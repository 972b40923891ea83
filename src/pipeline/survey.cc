#include "pipeline/survey.h"

#include <cmath>

namespace bitsmith {
namespace {

using nlohmann::json;

json to_json(const Anchor& anchor) {
  return {{"block", anchor.block},
          {"predicted", anchor.predicted_kl_nats},
          {"measured", anchor.measured_kl_nats}};
}

Anchor anchor_from_json(const json& a) {
  return {a.at("block"), a.at("predicted"), a.at("measured")};
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
  Survey survey;
  if (const auto finished = context.workspace.load("survey")) {
    survey.losses = finished->at("losses").get<std::vector<std::vector<double>>>();
    for (const json& a : finished->at("anchors"))
      survey.anchors.blocks.push_back(anchor_from_json(a));
    survey.anchors.joint = anchor_from_json(finished->at("joint"));
    survey.times = WorkTimes::from_json(finished->at("times"));
    return survey;
  }
  SurveyState state{blocks, tasks, recipe, calibration, {}, {}, {}};
  measure_errors(context, state, bits);
  const std::vector<std::vector<double>> sensitivity = measure_sensitivity(context, state);
  survey.anchors = measure_anchors(context, state, sensitivity, bits);

  for (const MatrixTask& task : tasks) survey.losses.emplace_back(task.schemes.size(), 0.0);
  for (const UseErrors& use : state.errors) {
    const MatrixTask& task = tasks[use.task];
    size_t block = 0;
    for (const MatrixUse& u : task.uses) block = u.node == use.node ? u.block : block;
    for (size_t s = 0; s + 1 < task.schemes.size(); ++s) {
      survey.losses[use.task][s] += use_loss(use, s, sensitivity[use.node]) *
                                    survey.anchors.block_factor(block) *
                                    survey.anchors.joint.factor();
    }
  }
  survey.times = std::move(state.times);
  json record = {{"losses", survey.losses},
                 {"anchors", json::array()},
                 {"joint", to_json(survey.anchors.joint)},
                 {"times", survey.times.to_json()}};
  for (const Anchor& a : survey.anchors.blocks) record["anchors"].push_back(to_json(a));
  context.workspace.save("survey", record);
  return survey;
}

}  // namespace bitsmith

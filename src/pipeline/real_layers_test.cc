// What codes lose on layers of real models: error feedback pays for every codec.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "core/testing.h"
#include "pipeline/measured_inputs.h"
#include "solvers/solver.h"

namespace bitsmith {
namespace {

// A linear layer and what it reads, measured on text that the model wrote.
struct RealLayer {
  std::string name;
  MatrixShape shape;
  std::vector<float> weights;
  std::shared_ptr<const InputStatistics> inputs;
};

// Every linear layer with weights of its own but the head, some rows of each.
std::vector<RealLayer> layers_of(const Model& model, int64_t rows, ThreadPool& pool) {
  SilentProgress silent;
  CalibrationRequest wanted;
  wanted.sequences = 16;
  wanted.length = 128;
  const CalibrationSet calibration = make_calibration_set(model, wanted, pool, silent);
  TemporaryWorkspace temporary("layers");
  const Context context{model, pool, silent, temporary.workspace, at::kCPU, 1, 1 << 24};
  MeasuredInputs inputs(context, calibration);
  std::vector<RealLayer> layers;
  for (size_t n = 0; n < model.graph.nodes.size(); ++n) {
    const Node& node = model.graph.nodes[n];
    if (node.op != "linear" || node.outputs[0] == model.graph.outputs[0]) continue;
    const CodedTensor& tensor = model.parameter(model.graph.value(node.inputs[1]).name);
    const MatrixShape whole = tensor.matrix();
    RealLayer& layer = layers.emplace_back(
        RealLayer{tensor.name, {std::min(rows, whole.rows), whole.cols}, {}, nullptr});
    layer.weights.resize(static_cast<size_t>(layer.shape.rows * layer.shape.cols));
    tensor.decode(0, layer.shape.rows, layer.weights.data());
    layer.inputs = std::make_shared<InputStatistics>(whole.cols, inputs.second_moment(n));
  }
  return layers;
}

// The mean squared error of a layer's outputs, summed over rows.
double coding_error(const RealLayer& layer, const Scheme& scheme, const std::string& id,
                    ThreadPool& pool, const nlohmann::json& options = nlohmann::json::object()) {
  const Solver& solver = Registry<Solver>::instance().get(id);
  const Solution solution = solver.solve({layer.weights, layer.shape, layer.inputs.get(), scheme},
                                         Options(solver.info().options, options, id), pool);
  return std::accumulate(solution.row_error.begin(), solution.row_error.end(), 0.0);
}

class EveryCodec : public ::testing::TestWithParam<std::string> {};

// LDLQ's weighted error is at most that of nearest codes.
TEST_P(EveryCodec, LosesLessWithFeedback) {
  ThreadPool pool(2);
  static const std::vector<RealLayer> layers =
      layers_of(open_model(testing::source_folder() / "models/classics-7m"), 48, pool);
  const Scheme scheme(GetParam(), nlohmann::json::object());
  for (const char* name :
       {"model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"}) {
    const RealLayer& layer = *std::ranges::find(layers, name, &RealLayer::name);
    const double nearest = coding_error(layer, scheme, "nearest", pool);
    const double ldlq = coding_error(layer, scheme, "gptq", pool);
    EXPECT_LE(ldlq, nearest) << scheme.label() << " " << name;
  }
}

std::vector<std::string> codec_ids() {
  std::vector<std::string> ids;
  for (const Codec* codec : Registry<Codec>::instance().all()) ids.push_back(codec->info().id);
  return ids;
}
INSTANTIATE_TEST_SUITE_P(Codecs, EveryCodec, ::testing::ValuesIn(codec_ids()),
                         [](const auto& codec) { return codec.param; });

}  // namespace
}  // namespace bitsmith

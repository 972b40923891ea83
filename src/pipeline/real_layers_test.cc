// What codes lose on layers of real models: error feedback pays for every codec, and transforms
// remove outliers.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>

#include "core/testing.h"
#include "pipeline/measured_inputs.h"
#include "pipeline/rewrite.h"
#include "solvers/solver.h"
#include "transforms/channel_groups.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

Model classics() { return open_model(testing::source_folder() / "models/classics-7m"); }

CalibrationSet tale(const Model& model, int64_t sequences, ThreadPool& pool) {
  SilentProgress silent;
  CalibrationRequest wanted;
  wanted.text = testing::source_folder() / "models/tale.txt";
  wanted.sequences = sequences;
  wanted.length = 256;
  return make_calibration_set(model, wanted, pool, silent);
}

// Calls body with what the model's layers read.
void with_measured_inputs(const Model& model, int64_t sequences, ThreadPool& pool,
                          const std::function<void(MeasuredInputs& inputs)>& body) {
  SilentProgress silent;
  const CalibrationSet calibration = tale(model, sequences, pool);
  TemporaryWorkspace temporary("layers");
  const Context context{model, pool, silent, temporary.workspace, at::kCPU, 1, 1 << 24};
  MeasuredInputs inputs(context, calibration);
  body(inputs);
}

// A linear layer and what it reads.
struct RealLayer {
  std::string name;
  MatrixShape shape;
  std::vector<float> weights;
  std::shared_ptr<const InputStatistics> inputs;
};

// The first `rows` of layers, which are in order.
std::vector<RealLayer> layers_of(const Model& model, const std::vector<std::string>& names,
                                 int64_t rows, int64_t sequences, ThreadPool& pool) {
  std::vector<RealLayer> layers;
  with_measured_inputs(model, sequences, pool, [&](MeasuredInputs& inputs) {
    for (size_t n = 0; layers.size() < names.size(); ++n) {
      const Node& node = model.graph.nodes.at(n);
      if (node.op != "linear") continue;
      const CodedTensor& tensor = model.parameter(model.graph.value(node.inputs[1]).name);
      if (tensor.name != names[layers.size()]) continue;
      const MatrixShape shape{std::min(rows, tensor.matrix().rows), tensor.matrix().cols};
      std::vector<float> weights(static_cast<size_t>(shape.rows * shape.cols));
      tensor.decode(0, shape.rows, weights.data());
      layers.push_back({tensor.name, shape, std::move(weights),
                        std::make_shared<InputStatistics>(shape.cols, inputs.second_moment(n))});
    }
  });
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

// LDLQ's weighted error is at most that of nearest codes. It takes eight tokens for each input of
// the widest layer: of one or two the second moment is nearly singular, and codecs of three values
// or of long blocks then come out worse than nearest.
TEST_P(EveryCodec, LosesLessWithFeedback) {
  ThreadPool pool(2);
  constexpr int64_t kSequences = 24;
  static const std::vector<RealLayer> layers = layers_of(
      classics(), {"model.layers.0.mlp.down_proj.weight", "model.layers.1.self_attn.q_proj.weight"},
      48, kSequences, pool);
  const Scheme scheme(GetParam(), nlohmann::json::object());
  for (const RealLayer& layer : layers) {
    const double nearest = coding_error(layer, scheme, "nearest", pool);
    const double ldlq = coding_error(layer, scheme, "gptq", pool);
    EXPECT_LE(ldlq, nearest) << scheme.label() << " " << layer.name;
  }
}

std::vector<std::string> codec_ids() {
  std::vector<std::string> ids;
  for (const Codec* codec : Registry<Codec>::instance().all()) ids.push_back(codec->info().id);
  return ids;
}
INSTANTIATE_TEST_SUITE_P(Codecs, EveryCodec, ::testing::ValuesIn(codec_ids()),
                         [](const auto& codec) { return codec.param; });

// A network with changed parameters, which lie in a folder.
struct Changed {
  Changed(const Model& original, const std::function<void(Network& network)>& change,
          ThreadPool& pool) {
    Network network(original);
    change(network);
    SilentProgress silent;
    model = rewritten_model(original, network);
    write_changed_parameters(original, network, folder.path(), pool, silent, model);
  }
  testing::TemporaryFolder folder;
  Model model;
};

// Some channels behind every norm, layer, product and attention `factor` times as large, the
// weights that read them that much smaller: the network computes the same.
Changed with_outliers(const Model& original, float factor, ThreadPool& pool) {
  const auto change = [&](Network& network) {
    for (const ChannelGroup& group : find_channel_groups(network)) {
      std::vector<float> factors(static_cast<size_t>(group.channels), 1.0F);
      for (size_t c = 5; c < factors.size(); c += 37) factors[c] = 1 / factor;
      scale_channels(network, group, factors);
    }
  };
  return {original, change, pool};
}

constexpr const char* kBehindNorm = "model.layers.1.self_attn.q_proj.weight";
constexpr const char* kBehindProduct = "model.layers.1.mlp.down_proj.weight";

// What a transform removes: outliers among activations (large channels that small weights read)
// or among weights (small channels that large ones read), behind norms or products.
enum class Outliers { kActivations, kWeights };
struct Removal {
  std::string transform;
  Outliers outliers;
  std::string layer;
  nlohmann::json options = nlohmann::json::object();
  std::vector<std::string> solvers = {"nearest", "gptq"};  // whose codes lose less then
};
void PrintTo(const Removal& removal, std::ostream* out) {
  *out << removal.transform
       << (removal.outliers == Outliers::kActivations ? " activations " : " weights ")
       << removal.layer;
}

class EveryRemoval : public ::testing::TestWithParam<Removal> {};

// Outputs of these layers are turned at most, never scaled, so their errors compare.
TEST_P(EveryRemoval, LowersTheErrorOfCodes) {
  const auto& [id, kind, name, options, solvers] = GetParam();
  ThreadPool pool(2);
  constexpr float kOutlier = 32;
  constexpr int64_t kRows = 256;
  constexpr int64_t kSequences = 4;
  const Changed outliers =
      with_outliers(classics(), kind == Outliers::kActivations ? kOutlier : 1 / kOutlier, pool);
  const Scheme code("int", {{"bits", 3}, {"group", 32}});
  std::optional<Changed> transformed;
  with_measured_inputs(outliers.model, kSequences, pool, [&](MeasuredInputs& inputs) {
    const auto change = [&](Network& network) {
      network.layer_inputs = &inputs;
      for (const ValueId parameter : network.graph.parameters()) {
        network.codes[network.graph.value(parameter).name] = code;
      }
      const Transform& transform = Registry<Transform>::instance().get(id);
      transform.apply(network, Options(transform.info().options, options, id), pool);
    };
    transformed.emplace(outliers.model, change, pool);
  });
  const RealLayer before = layers_of(outliers.model, {name}, kRows, kSequences, pool).front();
  const RealLayer after = layers_of(transformed->model, {name}, kRows, kSequences, pool).front();
  for (const std::string& solver : solvers) {
    const double ratio =
        coding_error(after, code, solver, pool) / coding_error(before, code, solver, pool);
    EXPECT_LT(ratio, 0.9) << solver;
  }
}

std::vector<Removal> removals() {
  constexpr auto kActivations = Outliers::kActivations;
  constexpr auto kWeights = Outliers::kWeights;
  std::vector<Removal> result;
  for (const char* layer : {kBehindNorm, kBehindProduct}) {
    for (const Outliers kind : {kActivations, kWeights}) {
      result.push_back({"awq", kind, layer});
      result.push_back({"smooth", kind, layer});
    }
  }
  for (const Outliers kind : {kActivations, kWeights}) {
    result.push_back({"dual_scale", kind, kBehindProduct});
    result.push_back({"equalize", kind, kBehindProduct});
  }
  // Rotations spread large activations over all columns. Nearest codes may lose more then: before,
  // they rounded the small weights that read those to zero.
  for (const char* layer : {kBehindNorm, kBehindProduct}) {
    result.push_back({"rotate", kActivations, layer, nlohmann::json::object(), {"gptq"}});
    result.push_back({"rotate", kWeights, layer});
  }
  result.push_back({"klt", kWeights, kBehindNorm});
  for (const char* layer : {kBehindNorm, kBehindProduct}) {
    result.push_back({"shift", kActivations, layer});
    result.push_back({"permute", kWeights, layer});
    result.push_back({"permute", kActivations, layer, {{"by", "inputs"}}, {"gptq"}});
  }
  return result;
}
INSTANTIATE_TEST_SUITE_P(Transforms, EveryRemoval, ::testing::ValuesIn(removals()));

}  // namespace
}  // namespace bitsmith

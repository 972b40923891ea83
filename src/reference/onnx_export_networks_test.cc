// Whole networks as ONNX files: as they are, and quantized, by the native executor and by ONNX
// Runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "codecs/codec_testing.h"
#include "codecs/int_layout.h"
#include "core/random.h"
#include "formats/fold_batch_norm.h"
#include "formats/onnx_export.h"
#include "formats/onnx_file.h"
#include "graph/operators.h"
#include "reference/onnx_runtime_testing.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using reference_testing::OnnxRuntime;
using ::testing::HasSubstr;
using testing::shared_data;
using testing::TemporaryFolder;

at::Tensor random_images(const Model& model, int64_t count) {
  Shape shape = model.graph.value(model.graph.inputs[0]).shape;
  if (shape[0] == kBatch) shape[0] = count;
  std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
  Random random(3);
  for (float& x : numbers) x = static_cast<float>(random.normal());
  return reference_testing::float_tensor(numbers, shape);
}

std::vector<std::vector<float>> run_natively(const Model& model, const at::Tensor& input) {
  ThreadPool pool(2);
  NetworkExecutor executor(model, pool);
  const std::span<const float> numbers(input.data_ptr<float>(), static_cast<size_t>(input.numel()));
  return executor.run({&numbers, 1}, input.size(0));
}

std::vector<at::Tensor> as_tensors(const Model& model, const at::Tensor& input) {
  std::vector<at::Tensor> tensors;
  for (const std::vector<float>& y : run_natively(model, input)) {
    Shape shape = model.graph.value(model.graph.outputs[tensors.size()]).shape;
    if (shape[0] == kBatch) shape[0] = input.size(0);
    tensors.push_back(reference_testing::float_tensor(y, shape));
  }
  return tensors;
}

// Parameters made for a test.
void set_parameter(Model& model, const std::string& name, const Shape& shape, const Scheme& scheme,
                   std::vector<std::byte> bytes) {
  model.buffers.push_back(std::make_shared<const std::vector<std::byte>>(std::move(bytes)));
  model.parameters[name] = {name, shape, scheme, *model.buffers.back()};
}

Scheme plain() { return Scheme("f32", nlohmann::json::object()); }

ValueId add_number(Model& model, const std::string& name, float x) {
  const auto bytes = std::as_bytes(std::span(&x, 1));
  set_parameter(model, name, {}, plain(), {bytes.begin(), bytes.end()});
  return model.graph.add_parameter(name, {}, "quantization");
}

// A network as integer executors want it: batch norms folded, weights of conv and linear coded by
// `int` with a scale for each output channel, results of conv, linear, add and pools and the input
// quantized to [0, 2^bits - 1], from the smallest to the largest number that `images` make.
class Quantizer {
 public:
  Quantizer(Model model, const at::Tensor& images, int weight_bits, int activation_bits)
      : from_(std::move(model)), weight_bits_(weight_bits), bits_(activation_bits) {
    fold_batch_norms(from_);
    observe(images);
  }

  Model run() {
    Model to;
    to.parameters = from_.parameters;
    to.buffers = from_.buffers;
    to.files = from_.files;
    std::vector<ValueId> made(from_.graph.values.size(), kNoValue);
    for (const ValueId id : from_.graph.inputs) {
      const Value& value = from_.graph.value(id);
      made[index(id)] = quantized(to, id, to.graph.add_input(value.name, value.shape));
    }
    for (const ValueId id : from_.graph.parameters()) {
      const Value& value = from_.graph.value(id);
      made[index(id)] = to.graph.add_parameter(value.name, value.shape, value.role);
    }
    for (const Node& node : from_.graph.nodes) {
      std::vector<ValueId> inputs;
      for (const ValueId id : node.inputs) inputs.push_back(id == kNoValue ? id : made[index(id)]);
      const ValueId y = to.graph.add_node(node.op, node.name, inputs, node.attributes);
      made[index(node.outputs[0])] = is_quantized(node) ? quantized(to, node.outputs[0], y) : y;
      if (node.op == "conv" || node.op == "linear") code_weight(to, node);
    }
    for (const ValueId id : from_.graph.outputs) to.graph.outputs.push_back(made[index(id)]);
    return to;
  }

 private:
  static size_t index(ValueId id) { return static_cast<size_t>(id); }

  void observe(const at::Tensor& images) {
    const at::NoGradGuard no_grad;
    const Graph& graph = from_.graph;
    Environment values(graph.values.size());
    values[index(graph.inputs[0])] = images;
    std::vector<ValueId> all = graph.inputs;
    for (const Node& node : graph.nodes) all.push_back(node.outputs[0]);
    const ParameterSource parameters = [&](ValueId id) {
      const Value& value = graph.value(id);
      return reference_testing::float_tensor(from_.parameter(value.name).decode_all(), value.shape);
    };
    run_reference(graph, 0, graph.nodes.size(), parameters, values, all);
    ranges_.resize(graph.values.size());
    for (const ValueId id : all) {
      const at::Tensor& x = values[index(id)];
      ranges_[index(id)] = {std::min(0.0F, x.min().item<float>()),
                            std::max(1e-3F, x.max().item<float>())};
    }
  }

  // Where a relu or clip follows alone, its result is quantized instead.
  bool is_quantized(const Node& node) const {
    static const std::set<std::string> kOps = {"conv",   "add",      "relu",         "clip",
                                               "linear", "max_pool", "average_pool", "reduce_mean"};
    const ValueId y = node.outputs[0];
    if (!kOps.contains(node.op) || std::ranges::count(from_.graph.outputs, y) > 0) return false;
    int readers = 0;
    bool clamped = false;
    for (const Node& reader : from_.graph.nodes) {
      if (std::ranges::count(reader.inputs, y) == 0) continue;
      ++readers;
      clamped = clamped || reader.op == "relu" || reader.op == "clip";
    }
    return readers > 1 || !clamped;
  }

  ValueId quantized(Model& to, ValueId of, ValueId x) const {
    const std::string name = to.graph.value(x).name;
    const auto [low, high] = ranges_[index(of)];
    const int64_t top = (int64_t{1} << bits_) - 1;
    const float scale = (high - low) / static_cast<float>(top);
    const ValueId s = add_number(to, name + ".scale", scale);
    const ValueId z = add_number(to, name + ".zero_point", std::nearbyint(-low / scale));
    const ValueId q = ops::quantize(to.graph, name + ".quantized", x, s, z, 0, 0, top);
    return ops::dequantize(to.graph, name + ".dequantized", q, s, z, 0);
  }

  void code_weight(Model& to, const Node& node) const {
    const CodedTensor& weight = from_.parameter(from_.graph.value(node.inputs[1]).name);
    const Scheme scheme("int", {{"bits", weight_bits_}, {"group", 0}, {"symmetric", true}});
    ThreadPool pool(1);
    set_parameter(to, weight.name, weight.shape, scheme,
                  testing::encode(scheme, weight.matrix(), weight.decode_all(), pool).bytes);
  }

  Model from_;
  int weight_bits_;
  int bits_;
  std::vector<std::pair<float, float>> ranges_;
};

// Weights as numbers: kernels of codes may round activations once more.
Model with_float_weights(Model model) {
  for (const Node& node : model.graph.nodes) {
    if (node.op != "conv" && node.op != "linear") continue;
    const CodedTensor weight = model.parameter(model.graph.value(node.inputs[1]).name);
    const std::vector<float> numbers = weight.decode_all();
    const auto bytes = std::as_bytes(std::span(numbers));
    set_parameter(model, weight.name, weight.shape, plain(), {bytes.begin(), bytes.end()});
  }
  return model;
}

// The scale of a quantized value.
std::optional<float> scale_of(const Model& model, ValueId id) {
  for (size_t i = model.graph.nodes.size(); i-- > 0;) {
    const Node& node = model.graph.nodes[i];
    if (node.outputs[0] != id) continue;
    if (node.op == "reshape" || node.op == "max_pool") id = node.inputs[0];
    if (node.op != "dequantize") continue;
    return model.parameter(model.graph.value(node.inputs[1]).name).decode_all()[0];
  }
  return std::nullopt;
}

// The biases rounded to units of input scale * weight scale, as integer executors add them.
Model with_integer_biases(Model model) {
  for (const Node& node : model.graph.nodes) {
    if ((node.op != "conv" && node.op != "linear") || node.inputs[2] == kNoValue) continue;
    const std::optional<float> scale_of_input = scale_of(model, node.inputs[0]);
    if (!scale_of_input) continue;
    const float input_scale = *scale_of_input;
    const CodedTensor& weight = model.parameter(model.graph.value(node.inputs[1]).name);
    const CodedTensor bias = model.parameter(model.graph.value(node.inputs[2]).name);
    std::vector<float> numbers = bias.decode_all();
    const auto bits = static_cast<int>(weight.scheme.options.integer("bits"));
    const IntLayout layout(weight.matrix(), bits, 0, true);
    for (size_t o = 0; o < numbers.size(); ++o) {
      if (numbers[o] == 0) continue;
      float scale = layout.scale(reinterpret_cast<const uint8_t*>(weight.bytes.data()),
                                 static_cast<int64_t>(o), 0);
      if (scale == 0) scale = std::abs(numbers[o]) / (input_scale * 0x1p15F);  // no weights
      const auto unit = static_cast<double>(
          static_cast<float>(static_cast<double>(input_scale) * static_cast<double>(scale)));
      const double code = std::nearbyint(static_cast<double>(numbers[o]) / unit);
      numbers[o] = static_cast<float>(code * unit);
    }
    const auto bytes = std::as_bytes(std::span(numbers));
    set_parameter(model, bias.name, bias.shape, plain(), {bytes.begin(), bytes.end()});
  }
  return model;
}

const std::vector<std::string> kNetworks = {
    "cifar10-resnet/cifar10_resnet20.onnx",
    "cifar10-resnet/cifar10_resnet56.onnx",
    "mlperf-tiny/mlperf_tiny_ic_resnet8.onnx",
    "squeezenet-v1.1/squeezenet_v1.1_imagenet.onnx",
    "squeezenet-v1.0-deepcompression/squeezenet_v1.0_deepcompression.onnx",
    "mobilenet-v2/mobilenet_v2_1.0_224_imagenet_dequant.onnx",
    "mnist-mlp/mnist_mlp.onnx",
    "ultra-light-face/version-RFB-320.onnx"};

class OnnxExportNetworks : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    path_ = shared_data("cnn/" + GetParam());
    if (path_.empty()) GTEST_SKIP() << "cnn/" << GetParam() << " is not there";
    at::set_num_threads(1);
  }
  fs::path path_;
};

TEST_P(OnnxExportNetworks, ComputeTheSameBits) {
  const TemporaryFolder folder;
  const Model model = open_model(path_);
  const at::Tensor images = random_images(model, 2);
  export_onnx(folder / "again.onnx", model);
  const Model again = open_model(folder / "again.onnx");
  EXPECT_EQ(run_natively(again, images), run_natively(model, images));
  // Written once more, it is the same file.
  export_onnx(folder / "twice.onnx", again);
  EXPECT_EQ(testing::read_bytes(folder / "twice.onnx"), testing::read_bytes(folder / "again.onnx"));
}

TEST_P(OnnxExportNetworks, QuantizedOnesAreSmallAndComputeTheSameBits) {
  const TemporaryFolder folder;
  const Model original = open_model(path_);
  const at::Tensor images = random_images(original, 2);
  for (const auto& [weight_bits, activation_bits] : {std::pair{8, 8}, {4, 6}}) {
    SCOPED_TRACE(fmt::format("W{}A{}", weight_bits, activation_bits));
    const Model model = Quantizer(original, images, weight_bits, activation_bits).run();
    const OnnxReport report = export_onnx(folder / "qdq.onnx", model);
    EXPECT_EQ(report.opset, 13);
    EXPECT_EQ(report.notes.empty(), weight_bits == 8);
    EXPECT_LT(report.bytes, original.parameter_bytes() * 2 / 5);
    const Model again = open_model(folder / "qdq.onnx");
    EXPECT_EQ(run_natively(again, images),
              run_natively(with_float_weights(with_integer_biases(model)), images));

    const OnnxReport whole = export_onnx(folder / "float.onnx", model, true);
    EXPECT_GT(whole.bytes, original.parameter_bytes() * 9 / 10);
    EXPECT_TRUE(whole.notes.empty());
    const Model floats = open_model(folder / "float.onnx");
    EXPECT_EQ(run_natively(floats, images), run_natively(with_float_weights(model), images));
  }
}

TEST_P(OnnxExportNetworks, QuantizedOnesAgreeWithOnnxRuntime) {
  if (!OnnxRuntime::is_there()) GTEST_SKIP() << OnnxRuntime::kMissing;
  const TemporaryFolder folder;
  const Model original = open_model(path_);
  const at::Tensor images = random_images(original, 8);
  const Model model = with_integer_biases(Quantizer(original, images, 8, 8).run());
  export_onnx(folder / "qdq.onnx", model);
  OnnxRuntime runtime(folder.path());
  const std::vector<at::Tensor> got = as_tensors(model, images);
  const std::vector<at::Tensor> floats = as_tensors(original, images);
  runtime.add(folder / "qdq.onnx", images, got);
  const std::vector<at::Tensor> expected = runtime.run()[0];
  for (size_t i = 0; i < got.size(); ++i) {
    const auto largest = [](const at::Tensor& x) { return x.abs().max().item<double>(); };
    const double size = largest(floats[i]);
    const double difference = largest(got[i] - expected[i]);
    const double error = largest(got[i] - floats[i]);
    fmt::print("{} output {}: {:.2e} of the largest; quantization: {:.2e}\n", GetParam(), i,
               difference / size, error / size);
    // Sums that differ in float32 rounding make a few codes others, by one: less than quantization.
    EXPECT_LE(difference, error);
  }
}

// Matrices of codes that floats are multiplied by: per channel and in blocks, with and without zero
// points, rows and sequences.
TEST(OnnxExportMatrices, AgreeWithOnnxRuntime) {
  if (!OnnxRuntime::is_there()) GTEST_SKIP() << OnnxRuntime::kMissing;
  at::set_num_threads(1);
  const TemporaryFolder folder;
  OnnxRuntime runtime(folder.path());
  std::vector<std::vector<at::Tensor>> expected;
  std::vector<std::string> cases;
  std::vector<double> bounds;
  constexpr int64_t kChannels = 64;
  constexpr int64_t kOutputs = 24;
  for (const int bits : {1, 2, 3, 4, 5, 8}) {
    for (const int64_t group : {0, 16, 24, 32}) {
      for (const bool symmetric : {false, true}) {
        for (const Shape& shape : {Shape{kBatch, kChannels}, Shape{kBatch, 3, kChannels}}) {
          Model model;
          Graph& g = model.graph;
          const Scheme scheme("int", {{"bits", bits}, {"group", group}, {"symmetric", symmetric}});
          std::vector<float> numbers(kChannels * kOutputs);
          Random random(5);
          for (float& x : numbers) x = static_cast<float>(random.normal());
          ThreadPool pool(1);
          set_parameter(model, "w", {kOutputs, kChannels}, scheme,
                        testing::encode(scheme, {kOutputs, kChannels}, numbers, pool).bytes);
          const std::vector<float> ones(kOutputs, 1);
          const auto bytes = std::as_bytes(std::span(ones));
          set_parameter(model, "b", {kOutputs}, plain(), {bytes.begin(), bytes.end()});
          const ValueId w = g.add_parameter("w", {kOutputs, kChannels}, "linear.weight");
          const ValueId b = g.add_parameter("b", {kOutputs}, "linear.bias");
          g.outputs = {ops::linear(g, "y", g.add_input("x", shape), w, b)};
          const at::Tensor x = random_images(model, 4);
          const fs::path file = folder / fmt::format("{}.onnx", cases.size());
          EXPECT_TRUE(export_onnx(file, model).notes.empty());
          expected.push_back(reference_testing::run_network(model, {x}));
          runtime.add(file, x, expected.back());
          // It may round activations to 8 bits, by at most half of the largest / 127.
          const at::Tensor rows = reference_testing::float_tensor(model.parameter("w").decode_all(),
                                                                  {kOutputs, kChannels});
          const at::Tensor weights = rows.abs().sum(1).max() * x.abs().max();
          bounds.push_back(1.01 * weights.item<double>() / 254);
          cases.push_back(fmt::format("{}, {}", scheme.label(), to_string(shape)));
        }
      }
    }
  }
  const std::vector<std::vector<at::Tensor>> got = runtime.run();
  for (size_t i = 0; i < cases.size(); ++i) {
    const at::Tensor difference = got[i][0] - expected[i][0];
    EXPECT_LE(difference.abs().max().item<double>(), bounds[i]) << cases[i];
  }
}

INSTANTIATE_TEST_SUITE_P(All, OnnxExportNetworks, ::testing::ValuesIn(kNetworks),
                         [](const auto& tested) {
                           std::string name = fs::path(tested.param).stem().string();
                           std::ranges::replace_if(
                               name, [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace bitsmith

// Whole networks as ONNX files: as they are, and quantized, by the native executor and by ONNX
// Runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "calibration/quantize_activations.h"
#include "codecs/codec_testing.h"
#include "codecs/int_layout.h"
#include "core/random.h"
#include "formats/fold_batch_norm.h"
#include "formats/onnx_export.h"
#include "graph/operators.h"
#include "images/preprocessing.h"
#include "images/subset.h"
#include "reference/onnx_runtime_testing.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using reference_testing::OnnxRuntime;
using reference_testing::random_input;
using ::testing::HasSubstr;
using testing::shared_data;
using testing::TemporaryFolder;

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

// The network as integer executors want it: batch norms folded, weights of conv and linear coded by
// `int` with a scale for each output channel, activations quantized to the range that `images`
// make.
Model quantized(Model model, const at::Tensor& images, int weight_bits, int activation_bits) {
  fold_batch_norms(model);
  ThreadPool pool(2);
  const std::vector<QuantizationSite> sites = find_quantization_sites(model.graph);
  CalibrationInputs inputs;
  inputs.images = images.size(0);
  inputs.batch = [&](int64_t begin, int64_t count) {
    const at::Tensor part = images.slice(0, begin, begin + count);
    const float* first = part.data_ptr<float>();
    return std::vector<std::vector<float>>{{first, first + part.numel()}};
  };
  const ObserverMethod& method = Registry<ObserverMethod>::instance().get("min_max");
  const ObserverChoice observer{
      &method, Options(method.info().options, nlohmann::json::object(), "observer")};
  const std::vector<ValueRange> ranges =
      observe_ranges(model, sites, inputs, observer, activation_bits, pool);
  insert_quantization(model, sites, ranges, activation_bits);
  const Scheme scheme("int", {{"bits", weight_bits}, {"group", 0}, {"symmetric", true}});
  for (const Node& node : model.graph.nodes) {
    if (node.op != "conv" && node.op != "linear") continue;
    const CodedTensor weight = model.parameter(model.graph.value(node.inputs[1]).name);
    set_parameter(model, weight.name, weight.shape, scheme,
                  testing::encode(scheme, weight.matrix(), weight.decode_all(), pool).bytes);
  }
  return model;
}

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
  const at::Tensor images = random_input(model, 2);
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
  const at::Tensor images = random_input(original, 2);
  for (const auto& [weight_bits, activation_bits] : {std::pair{8, 8}, {4, 6}}) {
    SCOPED_TRACE(fmt::format("W{}A{}", weight_bits, activation_bits));
    const Model model = quantized(original, images, weight_bits, activation_bits);
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
  const at::Tensor images = random_input(original, 8);
  const Model model = with_integer_biases(quantized(original, images, 8, 8));
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

// Of [images, classes].
std::vector<int64_t> first_choices(const at::Tensor& logits) {
  const at::Tensor choices = logits.argmax(1).contiguous();
  return {choices.data_ptr<int64_t>(), choices.data_ptr<int64_t>() + choices.numel()};
}

// W8A8 with ranges of 256 training images, on 200 lossless and 3,800 JPEG images of the test set.
TEST(OnnxExportAccuracy, IntegersChooseAsOnnxRuntimeDoes) {
  const fs::path train = shared_data("images/cifar10-jpeg/train20000.tar");
  const fs::path test = shared_data("images/cifar10-jpeg/test7000.tar");
  const fs::path lossless = shared_data("images/mlperf-tiny-ic200/ic01_200x32x32x3_u8.bin");
  if (train.empty() || test.empty() || lossless.empty()) GTEST_SKIP() << "images are not there";
  if (!OnnxRuntime::is_there()) GTEST_SKIP() << OnnxRuntime::kMissing;
  Preprocessing preprocessing;
  preprocessing.scale = 1.0 / 255;
  preprocessing.mean = {0.485, 0.456, 0.406};
  preprocessing.deviation = {0.229, 0.224, 0.225};
  ThreadPool pool(2);
  const auto load = [&](const ImageSource& source, int64_t count) {
    const auto chosen = spread_images(open_images(source), count);
    return reference_testing::float_tensor(
        preprocess_batch(preprocessing, *chosen, 0, chosen->size(), pool),
        {chosen->size(), 3, 32, 32});
  };
  const at::Tensor calibration = load({train, "", {}}, 256);
  const at::Tensor images =
      at::cat({load({lossless, "", {32, 32, 3}}, 200), load({test, "", {}}, 3800)});
  for (const char* name : {"resnet20", "resnet56"}) {
    const fs::path path = shared_data(fmt::format("cnn/cifar10-resnet/cifar10_{}.onnx", name));
    if (path.empty()) GTEST_SKIP() << name << " is not there";
    const TemporaryFolder folder;
    const Model model = quantized(open_model(path), calibration, 8, 8);
    export_onnx(folder / "qdq.onnx", model);
    OnnxRuntime runtime(folder.path());
    const std::vector<at::Tensor> got = as_tensors(model, images);
    runtime.add(folder / "qdq.onnx", images, got);
    const std::vector<int64_t> ours = first_choices(got[0]);
    const std::vector<int64_t> theirs = first_choices(runtime.run()[0][0]);
    int64_t same = 0;
    for (size_t i = 0; i < ours.size(); ++i) same += ours[i] == theirs[i];
    fmt::print("{}: {} of {} first choices are the same\n", name, same, ours.size());
    EXPECT_GE(static_cast<double>(same), 0.995 * static_cast<double>(ours.size()));
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
          const at::Tensor x = random_input(model, 4);
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

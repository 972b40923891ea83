// Whole ONNX networks: against ONNX Runtime, the executors against each other, and what folding and
// checkpoints do to them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "core/random.h"
#include "formats/checkpoint.h"
#include "formats/fold_batch_norm.h"
#include "formats/onnx.h"
#include "reference/onnx_runtime_testing.h"
#include "reference/reference_testing.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using reference_testing::OnnxRuntime;
using reference_testing::random_input;
using reference_testing::run_network;

fs::path data_folder() {
  const char* from_environment = std::getenv("BITSMITH_DATA");
  return from_environment != nullptr ? fs::path(from_environment)
                                     : fs::path(BITSMITH_SOURCE_DIR) / "../shared/data";
}

std::vector<fs::path> networks() {
  std::vector<fs::path> paths;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(data_folder() / "cnn", ignored)) {
    if (entry.path().extension() == ".onnx") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

// The largest difference, relative to the largest element.
double relative_difference(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, largest(a[i] - b[i]) / largest(b[i]));
  }
  return worst;
}

bool is_refused(const fs::path& path, std::string& reason) {
  try {
    open_model(path);
    return false;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
    reason = error.what();
    return true;
  }
}

class OnnxNetworks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (networks().empty())
      GTEST_SKIP() << data_folder() / "cnn"
                   << " is not there";
    at::set_num_threads(1);
  }
};

TEST_F(OnnxNetworks, AgreeWithOnnxRuntime) {
  if (!OnnxRuntime::is_there()) GTEST_SKIP() << OnnxRuntime::kMissing;
  const testing::TemporaryFolder folder;
  OnnxRuntime runtime(folder.path());
  std::vector<std::vector<at::Tensor>> outputs;
  std::vector<fs::path> files;
  for (const fs::path& path : networks()) {
    std::string reason;
    if (is_refused(path, reason)) {
      fmt::print("refused: {}\n", reason);
      EXPECT_NE(path.string().find("silero"), std::string::npos) << reason;
      continue;
    }
    const Model model = open_model(path);
    const at::Tensor input = random_input(model, 2);
    outputs.push_back(run_network(model, {input}));
    runtime.add(path, input, outputs.back());
    files.push_back(path);
  }
  const std::vector<std::vector<at::Tensor>> expected = runtime.run();
  for (size_t i = 0; i < files.size(); ++i) {
    const double difference = relative_difference(outputs[i], expected[i]);
    fmt::print("{}: {:.2e}\n", files[i].filename().string(), difference);
    // Sums of some thousand products in another order, through tens of layers.
    EXPECT_LE(difference, 1e-4) << files[i];
  }
}

TEST_F(OnnxNetworks, FoldedBatchNormsChangeRoundingOnly) {
  int folded = 0;
  for (const fs::path& path : networks()) {
    std::string reason;
    if (is_refused(path, reason)) continue;
    Model model = open_model(path);
    const at::Tensor input = random_input(model, 1);
    const std::vector<at::Tensor> before = run_network(model, {input});
    const int count = fold_batch_norms(model);
    if (count == 0) continue;
    folded += count;
    EXPECT_TRUE(std::ranges::none_of(model.graph.nodes, [](const Node& node) {
      return node.op == "batch_norm";
    })) << path;
    EXPECT_LE(relative_difference(run_network(model, {input}), before), 1e-4) << path;
    // What is left is a graph that a checkpoint can hold.
    const std::string text = model.graph.to_json().dump();
    EXPECT_EQ(Graph::from_json(nlohmann::json::parse(text)).to_json().dump(), text);
    EXPECT_EQ(model.graph.parameters().size(), model.parameters.size());
  }
  EXPECT_GT(folded, 100);
}

std::vector<at::Tensor> run_natively(NetworkExecutor& executor, const at::Tensor& input) {
  const std::span<const float> numbers(input.data_ptr<float>(), static_cast<size_t>(input.numel()));
  std::vector<at::Tensor> outputs;
  for (const std::vector<float>& y : executor.run({&numbers, 1}, input.size(0))) {
    Shape shape = executor.outputs()[outputs.size()];
    if (shape[0] == kBatch) shape[0] = input.size(0);
    outputs.push_back(reference_testing::float_tensor(y, shape));
  }
  return outputs;
}

TEST_F(OnnxNetworks, NativeExecutorAgreesWithTheReference) {
  for (const fs::path& path : networks()) {
    std::string reason;
    if (is_refused(path, reason)) continue;
    const Model model = open_model(path);
    const at::Tensor input = random_input(model, 3);
    ThreadPool pool(2);
    NetworkExecutor executor(model, pool);
    const std::vector<at::Tensor> got = run_natively(executor, input);
    const double difference = relative_difference(got, run_network(model, {input}));
    fmt::print("{}: {:.2e}; {}\n", path.filename().string(), difference,
               fmt::join(executor.kernel_names(), ", "));
    // Folded norms, and sums of some thousand products in another order, through tens of layers.
    EXPECT_LE(difference, 1e-4) << path;

    // The same bits on one thread, and for each image by itself.
    ThreadPool one(1);
    NetworkExecutor alone(model, one);
    const std::vector<at::Tensor> again = run_natively(alone, input);
    for (size_t o = 0; o < got.size(); ++o) EXPECT_TRUE(at::equal(got[o], again[o])) << path;
    if (executor.fixed_images() > 0) continue;
    for (int64_t i = 0; i < 3; ++i) {
      const std::vector<at::Tensor> own = run_natively(executor, input.slice(0, i, i + 1));
      for (size_t o = 0; o < got.size(); ++o) {
        EXPECT_TRUE(at::equal(got[o].slice(0, i, i + 1), own[o])) << path << " image " << i;
      }
    }
  }
}

TEST_F(OnnxNetworks, SurviveACheckpoint) {
  const fs::path file = fs::path(::testing::TempDir()) / "network.bitsmith";
  const Model model = open_model(data_folder() / "cnn/cifar10-resnet/cifar10_resnet20.onnx");
  CheckpointContents contents;
  contents.graph = model.graph;
  contents.config = model.config;
  contents.parameters = model.parameters;
  write_checkpoint(file, contents);
  const Model copy = open_model(file);
  const at::Tensor input = random_input(model, 2);
  EXPECT_TRUE(at::equal(run_network(copy, {input})[0], run_network(model, {input})[0]));
  fs::remove(file);
}

}  // namespace
}  // namespace bitsmith

// ONNX's own conformance vectors through the importer and both executors.
//
// A vector is a network, mostly of one node, with inputs and outputs. It is run three times: with
// all inputs computed, with all but the first as constants (shapes, weights), and with all of them
// as constants, which tests folding. Every answer must be right; a network may be refused as
// unsupported. Debian's libonnx-testdata has the vectors, of ONNX 1.12 (opset 17).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <set>

#include "formats/onnx.h"
#include "formats/onnx_constant.h"
#include "reference/reference_testing.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;

fs::path vectors() {
  const char* from_environment = std::getenv("BITSMITH_ONNX_VECTORS");
  return from_environment != nullptr
             ? fs::path(from_environment)
             : fs::path("/usr/lib/python3/dist-packages/onnx/backend/test/data");
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> numbered_messages(const fs::path& folder, const char* stem) {
  std::vector<std::string> messages;
  for (int i = 0;; ++i) {
    const fs::path path = folder / fmt::format("{}_{}.pb", stem, i);
    if (!fs::exists(path)) return messages;
    messages.push_back(read_text(path));
  }
}

onnx::Constant constant_of(const onnx::Tensor& tensor) {
  return {tensor.type, tensor.shape, tensor.bytes()};
}

struct Numbers {
  Shape shape;
  std::vector<float> elements;
};

Numbers numbers_of(const std::string& message) {
  const onnx::Tensor tensor = onnx::read_tensor(message, "vector");
  const std::vector<double> numbers = onnx::numbers_of(constant_of(tensor));
  return {tensor.shape, {numbers.begin(), numbers.end()}};
}

// Runs a network on its inputs.
using Run = std::vector<Numbers> (*)(const Model& model, const std::vector<Numbers>& inputs);

std::vector<Numbers> run_reference_executor(const Model& model,
                                            const std::vector<Numbers>& inputs) {
  std::vector<at::Tensor> tensors;
  for (const Numbers& x : inputs) {
    tensors.push_back(reference_testing::float_tensor(x.elements, x.shape));
  }
  std::vector<Numbers> outputs;
  for (const at::Tensor& y : reference_testing::run_network(model, tensors)) {
    const float* first = y.data_ptr<float>();
    outputs.push_back({y.sizes().vec(), {first, first + y.numel()}});
  }
  return outputs;
}

std::vector<Numbers> run_native_executor(const Model& model, const std::vector<Numbers>& inputs) {
  ThreadPool pool(2);
  NetworkExecutor executor(model, pool);
  std::vector<std::span<const float>> spans;
  for (const Numbers& x : inputs) spans.emplace_back(x.elements);
  int64_t images = std::max<int64_t>(1, executor.fixed_images());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape& shape = executor.inputs()[i];
    if (!shape.empty() && shape[0] == kBatch) images = inputs[i].shape.at(0);
  }
  std::vector<Numbers> outputs;
  for (std::vector<float>& y : executor.run(spans, images)) {
    Shape shape = executor.outputs()[outputs.size()];
    if (!shape.empty() && shape[0] == kBatch) shape[0] = images;
    outputs.push_back({shape, std::move(y)});
  }
  return outputs;
}

// Of ONNX's runner: 1e-3 relative; more where the file rounds to 16 bits. Integers are exact as far
// as float32 goes.
bool is_near(double got, double expected, onnx::ElementType type) {
  if (std::isnan(expected)) return std::isnan(got);
  if (std::isinf(expected)) return got == expected;
  // float64 that float32 cannot hold.
  if (std::abs(expected) > std::numeric_limits<float>::max()) return std::isinf(got);
  if (onnx::is_integer(type)) return std::abs(got - expected) <= 0x1p-23 * std::abs(expected);
  const double relative = type == onnx::kBfloat16 ? 8e-3 : type == onnx::kFloat16 ? 2e-3 : 1e-3;
  return std::abs(got - expected) <= 1e-5 + relative * std::abs(expected);
}

// "" or what is wrong.
std::string difference(const Numbers& got, const std::string& message) {
  const onnx::Tensor tensor = onnx::read_tensor(message, "vector");
  if (got.shape != tensor.shape) {
    return fmt::format("shape {}, expected {}", to_string(got.shape), to_string(tensor.shape));
  }
  const std::vector<double> expected = onnx::numbers_of(constant_of(tensor));
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!is_near(got.elements.at(i), expected[i], tensor.type)) {
      return fmt::format("element {} is {}, expected {}", i, got.elements[i], expected[i]);
    }
  }
  return "";
}

struct Vector {
  std::string file;
  std::vector<std::string> input_names;  // of inputs that are no constants of the file
  std::vector<std::string> inputs, outputs;
};

Vector read_vector(const fs::path& folder) {
  Vector v;
  v.file = read_text(folder / "model.onnx");
  const onnx::File file = onnx::read_file(std::as_bytes(std::span(v.file)), "vector");
  std::set<std::string_view> constants;
  for (const onnx::Tensor& tensor : file.graph.initializers) constants.insert(tensor.name);
  for (const onnx::ValueInfo& info : file.graph.inputs) {
    if (!info.is_tensor) fail(ErrorCode::kUnsupported, "vector): an input is no tensor");
    if (!constants.contains(info.name)) v.input_names.emplace_back(info.name);
  }
  v.inputs = numbered_messages(folder / "test_data_set_0", "input");
  v.outputs = numbered_messages(folder / "test_data_set_0", "output");
  if (v.inputs.size() != v.input_names.size()) {
    fail(ErrorCode::kUnsupported, "vector): not all inputs are given");
  }
  return v;
}

// Runs the vector with inputs from `first_constant` on as constants: "" or what is wrong. Throws
// Error where it is refused.
std::string run_vector(const Vector& v, size_t first_constant, Run run) {
  std::map<std::string, std::string, std::less<>> constants;
  for (size_t i = first_constant; i < v.inputs.size(); ++i) {
    constants[v.input_names.at(i)] = v.inputs[i];
  }
  const Model model = read_onnx(std::as_bytes(std::span(v.file)), "vector", "", constants);
  std::vector<Numbers> inputs;
  for (size_t i = 0; i < std::min(first_constant, v.inputs.size()); ++i) {
    inputs.push_back(numbers_of(v.inputs[i]));
  }
  const std::vector<Numbers> outputs = run(model, inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string wrong = difference(outputs[i], v.outputs.at(i));
    if (!wrong.empty()) return fmt::format("output {}: {}", i, wrong);
  }
  return "";
}

struct Score {
  std::vector<std::string> passed, refused, failed;
  std::vector<std::string> partly;  // of `passed`: a run was refused
  int runs = 0;
};

// The operators that a refused vector asks for, or the reason.
std::string reason_of(const std::string& message) {
  const size_t at = message.rfind("): ");
  return at == message.npos ? message : message.substr(at + 3);
}

void score(const fs::path& folder, Run run, Score& total) {
  const std::string name =
      folder.parent_path().filename().string() + "/" + folder.filename().string().substr(5);
  std::string refusal;
  int right = 0;
  try {
    const Vector v = read_vector(folder);
    std::set<size_t> starts = {v.inputs.size(), 1, 0};
    for (const size_t first_constant : starts) {
      if (first_constant > v.inputs.size()) continue;
      try {
        const std::string wrong = run_vector(v, first_constant, run);
        if (!wrong.empty()) {
          total.failed.push_back(
              fmt::format("{} (constants from {}): {}", name, first_constant, wrong));
          return;
        }
        ++right;
        ++total.runs;
      } catch (const Error& error) {
        // These files are valid.
        if (error.code() != ErrorCode::kUnsupported) throw;
        refusal = error.what();
      }
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kUnsupported) {
      refusal = error.what();
    } else {
      total.failed.push_back(fmt::format("{}: {}", name, error.what()));
      return;
    }
  } catch (const std::exception& error) {
    total.failed.push_back(fmt::format("{}: {}", name, error.what()));
    return;
  }
  if (right > 0) {
    total.passed.push_back(name);
    if (!refusal.empty()) total.partly.push_back(fmt::format("{}: {}", name, reason_of(refusal)));
  } else {
    total.refused.push_back(fmt::format("{}: {}", name, reason_of(refusal)));
  }
}

std::set<fs::path> vector_folders() {
  std::set<fs::path> folders;
  for (const char* group : {"node", "simple", "pytorch-operator", "pytorch-converted"}) {
    for (const auto& entry : fs::directory_iterator(vectors() / group)) {
      // ONNX 1.12 stores bfloat16 of its vectors as uint16, so that the bits look like numbers.
      if (entry.path().string().find("BFLOAT16") != std::string::npos) continue;
      if (fs::exists(entry.path() / "model.onnx")) folders.insert(entry.path());
    }
  }
  return folders;
}

void expect_right_or_refused(Run run) {
  if (!fs::exists(vectors())) GTEST_SKIP() << vectors() << " is not there (libonnx-testdata)";
  at::set_num_threads(1);
  const std::set<fs::path> folders = vector_folders();
  Score total;
  for (const fs::path& folder : folders) score(folder, run, total);
  std::map<std::string, std::vector<std::string>> reasons;
  for (const std::string& text : total.refused) {
    const size_t at = text.find(": ");
    reasons[text.substr(at + 2)].push_back(text.substr(0, at));
  }
  for (const auto& [reason, names] : reasons) {
    fmt::print("refused {:3}  {}: {}\n", names.size(), reason, fmt::join(names, ", "));
  }
  for (const std::string& text : total.partly) fmt::print("a run refused  {}\n", text);
  fmt::print("{} vectors: {} passed ({} runs), {} refused, {} failed\n", folders.size(),
             total.passed.size(), total.runs, total.refused.size(), total.failed.size());
  for (const std::string& failure : total.failed) ADD_FAILURE() << failure;
  // What once passed stays supported.
  constexpr size_t kPassed = 600;
  EXPECT_GE(total.passed.size(), kPassed);
}

TEST(OnnxConformance, EveryVectorIsRightOrRefused) {
  expect_right_or_refused(run_reference_executor);
}

TEST(OnnxConformance, EveryVectorIsRightOrRefusedByTheNativeExecutor) {
  expect_right_or_refused(run_native_executor);
}

}  // namespace
}  // namespace bitsmith

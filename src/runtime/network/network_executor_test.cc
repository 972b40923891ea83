// The executor of networks of tensors: refusals, batches, memory; numbers are tested against the
// reference executor in reference/onnx_*_test.cc.
#include "runtime/network/network_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "core/random.h"
#include "formats/onnx.h"
#include "graph/cost.h"
#include "graph/operators.h"
#include "runtime/network/lay_out.h"
#include "runtime/network/strided_loop.h"

namespace bitsmith {
namespace {

using testing::HasSubstr;

// A model whose parameters are random float32.
class Network {
 public:
  Model model;

  ValueId parameter(const std::string& name, const Shape& shape) {
    const ValueId id = model.graph.add_parameter(name, shape, "test");
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    for (float& x : numbers) x = static_cast<float>(random_.normal());
    const auto bytes = std::as_bytes(std::span(numbers));
    model.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
    model.parameters[name] = {name, shape, Scheme("f32", nlohmann::json::object()),
                              *model.buffers.back()};
    return id;
  }

 private:
  Random random_{7};
};

const ops::Window kUnpadded{{1, 1}, {1, 1}, {0, 0, 0, 0}};

// Two branches in different layouts, a shortcut with padded channels, a sum, a head.
Model branching() {
  Network n;
  Graph& g = n.model.graph;
  const ValueId x = g.add_input("x", {kBatch, 3, 9, 7});
  const ops::Window same{{1, 1}, {1, 1}, {1, 1, 1, 1}};
  const ValueId a = ops::relu(
      g, "a.relu", ops::conv(g, "a", x, n.parameter("a.w", {8, 3, 3, 3}), kNoValue, same));
  const ValueId shortcut = ops::pad(g, "pad", x, {0, 2, 0, 0, 0, 3, 0, 0});
  const ValueId sum = ops::relu(g, "sum.relu", ops::add(g, "sum", a, shortcut));
  const ValueId turned = ops::transpose(g, "turn", sum, {0, 2, 3, 1});
  const ValueId norm =
      ops::layer_norm(g, "norm", turned, n.parameter("n.w", {8}), n.parameter("n.b", {8}), 1e-5);
  const ValueId back = ops::transpose(g, "back", norm, {0, 3, 1, 2});
  const ValueId both = ops::concat(g, "both", {back, sum}, 1);
  const ValueId mean = ops::reduce(g, "reduce_mean", "mean", both, {2, 3}, false);
  g.outputs = {ops::linear(g, "head", mean, n.parameter("h.w", {5, 16}), n.parameter("h.b", {5})),
               sum};
  return n.model;
}

std::vector<float> random_numbers(int64_t count) {
  Random random(3);
  std::vector<float> numbers(static_cast<size_t>(count));
  for (float& x : numbers) x = static_cast<float>(random.normal());
  return numbers;
}

std::vector<std::vector<float>> run(NetworkExecutor& executor, std::span<const float> x,
                                    int64_t images) {
  return executor.run({&x, 1}, images);
}

// The weights that are zero in most of a convolution's rows are skipped, in others they are not.
TEST(NetworkExecutor, SkipsZerosWhereThereAreMany) {
  for (const bool sparse : {false, true}) {
    Network n;
    Graph& g = n.model.graph;
    const ValueId x = g.add_input("x", {kBatch, 16, 12, 12});
    const ValueId w = n.parameter("w", {16, 16, 3, 3});
    auto numbers = n.model.parameter("w").decode_all();
    for (size_t i = 0; sparse && i < numbers.size(); ++i) numbers[i] *= i % 16 == 3 ? 1.0F : 0.0F;
    const auto bytes = std::as_bytes(std::span(numbers));
    n.model.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
    n.model.parameters["w"].bytes = *n.model.buffers.back();
    g.outputs = {ops::conv(g, "c", x, w, kNoValue, {{1, 1}, {1, 1}, {1, 1, 1, 1}})};
    ThreadPool pool(2);
    const NetworkExecutor executor(n.model, pool);
    EXPECT_EQ(executor.kernel_names().at(0),
              sparse ? "1 x float32 sparse convolution" : "1 x float32 convolution");
  }
}

TEST(NetworkExecutor, AnImageIsTheSameInAnyBatchOnAnyThreads) {
  constexpr int64_t kImages = 150;  // several parts, the last one smaller
  constexpr int64_t kElements = 3 * 9 * 7;
  const std::vector<float> x = random_numbers(kImages * kElements);
  ThreadPool one(1);
  ThreadPool three(3);
  NetworkExecutor alone(branching(), one);
  NetworkExecutor shared(branching(), three);
  const auto expected = run(alone, x, kImages);
  EXPECT_EQ(run(shared, x, kImages), expected);
  for (const int64_t i : {0, 77, 149}) {
    const auto own = run(shared, std::span(x).subspan(i * kElements, kElements), 1);
    for (size_t o = 0; o < own.size(); ++o) {
      const auto size = static_cast<int64_t>(own[o].size());
      const auto begin = expected[o].begin() + i * size;
      EXPECT_EQ(own[o], std::vector<float>(begin, begin + size)) << i;
    }
  }
}

TEST(NetworkExecutor, PadsAndReluAreWhatTheySay) {
  ThreadPool pool(1);
  NetworkExecutor executor(branching(), pool);
  const auto outputs = run(executor, random_numbers(3 * 9 * 7), 1);
  EXPECT_EQ(executor.outputs()[1], (Shape{kBatch, 8, 9, 7}));
  EXPECT_TRUE(std::ranges::all_of(outputs[1], [](float v) { return v >= 0; }));
  EXPECT_TRUE(std::ranges::all_of(outputs[0], [](float v) { return std::isfinite(v); }));
}

TEST(NetworkExecutor, AnEmbeddingTakesRowsOfItsTable) {
  Network n;
  Graph& g = n.model.graph;
  const ValueId ids = g.add_input("ids", {kBatch, 2});
  g.outputs = {ops::embedding(g, "words", ids, n.parameter("table", {9, 3}))};
  const std::vector<float> table = n.model.parameter("table").decode_all();
  ThreadPool pool(2);
  NetworkExecutor executor(n.model, pool);
  const std::vector<float> asked = {8, 0, 3, -1};
  std::vector<float> expected;
  for (const int64_t row : {8, 0, 3, 8}) {
    expected.insert(expected.end(), table.begin() + 3 * row, table.begin() + 3 * row + 3);
  }
  EXPECT_EQ(run(executor, asked, 2)[0], expected);
  for (const float bad : {9.0F, 0.5F, std::nanf("")}) {
    EXPECT_THROW(run(executor, std::vector<float>{bad, 0}, 1), Error);
  }
}

std::string refusal(Model model) {
  ThreadPool pool(1);
  try {
    NetworkExecutor executor(std::move(model), pool);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    return error.what();
  }
  return "none";
}

TEST(NetworkExecutor, RefusesByNameWhatItCannotRun) {
  {
    Network n;  // an operator of language models
    Graph& g = n.model.graph;
    const ValueId x = g.add_input("x", {kBatch, 3, 4});
    g.outputs = {ops::rope(g, "turned", x, {1, 0.5})};
    EXPECT_THAT(refusal(n.model), HasSubstr("'turned' is a 'rope'"));
  }
  {
    Network n;  // images that depend on each other
    Graph& g = n.model.graph;
    const ValueId x = g.add_input("x", {kBatch, 4});
    const ValueId turned = ops::transpose(g, "turned", x, {1, 0});
    g.outputs = {ops::matmul(g, "covariance", turned, x)};
    EXPECT_THAT(refusal(n.model), HasSubstr("'covariance'"));
  }
  {
    Network n;  // a small file that asks for terabytes
    Graph& g = n.model.graph;
    const ValueId x = g.add_input("x", {kBatch, 1, 8, 8});
    const ops::Window huge{{1 << 29, 1 << 29}, {1, 1}, {1 << 29, 1 << 29, 1 << 29, 1 << 29}};
    g.outputs = {ops::conv(g, "huge", x, n.parameter("w", {1, 1, 3, 3}), kNoValue, huge)};
    EXPECT_THAT(refusal(n.model), HasSubstr("'huge'"));
  }
}

// What a damaged weight makes must be seen at the end, not hidden by a relu.
TEST(NetworkExecutor, NaNStaysNaN) {
  Model model = branching();
  std::vector<float> weights = model.parameter("a.w").decode_all();
  weights[5] = std::numeric_limits<float>::quiet_NaN();
  model.parameters["a.w"].bytes = std::as_bytes(std::span(weights));
  ThreadPool pool(1);
  NetworkExecutor executor(model, pool);
  const auto outputs = run(executor, random_numbers(3 * 9 * 7), 1);
  EXPECT_TRUE(std::ranges::any_of(outputs[1], [](float v) { return std::isnan(v); }));
}

// Files of ONNX's conformance tests with damaged bytes: an error, or numbers.
TEST(NetworkExecutor, DamagedFilesNeverCrash) {
  namespace fs = std::filesystem;
  const char* from_environment = std::getenv("BITSMITH_ONNX_VECTORS");
  const fs::path folder = fs::path(from_environment != nullptr
                                       ? from_environment
                                       : "/usr/lib/python3/dist-packages/onnx/backend/test/data") /
                          "node";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not there (libonnx-testdata)";
  ThreadPool pool(1);
  Random random(5);
  std::set<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) paths.insert(entry.path());
  int ran = 0;
  for (const fs::path& path : paths) {
    std::ifstream file(path / "model.onnx", std::ios::binary);
    const std::string good{std::istreambuf_iterator<char>(file), {}};
    for (int i = 0; i < 6; ++i) {
      std::string bytes = good;
      for (int flips = i; flips > 0 && !bytes.empty(); --flips) {
        bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
      }
      try {
        const Model model = read_onnx(std::as_bytes(std::span(bytes)), "damaged", "");
        NetworkExecutor executor(model, pool);
        std::vector<std::vector<float>> inputs;
        int64_t work = 0;
        for (const Node& node : model.graph.nodes) {
          work = std::max(work, bitsmith::multiply_adds(model.graph, node));
          for (const int64_t extent : model.graph.value(node.outputs[0]).shape) {
            work = std::max(work, extent);
          }
        }
        int64_t elements = 0;
        for (const Shape& shape : executor.inputs()) {
          int64_t count = 1;
          for (const int64_t extent : shape) count *= std::abs(extent);
          elements += count;
          if (elements > 100000) break;
          inputs.emplace_back(static_cast<size_t>(count), 0.5F);
        }
        if (elements > 100000 || work > 1000000) continue;
        const std::vector<std::span<const float>> spans(inputs.begin(), inputs.end());
        executor.run(spans, 1);
        ++ran;
      } catch (const Error&) {  // any other exception fails the test
      }
    }
  }
  EXPECT_GT(ran, 500);
}

TEST(NetworkExecutor, ChecksInputs) {
  ThreadPool pool(1);
  NetworkExecutor executor(branching(), pool);
  EXPECT_THROW(run(executor, random_numbers(10), 1), Error);
  EXPECT_THROW(executor.run({}, 1), Error);
}

TEST(LayOut, JoinsActivationsThatNobodyElseReads) {
  const Graph joined = join_activations(branching().graph);
  int joins = 0;
  for (const Node& node : joined.nodes) {
    EXPECT_NE(node.op, "relu");
    joins += node.attributes.contains("low") ? 1 : 0;
  }
  EXPECT_EQ(joins, 2);
  Network n;
  Graph& g = n.model.graph;
  const ValueId x = g.add_input("x", {kBatch, 1, 8, 8});
  const ValueId y = ops::conv(g, "c", x, n.parameter("w", {1, 1, 3, 3}), kNoValue, kUnpadded);
  g.outputs = {ops::relu(g, "r", y), y};
  EXPECT_EQ(join_activations(g).nodes.size(), 2u);
}

TEST(StridedLoop, VisitsEveryElementOnceInMemoryOrder) {
  // [2, 3, 5] read as its transpose [5, 2, 3] with the middle axis backwards.
  const Shape extents = {5, 2, 3};
  const StridedLoop<2> loop(extents, {Shape{6, 3, 1}, Shape{1, -15, 5}});
  std::vector<int64_t> from(30, -1);
  loop.run([&](const std::array<int64_t, 2>& at, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      from[static_cast<size_t>(at[0] + i * loop.step(0))] = 15 + at[1] + i * loop.step(1);
    }
  });
  for (int64_t a = 0; a < 5; ++a) {
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t c = 0; c < 3; ++c) {
        EXPECT_EQ(from[static_cast<size_t>(a * 6 + b * 3 + c)], a + 15 * (1 - b) + 5 * c);
      }
    }
  }
}

}  // namespace
}  // namespace bitsmith

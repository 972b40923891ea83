// Which values become codes, what the executor makes of them, and ranges with and without images.
#include "calibration/quantize_activations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "calibration/observe_values.h"
#include "core/random.h"
#include "formats/fold_batch_norm.h"
#include "graph/operators.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

using testing::ElementsAre;

class Network {
 public:
  Model model;
  Graph& graph = model.graph;

  ValueId parameter(const std::string& name, const Shape& shape, double mean, double deviation) {
    const ValueId id = graph.add_parameter(name, shape, "test");
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    for (float& x : numbers) x = static_cast<float>(mean + deviation * random_.normal());
    return set(id, numbers);
  }
  // Multiples of 1/64.
  ValueId weight(const std::string& name, const Shape& shape) {
    const ValueId id = graph.add_parameter(name, shape, "test");
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    for (float& x : numbers) {
      x = static_cast<float>(static_cast<int>(random_.below(31)) - 15) / 64.0F;
    }
    return set(id, numbers);
  }
  ValueId conv(const std::string& name, ValueId x, int64_t channels, int64_t outputs) {
    return ops::conv(graph, name, x, weight(name + ".w", {outputs, channels, 3, 3}), kNoValue,
                     {{1, 1}, {1, 1}, {1, 1, 1, 1}});
  }
  ValueId norm(const std::string& name, ValueId x, int64_t channels) {
    return ops::batch_norm(graph, name, x, parameter(name + ".scale", {channels}, 1, 0.2),
                           parameter(name + ".shift", {channels}, 0, 0.5),
                           parameter(name + ".mean", {channels}, 0, 0.1),
                           parameter(name + ".variance", {channels}, 1, 0.01), 1e-5);
  }

 private:
  ValueId set(ValueId id, const std::vector<float>& numbers) {
    const Value& value = graph.value(id);
    const auto bytes = std::as_bytes(std::span(numbers));
    model.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
    model.parameters[value.name] = {value.name, value.shape,
                                    Scheme("f32", nlohmann::json::object()), *model.buffers.back()};
    return id;
  }
  Random random_{3};
};

// A residual block with norms, a fire module with a pool inside, a head with a softmax.
Model small_network() {
  Network n;
  Graph& g = n.graph;
  const ValueId x = g.add_input("x", {kBatch, 3, 8, 8});
  const ValueId stem = ops::relu(g, "stem.relu", n.norm("stem.norm", n.conv("stem", x, 3, 8), 8));
  const ValueId branch = n.norm("branch.norm", n.conv("branch", stem, 8, 8), 8);
  const ValueId sum = ops::relu(g, "sum.relu", ops::add(g, "sum", branch, stem));
  const ValueId a = ops::relu(g, "a.relu", n.norm("a.norm", n.conv("a", sum, 8, 4), 4));
  const ValueId b = n.norm("b.norm", n.conv("b", sum, 8, 4), 4);
  const ValueId pooled = ops::max_pool(g, "b.pool", b, {3, 3}, {{1, 1}, {1, 1}, {1, 1, 1, 1}});
  const ValueId fire = ops::concat(g, "fire", {a, pooled}, 1);
  const ValueId open = ops::concat(g, "open", {fire, sum}, 1);
  const ValueId last = n.norm("last.norm", n.conv("last", open, 16, 6), 6);
  const ValueId mean = ops::reduce(g, "reduce_mean", "mean", last, {2, 3}, false);
  const ValueId logits = ops::linear(g, "head", mean, n.weight("head.w", {5, 6}), kNoValue);
  g.outputs = {ops::softmax(g, "softmax", logits, 1)};
  return n.model;
}

std::vector<std::string> names(const Graph& graph, const QuantizationSite& site) {
  std::vector<std::string> result;
  for (const ValueId id : site.values) result.push_back(graph.value(id).name);
  return result;
}

CalibrationInputs random_inputs(int64_t images, int64_t elements) {
  CalibrationInputs inputs;
  inputs.images = images;
  inputs.batch = [elements](int64_t begin, int64_t count) {
    std::vector<float> x;
    for (int64_t i = begin; i < begin + count; ++i) {
      Random random(9, std::to_string(i));
      for (int64_t e = 0; e < elements; ++e) x.push_back(static_cast<float>(random.normal()));
    }
    return std::vector<std::vector<float>>{x};
  };
  return inputs;
}

ObserverChoice observer(const std::string& id) {
  const ObserverMethod& method = Registry<ObserverMethod>::instance().get(id);
  return {&method, Options(method.info().options)};
}

TEST(QuantizationSites, AreWhatIntegerOperatorsRead) {
  Model model = small_network();
  fold_batch_norms(model);
  const Graph& graph = model.graph;
  const std::vector<QuantizationSite> sites = find_quantization_sites(graph);
  ASSERT_EQ(sites.size(), 7u);
  EXPECT_THAT(names(graph, sites[0]), ElementsAre("x"));
  EXPECT_THAT(names(graph, sites[1]), ElementsAre("stem.relu"));
  EXPECT_THAT(names(graph, sites[2]), ElementsAre("branch"));
  EXPECT_THAT(names(graph, sites[3]), ElementsAre("sum.relu"));
  // "fire" is a copy of a and b, which are rounded like all of "open"; "sum" has other readers.
  EXPECT_THAT(names(graph, sites[4]), ElementsAre("a.relu", "b", "open"));
  EXPECT_EQ(graph.value(sites[4].observed).name, "open");
  EXPECT_THAT(names(graph, sites[5]), ElementsAre("last"));
  EXPECT_THAT(names(graph, sites[6]), ElementsAre("mean"));
}

TEST(QuantizationSites, LeaveOutWhatRunsInFloats) {
  Network n;
  Graph& g = n.graph;
  const ValueId x = g.add_input("x", {kBatch, 3, 8, 8});
  const ValueId a = n.conv("a", x, 3, 4);
  const ValueId two = n.parameter("two", {}, 2, 0);
  const ValueId power = ops::power(g, "power", a, two);
  const ValueId relu = ops::relu(g, "relu", power);
  const ValueId b = n.conv("b", relu, 4, 4);
  g.outputs = {ops::add(g, "sum", b, relu)};
  const std::vector<QuantizationSite> sites = find_quantization_sites(g);
  ASSERT_EQ(sites.size(), 3u);
  EXPECT_THAT(names(g, sites[0]), ElementsAre("x"));
  EXPECT_THAT(names(g, sites[1]), ElementsAre("power"));  // a function of codes is a table
  EXPECT_THAT(names(g, sites[2]), ElementsAre("relu"));
}

TEST(QuantizeActivations, MakesANetworkOfIntegersThatIsCloseToTheOriginal) {
  Model model = small_network();
  fold_batch_norms(model);
  ThreadPool pool(2);
  const CalibrationInputs inputs = random_inputs(40, 3 * 64);
  const std::vector<QuantizationSite> sites = find_quantization_sites(model.graph);
  const std::vector<float> x = inputs.batch(0, 8)[0];
  const std::span<const float> input = x;
  model.graph.outputs = {model.graph.nodes.back().inputs[0]};  // logits
  NetworkExecutor original(model, pool);
  const std::vector<float> expected = original.run({&input, 1}, 8)[0];
  double least = 0;
  for (const int bits : {8, 6, 4}) {
    const auto ranges = observe_ranges(model, sites, inputs, observer("mse"), bits, pool);
    Model quantized = model;
    insert_quantization(quantized, sites, ranges, bits);
    const ValueId scale = quantized.graph.find("stem.relu.scale");
    ASSERT_NE(scale, kNoValue);
    EXPECT_EQ(quantized.parameter("stem.relu.zero_point").decode_all()[0], 0);
    // Weights here are no multiples once norms are folded in: only what lies between is measured.
    NetworkExecutor executor(quantized, pool);
    const std::vector<float> logits = executor.run({&input, 1}, 8)[0];
    double error = 0;
    double square = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      error += std::pow(logits[i] - expected[i], 2);
      square += std::pow(expected[i], 2);
    }
    EXPECT_GT(error, least);  // fewer bits, more error
    least = error;
    if (bits == 8) {
      EXPECT_LT(error, square * 1e-3);
    }
    // The graph can be written and read.
    const Graph again = Graph::from_json(quantized.graph.to_json());
    EXPECT_EQ(again.nodes.size(), quantized.graph.nodes.size());
  }
  EXPECT_THROW(
      [&] {
        Model twice = model;
        insert_quantization(twice, sites, std::vector<ValueRange>(sites.size(), {-1, 1}), 8);
        find_quantization_sites(twice.graph);
      }(),
      Error);
}

TEST(QuantizeActivations, IsAllIntegersIfWeightsAre) {
  Network n;
  Graph& g = n.graph;
  const ValueId x = g.add_input("x", {kBatch, 3, 8, 8});
  const ValueId a = ops::relu(g, "a.relu", n.conv("a", x, 3, 8));
  const ValueId b = ops::clip(g, "b.clip", n.conv("b", a, 8, 8), 0, 6);
  const ValueId sum = ops::relu(g, "sum.relu", ops::add(g, "sum", a, b));
  const ValueId gate =
      ops::unary(g, "sigmoid", "gate", ops::reduce(g, "reduce_mean", "squeeze", sum, {2, 3}, true));
  const ValueId gated = ops::multiply(g, "gated", sum, gate);
  const ValueId both = ops::concat(g, "both", {gated, b}, 1);
  const ValueId pooled = ops::average_pool(g, "pool", both, {2, 2}, {{2, 2}, {1, 1}, {0, 0, 0, 0}});
  const ValueId flat = ops::reshape(g, "flat", pooled, {kBatch, 16 * 16});
  g.outputs = {ops::linear(g, "head", flat, n.weight("head.w", {5, 256}), kNoValue)};
  ThreadPool pool(1);
  const auto sites = find_quantization_sites(g);
  const auto ranges =
      observe_ranges(n.model, sites, random_inputs(8, 3 * 64), observer("min_max"), 8, pool);
  insert_quantization(n.model, sites, ranges, 8);
  NetworkExecutor executor(n.model, pool);
  EXPECT_THAT(executor.arithmetic().float_nodes, ElementsAre());
  EXPECT_TRUE(executor.arithmetic().integer_only());
}

TEST(ObserveValues, SeesTheSameInSeveralPassesAndThreads) {
  Model model = small_network();
  fold_batch_norms(model);
  const CalibrationInputs inputs = random_inputs(70, 3 * 64);
  const auto sites = find_quantization_sites(model.graph);
  std::vector<ValueId> values;
  for (const auto& site : sites) values.push_back(site.observed);
  const auto sums = [&](int threads, int64_t bytes) {
    ThreadPool pool(threads);
    std::vector<std::pair<int64_t, double>> result(values.size());
    observe_values(
        model, values, inputs, pool,
        [&](size_t i, std::span<const float> x, int64_t images) {
          result[i].first += images;
          for (const float v : x) result[i].second += v;
        },
        bytes);
    return result;
  };
  const auto expected = sums(1, int64_t{1} << 28);
  EXPECT_EQ(expected[0].first, 70);
  EXPECT_EQ(sums(3, int64_t{1} << 28), expected);
  EXPECT_EQ(sums(2, 4000), expected);
  ThreadPool pool(1);
  EXPECT_THROW(observe_values(model, values, {}, pool, [](size_t, auto, int64_t) {}), Error);
}

// Against the same statistics measured: normal inputs of the norms' own mean and variance.
TEST(BatchNormRanges, AreMeansPlusAndMinusSigmas) {
  Network n;
  Graph& g = n.graph;
  const ValueId x = g.add_input("x", {kBatch, 4, 64, 64});
  const auto norm = [&](const std::string& name, ValueId in) {
    return ops::batch_norm(g, name, in, n.parameter(name + ".scale", {4}, 1, 0.3),
                           n.parameter(name + ".shift", {4}, 0, 0.7),
                           n.parameter(name + ".mean", {4}, 0, 0),
                           n.parameter(name + ".variance", {4}, 1, 0), 1e-5);
  };
  const ValueId a = norm("a", x);
  const ValueId relu = ops::relu(g, "relu", a);
  const ValueId clip = ops::clip(g, "clip", a, -0.5, 1);
  const ValueId turned = ops::transpose(g, "turned", x, {0, 1, 3, 2});  // independent of x
  const ValueId sum = ops::add(g, "sum", relu, norm("b", turned));
  const ValueId conv = n.conv("conv", sum, 4, 4);
  g.outputs = {conv};
  std::vector<QuantizationSite> sites;
  const std::vector<ValueId> values = {a, relu, clip, sum};
  for (const ValueId id : values) sites.push_back({id, {id}});
  const double sigmas = 3;
  const std::vector<ValueRange> ranges = batch_norm_ranges(n.model, sites, sigmas);

  ThreadPool pool(1);
  std::vector<ValueRange> measured(values.size());  // all images are one batch
  const CalibrationInputs inputs = random_inputs(4, 4 * 64 * 64);
  observe_values(n.model, values, inputs, pool, [&](size_t i, std::span<const float> x_, int64_t) {
    const size_t pixels = 64 * 64;
    for (size_t c = 0; c < 4; ++c) {
      double first = 0;
      double second = 0;
      for (size_t image = 0; image < 4; ++image) {
        for (size_t p = 0; p < pixels; ++p) {
          const double v = x_[(image * 4 + c) * pixels + p];
          first += v / (4 * pixels);
          second += v * v / (4 * pixels);
        }
      }
      const double reach = sigmas * std::sqrt(second - first * first);
      measured[i].low = std::min(measured[i].low, first - reach);
      measured[i].high = std::max(measured[i].high, first + reach);
    }
  });
  measured[1].low = 0;
  measured[2] = {std::max(measured[2].low, -0.5), std::min(measured[2].high, 1.0)};
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(ranges[i].low, measured[i].low, 0.1) << i;
    EXPECT_NEAR(ranges[i].high, measured[i].high, 0.1) << i;
  }
  EXPECT_EQ(ranges[1].low, 0);
  const std::vector<QuantizationSite> unknown = {{conv, {conv}}};
  EXPECT_THROW(batch_norm_ranges(n.model, unknown, sigmas), Error);
}

}  // namespace
}  // namespace bitsmith

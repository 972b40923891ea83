// Channels that are removed: which, and that the smaller network computes what the larger one does
// without them.
#include "tuning/slimming.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "core/testing.h"
#include "formats/fold_batch_norm.h"
#include "formats/model_testing.h"
#include "formats/onnx.h"
#include "formats/onnx_export.h"
#include "graph/operators.h"
#include "runtime/network/network_executor.h"
#include "tuning/tuned_network.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Random numbers.
model_testing::ModelBuilder builder() {
  return model_testing::ModelBuilder([random = Random(4)](const Shape& shape) mutable {
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    for (float& x : numbers) x = static_cast<float>(0.4 * random.normal());
    return numbers;
  });
}

// Channels that may go: of expand (through a depthwise layer), inner, flat (into pixels of a
// flattened image) and hidden; all others are tied.
Model everything() {
  model_testing::ModelBuilder b = builder();
  Graph& g = b.graph;
  const ValueId x = g.add_input("x", {kBatch, 3, 8, 8});
  const ValueId stem = ops::relu(g, "r0", b.conv("stem", x, {6, 3, 3, 3}));
  const ValueId expand = ops::clip(g, "r1", b.conv("expand", stem, {12, 6, 1, 1}), 0, 6);
  const ValueId depth = ops::relu(g, "r2", b.conv("depth", expand, {12, 1, 3, 3}, 12));
  const ValueId project = b.conv("project", depth, {6, 12, 1, 1});
  const ValueId sum = ops::add(g, "sum", project, stem);
  const ValueId inner = ops::relu(g, "r3", b.conv("inner", sum, {10, 6, 3, 3}));
  const ValueId left = b.conv("left", inner, {4, 10, 1, 1});
  const ValueId right = b.conv("right", inner, {4, 10, 3, 3});
  const ValueId joined = ops::concat(g, "joined", {left, right}, 1);
  const ValueId grouped = b.conv("grouped", joined, {8, 4, 3, 3}, 2);
  const ValueId flat = ops::relu(g, "r4", b.conv("flat", grouped, {9, 8, 1, 1}));
  const ValueId pooled = ops::max_pool(g, "pool", flat, {4, 4}, {{4, 4}, {1, 1}, {0, 0, 0, 0}});
  const ValueId row = ops::reshape(g, "row", pooled, {kBatch, 9 * 4});
  const ValueId hidden = ops::relu(g, "r5",
                                   ops::linear(g, "hidden", row, b.parameter("hidden.w", {7, 36}),
                                               b.parameter("hidden.b", {7})));
  g.outputs = {ops::linear(g, "head", hidden, b.parameter("head.w", {5, 7}), kNoValue)};
  return b.model;
}

std::vector<float> outputs_of(const Model& model) {
  ThreadPool pool(2);
  Random random(7);
  const Shape& shape = model.graph.value(model.graph.inputs[0]).shape;
  int64_t size = 2;
  for (size_t i = 1; i < shape.size(); ++i) size *= shape[i];
  std::vector<float> x(static_cast<size_t>(size));
  for (float& v : x) v = static_cast<float>(random.normal());
  const std::span<const float> input = x;
  return NetworkExecutor(model, pool).run({&input, 1}, 2)[0];
}

int64_t kept(const SlimSite& site) { return std::ranges::count(site.kept, true); }

TEST(Slimming, FindsChannelsThatAreTiedToNoOthers) {
  std::vector<std::string> names;
  for (const SlimSite& site : find_slim_sites(everything().graph)) names.push_back(site.layer);
  EXPECT_THAT(names, ElementsAre("expand", "inner", "flat", "hidden"));
}

// Where the rows that make removed channels are zero, they were nothing to begin with.
TEST(Slimming, ComputesWhatTheNetworkDoesWithoutThoseChannels) {
  Model model = everything();
  std::vector<SlimSite> sites = find_slim_sites(model.graph);
  Random random(3);
  std::map<std::string, std::vector<float>> scores;
  for (const SlimSite& site : sites) {
    for (size_t c = 0; c < site.kept.size(); ++c) {
      scores[site.layer].push_back(static_cast<float>(random.uniform()));
    }
  }
  choose_channels(sites, model, scores, {.share = 0.4, .global = true});
  Model zeroed = model;
  int64_t removed = 0;
  for (const SlimSite& site : sites) {
    removed += static_cast<int64_t>(site.kept.size()) - kept(site);
    for (const std::string& layer : site.layer == "expand"
                                        ? std::vector<std::string>{"expand", "depth"}
                                        : std::vector<std::string>{site.layer}) {
      for (const char* part : {".w", ".b"}) {
        const CodedTensor& tensor = model.parameter(layer + part);
        std::vector<float> numbers = tensor.decode_all();
        const size_t row = numbers.size() / site.kept.size();
        for (size_t i = 0; i < numbers.size(); ++i) {
          if (!site.kept[i / row]) numbers[i] = 0;
        }
        model_testing::set_parameter(zeroed, layer + part, tensor.shape, numbers);
      }
    }
  }
  EXPECT_EQ(removed, 15);  // 0.4 of 38
  const Model smaller = slimmed(model, sites);
  EXPECT_LT(smaller.parameter_count(), model.parameter_count());
  for (const ValueId id : smaller.graph.parameters()) {
    const Value& value = smaller.graph.value(id);
    EXPECT_EQ(smaller.parameter(value.name).shape, value.shape);
  }
  const ValueId depth = smaller.graph.find("depth.w");
  EXPECT_EQ(smaller.graph.value(depth).shape[0], kept(sites[0]));
  EXPECT_EQ(smaller.graph.value(smaller.graph.find("hidden.w")).shape[1], 4 * kept(sites[2]));

  const std::vector<float> expected = outputs_of(zeroed);
  const std::vector<float> got = outputs_of(smaller);
  double largest = 0;
  for (const float v : expected) largest = std::max(largest, static_cast<double>(std::abs(v)));
  ASSERT_GT(largest, 0);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    // 10 layers of sums of up to 90 products, each rounded.
    EXPECT_NEAR(got[i], expected[i], largest * 10 * 90 * 0x1p-24) << i;
  }
}

TEST(Slimming, RanksByScaleAndKeepsSome) {
  const Model model = everything();
  std::vector<SlimSite> sites = find_slim_sites(model.graph);
  const std::vector<float> rising = {1, 2, 3, 4, 5, 6, 7};
  choose_channels(sites, model, {{"hidden", rising}}, {.share = 0.5});
  EXPECT_THAT(sites[3].kept, ElementsAre(false, false, false, false, true, true, true));
  EXPECT_EQ(kept(sites[0]), 6);  // by the norms of its filters

  sites = find_slim_sites(model.graph);
  std::map<std::string, std::vector<float>> scores;
  for (const SlimSite& site : sites) {
    scores[site.layer].assign(site.kept.size(), site.layer == "flat" ? 0.0F : 1.0F);
  }
  choose_channels(sites, model, scores, {.share = 0.2, .global = true, .keep = 0.3});
  EXPECT_EQ(kept(sites[2]), 3);  // 8 of 38 were to go, 3 of 9 stay; the others come from elsewhere
  EXPECT_EQ(kept(sites[0]) + kept(sites[1]) + kept(sites[3]), 29 - 2);

  scores.erase("inner");
  sites = find_slim_sites(model.graph);
  const auto refusal = [&](const SlimOptions& options) {
    try {
      choose_channels(sites, model, scores, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal({.global = true}), HasSubstr("'inner'"));
  sites.clear();
  EXPECT_THAT(refusal({}), HasSubstr("tied"));
}

TEST(Slimming, NormScalesBelongToTheLayersBeforeThem) {
  const auto path = testing::shared_data("cnn/cifar10-resnet/cifar10_resnet20.onnx");
  if (path.empty()) GTEST_SKIP() << "cnn/cifar10-resnet is not there (BITSMITH_DATA)";
  const Model model = open_onnx(path);
  const auto scales = batch_norm_scales(model);
  EXPECT_EQ(scales.size(), 19u);
  const TunedNetwork network(model);
  EXPECT_EQ(network.norm_scales(), scales);
  for (const SlimSite& site : find_slim_sites(network.graph())) {
    ASSERT_TRUE(scales.contains(site.layer)) << site.layer;
    EXPECT_EQ(scales.at(site.layer).size(), site.kept.size());
  }
}

// Smaller networks run and are written as ONNX, which reads back as the same network.
TEST(Slimming, RealNetworksRunAndExport) {
  int networks = 0;
  for (const auto& [name, count] : std::vector<std::pair<std::string, size_t>>{
           {"cnn/cifar10-resnet/cifar10_resnet20.onnx", 9},
           {"cnn/mlperf-tiny/mlperf_tiny_ic_resnet8.onnx", 3},
           {"cnn/mobilenet-v2/mobilenet_v2_1.0_224_imagenet_dequant.onnx", 20},
           {"cnn/squeezenet-v1.1/squeezenet_v1.1_imagenet.onnx", 9}}) {
    const auto path = testing::shared_data(name);
    if (path.empty()) continue;
    ++networks;
    Model model = open_onnx(path);
    fold_batch_norms(model);
    std::vector<SlimSite> sites = find_slim_sites(model.graph);
    EXPECT_EQ(sites.size(), count) << name;
    choose_channels(sites, model, {}, {.share = 0.5});
    const Model smaller = slimmed(model, sites);
    EXPECT_LT(smaller.parameter_count(), model.parameter_count() * 9 / 10) << name;
    const std::vector<float> expected = outputs_of(smaller);
    for (const float x : expected) ASSERT_TRUE(std::isfinite(x)) << name;
    const testing::TemporaryFolder folder;
    export_onnx(folder / "small.onnx", smaller);
    const std::vector<float> got = outputs_of(open_onnx(folder / "small.onnx"));
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], expected[i], 1e-5 * (1 + std::abs(expected[i]))) << name;
    }
  }
  if (networks == 0) GTEST_SKIP() << "cnn/* are not there (BITSMITH_DATA)";
}

}  // namespace
}  // namespace bitsmith

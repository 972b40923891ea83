// Every transform leaves the function of a network as it was, and does what it is for.
#include "pipeline/rewrite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/testing.h"
#include "families/families_testing.h"
#include "pipeline/job.h"
#include "pipeline/measured_inputs.h"
#include "pipeline/pipeline_testing.h"
#include "reference/reference_testing.h"
#include "transforms/layer_inputs.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using reference_testing::logits_of;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::write_tiny_model;

// Activations of independent channels, every fourth ten times as large as the others.
class UnevenInputs final : public LayerInputs {
 public:
  explicit UnevenInputs(const Graph& graph) : graph_(graph) {}
  const std::vector<double>& second_moment(size_t node) override {
    EXPECT_GE(node, last_);
    last_ = node;
    const auto cols = static_cast<size_t>(graph_.value(graph_.nodes[node].inputs[1]).shape[1]);
    moment_.assign(cols * cols, 0.0);
    for (size_t c = 0; c < cols; ++c) moment_[c * cols + c] = c % 4 == 1 ? 100 : 1;
    return moment_;
  }
  // From -1 to 3, or ten times that.
  const ChannelSpread& spread(size_t node) override {
    second_moment(node);
    const auto cols = static_cast<size_t>(graph_.value(graph_.nodes[node].inputs[1]).shape[1]);
    spread_ = {std::vector<float>(cols), std::vector<float>(cols), std::vector<double>(cols)};
    for (size_t c = 0; c < cols; ++c) {
      spread_.least[c] = c % 4 == 1 ? -10 : -1;
      spread_.most[c] = c % 4 == 1 ? 30 : 3;
    }
    return spread_;
  }

 private:
  const Graph& graph_;
  size_t last_ = 0;
  std::vector<double> moment_;
  ChannelSpread spread_;
};

// A model after one transform, of uneven inputs if it asks.
struct Rewritten {
  Rewritten(const Model& original, const std::string& id, const json& options, int threads = 2)
      : network(original), pool(threads) {
    UnevenInputs inputs(original.graph);
    network.layer_inputs = &inputs;
    for (const ValueId parameter : original.graph.parameters()) {
      const Scheme code("int", {{"bits", 3}, {"group", 0}});
      network.codes[original.graph.value(parameter).name] = code;
    }
    const Transform& transform = Registry<Transform>::instance().get(id);
    transform.apply(network, Options(transform.info().options, options, id), pool);
    model = rewritten_model(original, network);
    SilentProgress silent;
    write_changed_parameters(original, network, folder.path(), pool, silent, model);
  }
  Network network;
  ThreadPool pool;
  TemporaryFolder folder;
  Model model;
};

// The largest change of a logit, as a part of the largest logit.
double change(const Model& before, const Model& after, int length = 40) {
  Random random(4);
  const auto vocabulary =
      static_cast<uint64_t>(before.graph.value(before.graph.outputs[0]).shape.back());
  std::vector<TokenId> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back(static_cast<TokenId>(random.below(vocabulary)));
  const at::Tensor expected = logits_of(before, tokens);
  const at::Tensor got = logits_of(after, tokens);
  return (expected - got).abs().max().item<double>() / expected.abs().max().item<double>();
}

// float32: 2^-24 for each rounding, which layers amplify.
constexpr double kTolerance = 2e-4;

// Every transform, and other settings of some.
struct Setting {
  std::string transform;
  json options;
};
std::vector<Setting> settings() {
  std::vector<Setting> result;
  for (const Transform* transform : Registry<Transform>::instance().all()) {
    result.push_back({transform->info().id, json::object()});
  }
  result.push_back({"rotate", {{"block", 8}}});
  result.push_back({"permute", {{"by", "inputs"}}});
  return result;
}

json gemma(const std::string& family) {
  json changes = testing::gemma_fields(family);
  changes["model_type"] = family;
  return changes;
}

TEST(Transforms, ChangeNoLogitOfAnyFamily) {
  const TemporaryFolder folder;
  const std::vector<json> families = {
      json::object(),
      {{"tie_word_embeddings", true}},
      {{"hidden_size", 48}, {"intermediate_size", 88}, {"tie_word_embeddings", true}},
      {{"model_type", "qwen2"}, {"num_key_value_heads", 1}},
      {{"model_type", "qwen3"}, {"head_dim", 16}},
      {{"attention_bias", true}, {"mlp_bias", true}},
      gemma("gemma"),
      gemma("gemma2"),
      gemma("gemma3_text")};
  for (const json& changes : families) {
    write_tiny_model(folder / "model", changes);
    const Model original = open_model(folder / "model");
    for (const auto& [id, options] : settings()) {
      const Rewritten rewritten(original, id, options);
      EXPECT_LT(change(original, rewritten.model), kTolerance)
          << id << " " << options.dump() << " " << changes.dump();
      EXPECT_TRUE(rewritten.network.changed());
    }
  }
}

TEST(Transforms, ChangeNoLogitOfRealModels) {
  int models = 0;
  for (const char* name : {"llm/classics-7m", "llm/tinystories-656k"}) {
    const auto folder = testing::shared_data(name);
    if (folder.empty()) continue;
    ++models;
    const Model original = open_model(folder);
    for (const auto& [id, options] : settings()) {
      const Rewritten rewritten(original, id, options);
      EXPECT_LT(change(original, rewritten.model), kTolerance) << id << options.dump() << name;
    }
  }
  if (models == 0) GTEST_SKIP() << "no shared models";
}

TEST(Transforms, GiveTheSameBytesForAnyNumberOfThreads) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const Model original = open_model(folder / "model");
  for (const auto& [id, options] : settings()) {
    const Rewritten one(original, id, options, 1);
    const Rewritten three(original, id, options, 3);
    EXPECT_EQ(one.model.graph.to_json(), three.model.graph.to_json());
    EXPECT_EQ(testing::read_bytes(one.folder / "transformed.bin"),
              testing::read_bytes(three.folder / "transformed.bin"));
  }
}

// The weights that read channels of large activations become larger, those that make them smaller.
TEST(Awq, ProtectsTheChannelsOfLargeActivations) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model", {{"num_key_value_heads", 2}});
  const Model original = open_model(folder / "model");
  const Rewritten rewritten(original, "awq", json::object());
  const auto ratio = [&](const std::string& name, size_t column) {
    const std::vector<float> before = original.parameter(name).decode_all();
    const std::vector<float> after = rewritten.model.parameter(name).decode_all();
    return after.at(column) / before.at(column);
  };
  for (const char* name :
       {"self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"}) {
    const std::string weight = fmt::format("model.layers.1.{}.weight", name);
    EXPECT_GT(ratio(weight, 1) / ratio(weight, 2), 1.2) << name;
  }
  EXPECT_LT(ratio("model.layers.1.input_layernorm.weight", 1), 1);
  EXPECT_GT(ratio("model.layers.1.input_layernorm.weight", 2), 1);
  // What a job plans without statistics are the same parameters in the same graph.
  Network planned(original);
  ThreadPool pool(1);
  const Transform& awq = Registry<Transform>::instance().get("awq");
  awq.apply(planned, Options(awq.info().options, json::object(), "awq"), pool);
  const Model plan = rewritten_model(original, planned);
  EXPECT_EQ(plan.graph.to_json(), rewritten.model.graph.to_json());
  for (const auto& [name, tensor] : rewritten.model.parameters) {
    EXPECT_EQ(plan.parameter(name).bytes.size(), tensor.bytes.size()) << name;
  }
}

// A model after one transform of its own measured inputs, and what its layers then read.
struct Measured {
  Measured(const Model& original, const std::string& id, const json& options) {
    ThreadPool pool(2);
    SilentProgress silent;
    CalibrationRequest wanted;
    wanted.sequences = 4;
    wanted.length = 24;
    const CalibrationSet calibration = make_calibration_set(original, wanted, pool, silent);
    TemporaryWorkspace temporary("inputs");
    const Context context{original, pool, silent, temporary.workspace, at::kCPU, 1, 1 << 20};
    MeasuredInputs inputs(context, calibration);
    Network network(original);
    network.layer_inputs = &inputs;
    for (const ValueId parameter : original.graph.parameters()) {
      network.codes[original.graph.value(parameter).name] = Scheme("int", {{"bits", 8}});
    }
    const Transform& transform = Registry<Transform>::instance().get(id);
    transform.apply(network, Options(transform.info().options, options, id), pool);
    model = rewritten_model(original, network);
    write_changed_parameters(original, network, folder.path(), pool, silent, model);

    TemporaryWorkspace again("inputs");
    const Context after{model, pool, silent, again.workspace, at::kCPU, 1, 1 << 20};
    MeasuredInputs read(after, calibration);
    for (size_t n = 0; n < model.graph.nodes.size(); ++n) {
      const Node& node = model.graph.nodes[n];
      if (node.op == "linear") spreads[model.graph.value(node.inputs[1]).name] = read.spread(n);
    }
  }
  TemporaryFolder folder;
  Model model;
  std::map<std::string, ChannelSpread> spreads;  // by weight
};

// The largest magnitude of any channel over the median of all channels.
double reach(const ChannelSpread& spread) {
  std::vector<double> reaches;
  for (size_t c = 0; c < spread.most.size(); ++c) {
    reaches.push_back(static_cast<double>(std::max(spread.most[c], -spread.least[c])));
  }
  std::ranges::sort(reaches);
  return reaches.back() / reaches[reaches.size() / 2];
}

constexpr size_t kTinyHidden = 32;
constexpr size_t kTinyProducts = 48;

// Channel 5 behind the first norm and channel 3 of each product get `outlier` times as large as
// they were, and what reads them that much smaller.
testing::Edit with_outliers(float outlier) {
  return [outlier](const std::string& name, std::vector<float>& weights) {
    const bool reader = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") ||
                        name.ends_with("v_proj.weight");
    if (name.ends_with("input_layernorm.weight")) weights[5] *= outlier;
    for (size_t i = 5; reader && i < weights.size(); i += kTinyHidden) weights[i] /= outlier;
    if (name.ends_with("up_proj.weight")) {
      for (size_t i = 3 * kTinyHidden; i < 4 * kTinyHidden; ++i) weights[i] *= outlier;
    }
    for (size_t i = 3; name.ends_with("down_proj.weight") && i < weights.size();
         i += kTinyProducts) {
      weights[i] /= outlier;
    }
  };
}

// Outliers that change nothing are gone, whatever their size: the equivalent network is the same.
TEST(Smooth, RemovesOutliers) {
  const TemporaryFolder folder;
  constexpr float kOutlier = 64;
  write_tiny_model(folder / "even");
  write_tiny_model(folder / "uneven", json::object(), with_outliers(kOutlier));
  const Model even = open_model(folder / "even");
  const Model uneven = open_model(folder / "uneven");
  ASSERT_LT(change(even, uneven), kTolerance);
  const Measured smooth(uneven, "smooth", json::object());
  const Measured expected(even, "smooth", json::object());
  for (const char* layer : {"self_attn.q_proj", "mlp.down_proj"}) {
    const std::string name = fmt::format("model.layers.0.{}.weight", layer);
    EXPECT_LT(reach(smooth.spreads.at(name)), 8) << name;
    const std::vector<float> got = smooth.model.parameter(name).decode_all();
    const std::vector<float> same = expected.model.parameter(name).decode_all();
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_NEAR(got[i], same[i], 1e-3F * std::abs(same[i]) + 1e-6F) << name;
    }
  }
  // All of the range goes to the weights: every channel reaches equally far.
  const Measured all(uneven, "smooth", {{"alpha", 1.0}});
  EXPECT_NEAR(reach(all.spreads.at("model.layers.0.self_attn.q_proj.weight")), 1, 1e-3);
  EXPECT_LT(change(uneven, smooth.model), kTolerance);
}

// Channels that lie on one side of 0 by far, and one that reaches far: values get a bias that the
// layer behind them takes back.
TEST(Shift, MovesAndScalesOutliers) {
  const TemporaryFolder folder;
  constexpr float kAway = 40;
  constexpr float kOutlier = 64;
  const auto outliers = with_outliers(kOutlier);
  const auto edit = [&](const std::string& name, std::vector<float>& weights) {
    outliers(name, weights);
    if (!name.starts_with("model.layers.0.self_attn")) return;
    if (name.ends_with("v_proj.bias")) weights[2] += kAway;
  };
  write_tiny_model(folder / "model", {{"attention_bias", true}}, edit);
  const Model original = open_model(folder / "model");
  const Measured shifted(original, "shift", json::object());
  EXPECT_LT(change(original, shifted.model), kTolerance);
  const ChannelSpread& mixed = shifted.spreads.at("model.layers.0.self_attn.o_proj.weight");
  for (size_t c = 0; c < mixed.most.size(); ++c) {
    EXPECT_LT(std::max(mixed.most[c], -mixed.least[c]), 10) << c;
  }
  // Norms without a bias get an operator, all others do without.
  const auto adds = [](const Model& model) {
    return std::ranges::count(model.graph.nodes, "add", &Node::op);
  };
  EXPECT_EQ(adds(shifted.model), adds(original) + 5);
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  const ChannelSpread& behind_norm = shifted.spreads.at(name);
  for (size_t c = 0; c < behind_norm.most.size(); ++c) {
    EXPECT_NEAR(behind_norm.most[c], -behind_norm.least[c], 1e-3 * behind_norm.most[c]) << c;
  }
  EXPECT_LT(reach(behind_norm), 8);
  EXPECT_LT(reach(shifted.spreads.at("model.layers.0.mlp.down_proj.weight")), 30);
}

// A stream that leaves a quarter of its directions unused: they can be deleted, and nothing changes
// but sizes.
TEST(Klt, DeletesWhatIsNotUsed) {
  const TemporaryFolder folder;
  constexpr size_t kUsed = 24;
  const auto edit = [](const std::string& name, std::vector<float>& weights) {
    const bool rows = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    if (rows) std::fill(weights.begin() + weights.size() * kUsed / kTinyHidden, weights.end(), 0);
    if (!name.ends_with("embed_tokens.weight")) return;
    for (size_t i = 0; i < weights.size(); ++i) weights[i] *= i % kTinyHidden < kUsed ? 1 : 0;
  };
  for (const bool tied : {false, true}) {
    write_tiny_model(folder / "model", {{"tie_word_embeddings", tied}}, edit);
    const Model original = open_model(folder / "model");
    const Measured sliced(original, "klt", {{"delete", 0.25}});
    EXPECT_LT(change(original, sliced.model), kTolerance) << tied;
    const auto cols = [&](const std::string& name) {
      return sliced.model.parameter(name).matrix().cols;
    };
    EXPECT_EQ(cols("model.layers.0.self_attn.q_proj.weight"), kUsed);
    EXPECT_EQ(sliced.model.parameter("model.layers.1.mlp.down_proj.weight").matrix().rows, kUsed);
    EXPECT_EQ(cols("model.embed_tokens.weight"), tied ? kTinyHidden : kUsed);
    // Beyond that it does.
    const Measured more(original, "klt", {{"delete", 0.5}});
    EXPECT_GT(change(original, more.model), 100 * kTolerance) << tied;
  }
}

// A channel that never moves has no reach; the others are scaled all the same.
TEST(Shift, ScalesBesideAConstantChannel) {
  const TemporaryFolder folder;
  const auto outliers = with_outliers(64);
  write_tiny_model(folder / "model", json::object(),
                   [&](const std::string& name, std::vector<float>& weights) {
                     outliers(name, weights);
                     if (name.ends_with("input_layernorm.weight")) weights[9] = 0;
                   });
  const Model original = open_model(folder / "model");
  const Measured shifted(original, "shift", json::object());
  EXPECT_LT(change(original, shifted.model), kTolerance);
  EXPECT_LT(reach(shifted.spreads.at("model.layers.0.self_attn.q_proj.weight")), 8);
}

// Which columns of a matrix its columns were, whatever the order of rows.
std::vector<size_t> order_of_columns(const Model& before, const Model& after,
                                     const std::string& name) {
  const auto columns = [&](const Model& model) {
    const std::vector<float> weights = model.parameter(name).decode_all();
    std::vector<std::vector<float>> result(
        static_cast<size_t>(model.parameter(name).matrix().cols));
    for (size_t i = 0; i < weights.size(); ++i) {
      result[i % result.size()].push_back(weights[i]);
    }
    for (auto& column : result) std::ranges::sort(column);
    return result;
  };
  const auto old = columns(before);
  std::vector<size_t> order;
  for (const auto& column : columns(after)) {
    order.push_back(static_cast<size_t>(std::ranges::find(old, column) - old.begin()));
  }
  return order;
}

// The channels of large activations, every fourth, come first: of the stream, of products, of each
// head of values and so of what attention mixes of them.
TEST(Permute, PutsChannelsOfLargeActivationsFirst) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const Model original = open_model(folder / "model");
  const Rewritten rewritten(original, "permute", {{"by", "inputs"}});
  const auto order = [&](const std::string& name) {
    return order_of_columns(original, rewritten.model, "model.layers.0." + name + ".weight");
  };
  const std::vector<size_t> stream = order("self_attn.q_proj");
  for (size_t c = 0; c < kTinyHidden / 4; ++c) EXPECT_EQ(stream[c], 4 * c + 1);
  EXPECT_EQ(stream, order("mlp.up_proj"));
  const std::vector<size_t> products = order("mlp.down_proj");
  for (size_t c = 0; c < kTinyProducts / 4; ++c) EXPECT_EQ(products[c], 4 * c + 1);
  const std::vector<size_t> mixed = order("self_attn.o_proj");
  for (size_t head = 0; head < kTinyHidden; head += 8) {
    EXPECT_EQ(mixed[head], head + 1);
    EXPECT_EQ(mixed[head + 1], head + 5);
  }
}

TEST(Permute, SortsTheColumnsOfWeights) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const Rewritten rewritten(open_model(folder / "model"), "permute", json::object());
  const std::vector<float> down =
      rewritten.model.parameter("model.layers.0.mlp.down_proj.weight").decode_all();
  std::vector<double> squares(kTinyProducts);
  for (size_t i = 0; i < down.size(); ++i) {
    squares[i % kTinyProducts] += static_cast<double>(down[i]) * static_cast<double>(down[i]);
  }
  EXPECT_TRUE(std::ranges::is_sorted(squares, std::greater<>()));
}

// The largest weight over the root mean square.
double peak(const Model& model, const std::string& name) {
  double sum = 0;
  double most = 0;
  const std::vector<float> weights = model.parameter(name).decode_all();
  for (const float w : weights) {
    sum += static_cast<double>(w) * static_cast<double>(w);
    most = std::max(most, std::abs(static_cast<double>(w)));
  }
  return most / std::sqrt(sum / static_cast<double>(weights.size()));
}

// An outlier that changes nothing: one channel of a product is made smaller, and what reads it
// larger; the same between a norm's gain and the layers behind it.
TEST(Rotate, RemovesOutliers) {
  constexpr float kOutlier = 32;
  const TemporaryFolder folder;
  const auto edit = [](const std::string& name, std::vector<float>& weights) {
    constexpr size_t kHidden = 32;
    constexpr size_t kProducts = 48;
    if (name.ends_with("input_layernorm.weight")) weights[5] /= kOutlier;
    if (name.ends_with("up_proj.weight")) {
      for (size_t i = 3 * kHidden; i < 4 * kHidden; ++i) weights[i] /= kOutlier;
    }
    for (size_t i = 5; name.ends_with("q_proj.weight") && i < weights.size(); i += kHidden) {
      weights[i] *= kOutlier;
    }
    for (size_t i = 3; name.ends_with("down_proj.weight") && i < weights.size(); i += kProducts) {
      weights[i] *= kOutlier;
    }
  };
  write_tiny_model(folder / "model", json::object(), edit);
  const Model original = open_model(folder / "model");
  const Rewritten rewritten(original, "rotate", json::object());
  EXPECT_LT(change(original, rewritten.model), kTolerance);
  for (const char* layer : {"self_attn.q_proj", "mlp.down_proj"}) {
    const std::string name = fmt::format("model.layers.0.{}.weight", layer);
    EXPECT_GT(peak(original, name), 10) << name;
    EXPECT_LT(peak(rewritten.model, name), 5) << name;
  }
}

// A block spreads an outlier over its own channels alone.
TEST(Rotate, KeepsOutliersInTheirBlock) {
  const TemporaryFolder folder;
  constexpr int64_t kBlock = 8;
  const auto edit = [](const std::string& name, std::vector<float>& weights) {
    for (size_t i = 3; name.ends_with("down_proj.weight") && i < weights.size();
         i += kTinyProducts) {
      weights[i] *= 1000;
    }
  };
  write_tiny_model(folder / "model", json::object(), edit);
  const Model original = open_model(folder / "model");
  const auto largest = [](const Model& model, size_t column) {
    const std::vector<float> weights =
        model.parameter("model.layers.0.mlp.down_proj.weight").decode_all();
    float most = 0;
    for (size_t i = column; i < weights.size(); i += kTinyProducts) {
      most = std::max(most, std::abs(weights[i]));
    }
    return most;
  };
  const Rewritten blocks(original, "rotate", {{"block", kBlock}});
  const Rewritten whole(original, "rotate", json::object());
  for (size_t c = 0; c < kTinyProducts; ++c) {
    EXPECT_EQ(largest(blocks.model, c) > 50, c < kBlock) << c;
    EXPECT_GT(largest(whole.model, c), 50) << c;
  }
}

TEST(Rotate, AddsOperatorsOnlyWhereWeightsAreShared) {
  const TemporaryFolder folder;
  const auto operators = [&](const json& changes, const json& options) {
    write_tiny_model(folder / "model", changes);
    const Model original = open_model(folder / "model");
    const Rewritten rewritten(original, "rotate", options);
    return std::ranges::count(rewritten.model.graph.nodes, "hadamard", &Node::op);
  };
  const json weights_only = {{"products", false}};
  EXPECT_EQ(operators(json::object(), weights_only), 0);
  EXPECT_EQ(operators(json::object(), json::object()), 2);  // one for each layer's product
  // A tied table: after the embedding, and before the norm of the head.
  EXPECT_EQ(operators({{"tie_word_embeddings", true}}, weights_only), 2);
}

TEST(Rotate, RefusesWhenThereIsNothingToRotate) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const Model original = open_model(folder / "model");
  EXPECT_THAT(error_of(ErrorCode::kUnsupported,
                       [&] {
                         Rewritten(original, "rotate",
                                   {{"stream", false}, {"heads", false}, {"products", false}});
                       }),
              HasSubstr("no residual stream"));
}

// The whole way: the file is of the rotated network, its quality is measured against the original.
TEST(Rotate, CompressesAndResumes) {
  for (const bool tied : {false, true}) {
    testing::TinyJob job(json{{"tie_word_embeddings", tied}});
    CompressRequest request = job.request;
    request.recipe = "quip-sharp";
    request.budget = {};
    request.overrides = {"calibrate.sequences=5", "calibrate.length=24"};
    const std::string expected = job.compressed(request);
    const Evaluation quality = *job.report.quality;
    EXPECT_GT(quality.divergence->kl_nats.value, 0);
    EXPECT_EQ(job.report.plan.original_bytes, open_model(request.model).parameter_bytes());
    testing::StopAfter count;
    compress(request, count);
    request.threads = 3;
    for (const int calls : {count.calls() / 2, count.calls() - 3}) {
      testing::StopAfter stop(calls);
      EXPECT_THROW(compress(request, stop), testing::Stopped);
      EXPECT_TRUE(job.compressed(request) == expected) << calls;
    }
  }
}

// Transforms that depend on measured inputs: the same after any stop, for any number of threads.
TEST(Transforms, CompressAndResume) {
  for (const char* recipe : {"awq", "d2quant", "slicegpt"}) {
    testing::TinyJob job;
    CompressRequest request = job.request;
    request.recipe = recipe;
    request.budget = {};
    request.overrides = {"calibrate.sequences=5", "calibrate.length=24"};
    if (std::string(recipe) != "slicegpt") request.overrides.push_back("code.group=16");
    const std::string expected = job.compressed(request);
    testing::StopAfter count;
    compress(request, count);
    request.threads = 3;
    for (const int calls : {count.calls() / 3, count.calls() / 2, count.calls() - 3}) {
      testing::StopAfter stop(calls);
      EXPECT_THROW(compress(request, stop), testing::Stopped);
      EXPECT_TRUE(job.compressed(request) == expected) << recipe << calls;
    }
    // They did something: without them the file is another.
    request.overrides.push_back("transform=[]");
    EXPECT_FALSE(job.compressed(request) == expected) << recipe;
  }
}

// What transforms are told is what layers read, in blocks behind the first too.
TEST(MeasuredInputs, AreTheMeansOfWhatLayersRead) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  const Model model = open_model(folder / "model");
  ThreadPool pool(2);
  SilentProgress silent;
  CalibrationRequest wanted;
  wanted.sequences = 4;
  wanted.length = 12;
  const CalibrationSet calibration = make_calibration_set(model, wanted, pool, silent);
  TemporaryWorkspace temporary("inputs");
  const Context context{model, pool, silent, temporary.workspace, at::kCPU, 1, 1 << 20};
  MeasuredInputs inputs(context, calibration);
  const Graph& graph = model.graph;
  const ParameterSource source = [&](ValueId id) {
    const CodedTensor& tensor = model.parameter(graph.value(id).name);
    return at::tensor(at::ArrayRef<float>(tensor.decode_all())).view(tensor.shape);
  };
  int layers = 0;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].op != "linear") continue;
    ++layers;
    at::Tensor sum;
    for (int64_t i = 0; i < calibration.count; ++i) {
      const at::NoGradGuard no_grad;
      Environment values(graph.values.size());
      values[static_cast<size_t>(graph.inputs[0])] = sample_tensor(calibration, i);
      const ValueId read = graph.nodes[n].inputs[0];
      run_reference(graph, 0, n, source, values, {read});
      const at::Tensor x = values[static_cast<size_t>(read)].flatten(0, 1).to(at::kDouble);
      const at::Tensor own = at::matmul(x.t(), x) / static_cast<double>(x.size(0));
      sum = sum.defined() ? sum + own : own;
    }
    sum = sum / static_cast<double>(calibration.count);
    const std::vector<double>& moment = inputs.second_moment(n);
    const at::Tensor got = at::tensor(at::ArrayRef<double>(moment)).view_as(sum);
    EXPECT_LT(((got - sum).abs().max() / sum.abs().max()).item<double>(), 1e-5)
        << graph.nodes[n].name;
  }
  EXPECT_GE(layers, 14);
}

}  // namespace
}  // namespace bitsmith

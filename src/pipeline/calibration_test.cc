// The calibration text, and the second moments that are measured on it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "pipeline/block_runner.h"
#include "pipeline/pipeline_testing.h"

namespace bitsmith {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TinyJob;
using testing::write_bytes;

CalibrationSet make(const Model& model, const CalibrationRequest& request, int threads = 1) {
  ThreadPool pool(threads);
  SilentProgress progress;
  return make_calibration_set(model, request, pool, progress);
}

TEST(CalibrationSet, OfATextAreItsOwnWindowsAndProbesStandApart) {
  const TinyJob job;
  const Model model = open_model(job.request.model);
  const std::string text = testing::read_bytes(job.request.calibration);
  const CalibrationRequest request{job.request.calibration, 12, 24, 5};
  const CalibrationSet set = make(model, request);
  EXPECT_EQ(set.length, 24);
  EXPECT_EQ(set.count, 12);
  EXPECT_EQ(set.probes, 12);  // no more than there are sequences
  ASSERT_EQ(set.sequences.size(), 24u);
  std::set<size_t> places;
  for (const std::vector<TokenId>& sequence : set.sequences) {
    ASSERT_EQ(sequence.size(), 24u);
    const size_t at = text.find(std::string(sequence.begin(), sequence.end()));  // tokens are bytes
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(at % 24, 0u);
    EXPECT_TRUE(places.insert(at).second) << "taken twice";
  }
  // Both kinds see the whole text.
  EXPECT_LT(*places.begin(), text.size() / 12);
  EXPECT_GT(*places.rbegin(), text.size() * 10 / 12);
  EXPECT_EQ(set.description.at("source"), "text");
  EXPECT_EQ(set.description.at("sequences"), 12);
  EXPECT_EQ(set.description.at("probes"), 12);
  // Nothing but the seed chooses which are probes.
  EXPECT_EQ(make(model, request, 3).sequences, set.sequences);
  const CalibrationSet other = make(model, {job.request.calibration, 12, 24, 6});
  EXPECT_NE(other.sequences, set.sequences);
  EXPECT_EQ(std::set(other.sequences.begin(), other.sequences.end()),
            std::set(set.sequences.begin(), set.sequences.end()));
}

TEST(CalibrationSet, TakesWhatAShortTextHas) {
  const TinyJob job;
  const Model model = open_model(job.request.model);
  const auto text = job.folder / "short.txt";
  const auto set_of = [&](int tokens) {
    write_bytes(text, std::string(static_cast<size_t>(tokens), 'x'));
    return make(model, {text, 100, 20, 1});
  };
  const CalibrationSet set = set_of(7 * 20 + 19);  // seven windows
  EXPECT_EQ(set.count, 4);
  EXPECT_EQ(set.probes, 3);
  const CalibrationSet two = set_of(2 * 20);
  EXPECT_EQ(two.count, 1);
  EXPECT_EQ(two.probes, 1);
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { set_of(2 * 20 - 1); }),
              AllOf(HasSubstr("short.txt"), HasSubstr("has 39 tokens"),
                    HasSubstr("at least two sequences of 20")));
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { set_of(0); }), HasSubstr("0 tokens"));
}

TEST(CalibrationSet, LengthIsTheContextUnlessItIsSaid) {
  const TinyJob job;
  const Model model = open_model(job.request.model);
  EXPECT_EQ(make(model, {job.request.calibration, 3, 0, 1}).length, 64);
  EXPECT_EQ(make(model, {job.request.calibration, 3, 50, 1}).length, 50);
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument,
                       [&] {
                         make(model, {job.request.calibration, 3, 65, 1});
                       }),
              AllOf(HasSubstr("calibrate.length is 65"), HasSubstr("for 64 tokens")));
}

TEST(CalibrationSet, WrittenByTheModelIsTheSameForAnyNumberOfThreads) {
  const TinyJob job;
  const Model model = open_model(job.request.model);
  const CalibrationSet set = make(model, {"", 30, 16, 5}, 1);  // more than run together
  EXPECT_EQ(set.count, 30);
  EXPECT_EQ(set.probes, 30);
  EXPECT_EQ(set.description.at("source"), "sampled from the model");
  for (const auto& sequence : set.sequences) {
    ASSERT_EQ(sequence.size(), 16u);
    for (const TokenId token : sequence) ASSERT_TRUE(token >= 0 && token < 257);
  }
  EXPECT_GT(std::set(set.sequences.begin(), set.sequences.end()).size(), 55u);  // not one text
  EXPECT_EQ(make(model, {"", 30, 16, 5}, 3).sequences, set.sequences);
  EXPECT_NE(make(model, {"", 30, 16, 6}, 1).sequences, set.sequences);
  // What is asked for beyond does not change what came before.
  const CalibrationSet more = make(model, {"", 40, 16, 5}, 2);
  EXPECT_EQ(more.sequences[0], set.sequences[0]);
  EXPECT_EQ(more.sequences[29], set.sequences[29]);
}

TEST(CalibrationSet, SaysWhatItLacks) {
  TinyJob job;
  EXPECT_THAT(error_of(ErrorCode::kNotFound,
                       [&] {
                         make(open_model(job.request.model), {"/nowhere/text", 3, 24, 1});
                       }),
              HasSubstr("/nowhere/text"));
  std::filesystem::remove(job.folder / "model" / "tokenizer.json");
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument,
                       [&] {
                         make(open_model(job.request.model), {job.request.calibration, 3, 24, 1});
                       }),
              AllOf(HasSubstr("has no tokenizer"), HasSubstr("--calibration")));
  // Without a tokenizer the model still can write: from a token drawn at random.
  EXPECT_EQ(make(open_model(job.request.model), {"", 3, 8, 1}).sequences.size(), 6u);
}

TEST(CalibrationSet, ATokenizerOfAnotherModelIsRefused) {
  const TinyJob job(nlohmann::json{{"vocab_size", 100}});  // letters are beyond
  EXPECT_THAT(error_of(ErrorCode::kCorrupt,
                       [&] {
                         make(open_model(job.request.model), {job.request.calibration, 3, 24, 1});
                       }),
              AllOf(HasSubstr("the model has 100"), HasSubstr("do not belong together")));
}

// Runs whole sequences by the reference executor, one after the other, and sums x xᵀ in float64.
std::vector<double> slow_moment(const Model& model, const CalibrationSet& set, ValueId value) {
  const at::NoGradGuard no_grad;
  const Graph& graph = model.graph;
  const ParameterSource parameters = [&](ValueId id) {
    const Value& v = graph.value(id);
    const std::vector<float> decoded = model.parameter(v.name).decode_all();
    return at::tensor(at::ArrayRef<float>(decoded)).view(v.shape);
  };
  std::vector<double> sum;
  for (int64_t s = 0; s < set.count; ++s) {
    Environment values(graph.values.size());
    values[static_cast<size_t>(graph.inputs[0])] = sample_tensor(set, s);
    run_reference(graph, 0, graph.nodes.size(), parameters, values, {value});
    const at::Tensor x = values[static_cast<size_t>(value)].squeeze(0).to(at::kDouble);
    const at::Tensor product = at::matmul(x.t(), x).contiguous();
    sum.resize(static_cast<size_t>(product.numel()), 0.0);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += product.data_ptr<double>()[i];
  }
  for (double& x : sum) x /= static_cast<double>(set.count * set.length);
  return sum;
}

TEST(RunBlock, MeasuresTheSecondMomentsOfTheWholeNetwork) {
  const TinyJob job;
  const Model model = open_model(job.request.model);
  const CalibrationSet set = make(model, {job.request.calibration, 9, 24, 5});  // groups of 4, 4, 1
  const Graph& graph = model.graph;
  const std::vector<Block> blocks = find_blocks(graph);
  std::vector<std::vector<double>> by_threads;
  std::vector<ValueId> inputs;  // of all matrices that are multiplied
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    SilentProgress progress;
    const testing::TemporaryFolder folder;
    Workspace workspace(folder / "w", 1);
    const Context context{model, pool, progress, workspace};
    ActivationStore activations(workspace.folder(), 0);
    size_t n = 0;
    for (size_t b = 0; b < blocks.size(); ++b) {
      const Block& block = blocks[b];
      std::map<ValueId, SecondMoment> moments;
      std::map<ValueId, size_t> nodes;
      for (size_t i = block.begin; i < block.end; ++i) {
        const Node& node = graph.nodes[i];
        if (node.op != "linear") continue;
        moments.try_emplace(node.inputs[0], graph.value(node.inputs[1]).shape[1]);
        nodes.try_emplace(node.inputs[0], i);
      }
      BlockRun run{&graph, block.begin, block.end, block.input, {}, block.output};
      for (auto& [id, moment] : moments) run.captures.emplace_back(nodes[id], &moment);
      const BlockParameters parameters(context, block.begin, block.end);
      if (b == 0) activations.resize(set.count, {1, set.length, 32});
      const bool last = b + 1 == blocks.size();
      run_block(
          context, run, parameters, 0, set.count,
          [&](int64_t i) { return b == 0 ? sample_tensor(set, i) : activations.load(i); },
          [&](int64_t i, const at::Tensor& value) {
            if (!last) activations.save(i, value);
          });
      for (const auto& [id, moment] : moments) {
        EXPECT_EQ(moment.tokens(), set.count * set.length);
        if (threads == 1) {
          inputs.push_back(id);
          by_threads.push_back(moment.mean());
        } else {
          EXPECT_EQ(moment.mean(), by_threads[n]) << "differs with " << threads << " threads";
        }
        ++n;
      }
    }
  }
  ASSERT_EQ(inputs.size(), 9u);  // four in each layer, and the head's
  for (size_t n = 0; n < inputs.size(); ++n) {
    SCOPED_TRACE(graph.value(inputs[n]).name);
    const std::vector<double> expected = slow_moment(model, set, inputs[n]);
    ASSERT_EQ(by_threads[n].size(), expected.size());
    double trace = 0;
    const auto size = static_cast<size_t>(std::sqrt(static_cast<double>(expected.size())));
    for (size_t i = 0; i < size; ++i) trace += expected[i * size + i];
    // float32 sums of 24 products, and activations that passed through float32 in other shapes.
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(by_threads[n][i], expected[i], 1e-5 * trace) << i;
    }
  }
}

TEST(DecodeTensor, NamesAWeightThatIsNotFinite) {
  for (const float wrong : {NAN, INFINITY, -INFINITY}) {
    const TinyJob job(nlohmann::json::object(), [&](const std::string& name, auto& weights) {
      if (name == "model.layers.1.mlp.up_proj.weight") weights[40 * 32 + 5] = wrong;
    });
    const Model model = open_model(job.request.model);
    ThreadPool pool(2);
    std::vector<float> out(257 * 32);
    for (const auto& [name, tensor] : model.parameters) {
      if (name != "model.layers.1.mlp.up_proj.weight") {
        decode_tensor(tensor, pool, out.data());
        continue;
      }
      EXPECT_THAT(
          error_of(ErrorCode::kCorrupt, [&, &t = tensor] { decode_tensor(t, pool, out.data()); }),
          AllOf(HasSubstr("'model.layers.1.mlp.up_proj.weight'"), HasSubstr("row 40, column 5")));
    }
  }
}

}  // namespace
}  // namespace bitsmith

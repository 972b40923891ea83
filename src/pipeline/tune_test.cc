// Recipes with [[tune]]: the file that comes out, stops, and what is refused.
#include "pipeline/tune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
#include "core/testing.h"
#include "formats/checkpoint.h"
#include "tuning/tuning_testing.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

const std::string kTraining =
    "epochs = 2\nbatch = 96\noptimizer = \"adam\"\nrate = 0.003\nshift = 0\nflip = false\n";

std::string steps(const std::string& last) {
  return "[[tune]]\nid = \"train\"\n" + kTraining +
         "[[tune]]\nid = \"prune\"\nsparsity = 0.6\ndistillation = 0.5\n" + kTraining + last;
}

const std::string kFocused = "[[tune]]\nid = \"quantize\"\nhalvings = 2\n" + kTraining +
                             "[code]\ncodec = \"focused\"\nbits = 4\n[encode]\nid = \"rans\"\n";
const std::string kShared =
    "[[tune]]\nid = \"share\"\n" + kTraining +
    "[code]\ncodec = \"codebook\"\nscope = \"tensor\"\nbits = 4\nsymbols = \"codes\"\n";

// A network in a file, a recipe, and images.
class Tuned : public ::testing::Test {
 protected:
  void SetUp() override {
    const Model model = tuning_testing::make_model(1);
    CheckpointContents contents;
    contents.graph = model.graph;
    contents.parameters = model.parameters;
    write_checkpoint(folder_ / "net.bitsmith", contents);
  }

  CompressRequest request(const std::string& recipe, const std::string& output = "out.bitsmith") {
    testing::write_bytes(folder_ / "recipe.toml", recipe);
    CompressRequest result;
    result.model = folder_ / "net.bitsmith";
    result.output = folder_ / output;
    result.recipe = (folder_ / "recipe.toml").string();
    result.calibration = folder_ / "net.bitsmith";  // stands for the file of images
    result.images = CalibrationImages{std::make_shared<tuning_testing::Blocks>(480),
                                      tuning_testing::preprocessing(), 0};
    result.threads = 2;
    return result;
  }

  CompressReport run(const CompressRequest& request) {
    SilentProgress progress;
    return compress(request, progress);
  }

  TemporaryFolder folder_;
};

TEST_F(Tuned, WritesASmallFileThatStillKnowsItsImages) {
  for (const std::string& last : {kFocused, kShared}) {
    const CompressReport report = run(request(steps(last)));
    const Model model = open_model(folder_ / "out.bitsmith");
    EXPECT_EQ(report.tensor_bytes, model.parameter_bytes());
    EXPECT_EQ(report.plan.tensor_bytes, model.packed_bytes());
    EXPECT_EQ(report.file_bytes, fs::file_size(folder_ / "out.bitsmith"));
    EXPECT_LT(4 * report.plan.tensor_bytes, report.plan.original_bytes);
    EXPECT_EQ(report.matrices.size(), 3u);
    for (const MatrixReport& row : report.matrices) EXPECT_EQ(row.role, row.name);
    // 24 images are kept apart; training knows nothing of them.
    ASSERT_TRUE(report.accuracy);
    EXPECT_EQ(report.accuracy->images, 24);
    EXPECT_GT(report.accuracy->model.top1.value, 0.8);
    EXPECT_EQ(model.metadata.at("tuning").at("steps").size(), 3u);
    EXPECT_EQ(model.metadata.at("preprocessing"), tuning_testing::preprocessing().to_json());
    EXPECT_FALSE(fs::exists(folder_ / "out.bitsmith.partial"));
    for (const auto& [name, tensor] : model.parameters) {
      for (const float x : tensor.decode_all()) ASSERT_TRUE(std::isfinite(x)) << name;
    }
  }
}

// Interrupts when a phase of this name is under way.
class StopAt final : public Progress {
 public:
  explicit StopAt(std::string phase) : phase_(std::move(phase)) {}
  void begin(const std::string& phase, double) override { current_ = phase; }
  void update(double done, const std::string&) override {
    if (current_ == phase_ && done >= 2) fail(ErrorCode::kInterrupted, "stopped");
  }
  void end() override {}

 private:
  std::string phase_;
  std::string current_;
};

TEST_F(Tuned, GoesOnAfterAStopWithTheSameBytes) {
  for (const std::string& last : {kFocused, kShared}) {
    run(request(steps(last), "whole.bitsmith"));
    const CompressRequest stopped = request(steps(last), "stopped.bitsmith");
    for (const char* phase : {"train", "prune", "quantize 75 %", "share"}) {
      StopAt progress(phase);
      try {
        compress(stopped, progress);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInterrupted) << error.what();
      }
    }
    run(stopped);
    EXPECT_EQ(testing::read_bytes(folder_ / "stopped.bitsmith"),
              testing::read_bytes(folder_ / "whole.bitsmith"));
    // Other threads, the same bytes.
    CompressRequest one = request(steps(last), "one.bitsmith");
    one.threads = 1;
    run(one);
    EXPECT_EQ(testing::read_bytes(folder_ / "one.bitsmith"),
              testing::read_bytes(folder_ / "whole.bitsmith"));
  }
}

// The first layer makes 4 of 8 channels, the second reads them and makes 4, the last reads those.
TEST_F(Tuned, SlimmedNetworksAreSmallerAndGoOnAfterAStop) {
  const std::string recipe = "[[tune]]\nid = \"train\"\n" + kTraining +
                             "[[tune]]\nid = \"slim\"\ndistillation = 0.5\n" + kTraining +
                             "[[tune]]\nid = \"prune\"\nsparsity = 0.2\n" + kTraining;
  const CompressReport report = run(request(recipe, "whole.bitsmith"));
  const Model model = open_model(folder_ / "whole.bitsmith");
  EXPECT_EQ(model.parameter("first.weight").shape, (Shape{4, 3, 3, 3}));
  EXPECT_EQ(model.parameter("second.weight").shape, (Shape{4, 4, 3, 3}));
  EXPECT_EQ(model.parameter("last.weight").shape, (Shape{3, 64}));
  EXPECT_EQ(model.graph.nodes.back().op, "softmax");
  EXPECT_EQ(report.tensor_bytes, model.parameter_bytes());
  ASSERT_TRUE(report.accuracy);
  EXPECT_GT(report.accuracy->model.top1.value, 0.8);
  const CompressRequest stopped = request(recipe, "stopped.bitsmith");
  for (const char* phase : {"slim", "prune"}) {
    StopAt progress(phase);
    EXPECT_THROW(compress(stopped, progress), Error);
  }
  run(stopped);
  EXPECT_EQ(testing::read_bytes(folder_ / "stopped.bitsmith"),
            testing::read_bytes(folder_ / "whole.bitsmith"));
  // Ranges of what was trained since.
  const CompressRequest ranges = request(recipe + "[activations]\nsigmas = 6\n");
  EXPECT_NE(testing::error_of(ErrorCode::kInvalidArgument, [&] { run(ranges); }).find("observer"),
            std::string::npos);
}

TEST_F(Tuned, AFineTunedNetworkStaysFloat) {
  const CompressReport report = run(request("[[tune]]\nid = \"train\"\n" + kTraining));
  const Model model = open_model(folder_ / "out.bitsmith");
  for (const auto& [name, tensor] : model.parameters) {
    EXPECT_EQ(tensor.scheme.codec->info().id, "f32") << name;
  }
  EXPECT_GT(report.accuracy->model.top1.value, report.accuracy->original->top1.value);
}

// Weights in four bits, the ends in eight, activations in eight: integers from input to output.
TEST_F(Tuned, RunsOnIntegersWithCodedActivations) {
  const std::string weights = "[[tune]]\nid = \"train\"\n" + kTraining +
                              "[[tune]]\nid = \"quantize\"\n" + kTraining +
                              "[code]\ncodec = \"int\"\nbits = 4\ngroup = 0\nsymmetric = true\n"
                              "[[except]]\nlayers = \"ends\"\nbits = 8\n";
  const std::string recipe =
      weights + "[calibrate]\nsequences = 32\n[activations]\nobserver.id = \"mse\"\n";
  const CompressReport report = run(request(recipe));
  ASSERT_EQ(report.matrices.size(), 3u);
  EXPECT_EQ(report.matrices[0].scheme, "int8 row sym");
  EXPECT_EQ(report.matrices[1].scheme, "int4 row sym");
  EXPECT_EQ(report.matrices[2].scheme, "int8 row sym");
  ASSERT_TRUE(report.arithmetic);
  EXPECT_GT(report.coded_activations, 0);
  const Model model = open_model(folder_ / "out.bitsmith");
  // Eight bits of activations change next to nothing.
  const CompressReport floats = run(request(weights));
  EXPECT_FALSE(floats.arithmetic);
  EXPECT_NEAR(report.accuracy->model.top1.value, floats.accuracy->model.top1.value, 0.05);
  const auto& nodes = model.graph.nodes;
  EXPECT_TRUE(std::ranges::any_of(nodes, [](const Node& n) { return n.op == "quantize"; }));
  EXPECT_NE(testing::error_of(ErrorCode::kInvalidArgument,
                              [&] { run(request(recipe + "correct_biases = true\n")); }),
            "");
}

TEST_F(Tuned, RefusesWhatCannotWork) {
  const auto refusal = [&](ErrorCode code, const CompressRequest& bad) {
    return testing::error_of(code, [&] { run(bad); });
  };
  CompressRequest bad = request(steps(kFocused));
  bad.budget.bits = 3;
  EXPECT_NE(refusal(ErrorCode::kInvalidArgument, bad).find("no budget"), std::string::npos);
  bad = request(steps(kFocused));
  bad.images.reset();
  EXPECT_NE(refusal(ErrorCode::kInvalidArgument, bad).find("labelled images"), std::string::npos);
  bad = request(steps(kFocused));
  bad.images->dataset = std::make_shared<tuning_testing::Blocks>(480, false);
  EXPECT_NE(refusal(ErrorCode::kInvalidArgument, bad).find("no label"), std::string::npos);
  bad = request(steps(kFocused));
  bad.images->dataset = std::make_shared<tuning_testing::Blocks>(10);
  EXPECT_NE(refusal(ErrorCode::kInvalidArgument, bad).find("at least 40"), std::string::npos);
  SilentProgress progress;
  const CompressRequest planned = request(steps(kFocused));
  EXPECT_NE(testing::error_of(ErrorCode::kUnsupported, [&] { plan_only(planned, progress); })
                .find("use compress"),
            std::string::npos);
}

}  // namespace
}  // namespace bitsmith

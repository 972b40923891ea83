// Networks of images through the whole pipeline.
#include <gmock/gmock.h>

#include <cmath>

#include "core/random.h"
#include "formats/checkpoint.h"
#include "formats/onnx_testing.h"
#include "images/subset.h"
#include "pipeline/job.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/sweep.h"

namespace bitsmith::testing {
namespace {

using onnx_testing::attribute;
using onnx_testing::floats;
using onnx_testing::Network;
using onnx_testing::node;
using onnx_testing::value_info;
using ::testing::HasSubstr;

std::vector<float> random_numbers(const std::string& name, size_t count, double spread) {
  Random random(5, name);
  std::vector<float> numbers(count);
  for (float& x : numbers) x = static_cast<float>(spread * random.normal());
  return numbers;
}

// Convolutions with and without groups and strides, batch norms, a residual, a mean over all
// pixels, a matrix and a softmax: 2,500 weights.
std::string network_file() {
  Network n;
  n.inputs = {value_info("x", {-1, 3, 9, 8})};
  n.outputs = {value_info("y", {-1, 6})};
  const auto weight = [&](const std::string& name, const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent;
    const double spread = 1.4 / std::sqrt(static_cast<double>(count / shape[0]));
    n.constants.push_back(
        floats(name, shape, random_numbers(name, static_cast<size_t>(count), spread)));
  };
  const auto conv = [&](const std::string& name, const std::string& x, int64_t stride,
                        int64_t groups) {
    n.nodes.push_back(node(
        "Conv", name, {x, name + ".w"}, {name + ".c"},
        {attribute("pads", std::vector<int64_t>{1, 1, 1, 1}),
         attribute("strides", std::vector<int64_t>{stride, stride}), attribute("group", groups)}));
    n.nodes.push_back(node("BatchNormalization", name + ".bn",
                           {name + ".c", "scale", "shift", "shift", "scale"}, {name + ".b"}));
    n.nodes.push_back(node("Relu", name + ".relu", {name + ".b"}, {name}));
  };
  n.constants.push_back(floats("scale", {16}, std::vector<float>(16, 1.2f)));
  n.constants.push_back(floats("shift", {16}, random_numbers("shift", 16, 0.3)));
  weight("one.w", {16, 3, 3, 3});
  weight("two.w", {16, 8, 3, 3});
  weight("three.w", {16, 16, 3, 3});
  weight("head", {6, 16});
  conv("one", "x", 1, 1);
  conv("two", "one", 1, 2);
  n.nodes.push_back(node("Add", "sum", {"one", "two"}, {"s"}));
  conv("three", "s", 2, 1);
  n.nodes.push_back(node("GlobalAveragePool", "mean", {"three"}, {"m"}));
  n.nodes.push_back(node("Flatten", "flat", {"m"}, {"f"}));
  n.nodes.push_back(node("Gemm", "head", {"f", "head"}, {"g"}, {attribute("transB", int64_t{1})}));
  n.nodes.push_back(node("Softmax", "softmax", {"g"}, {"y"}, {attribute("axis", int64_t{-1})}));
  return n.bytes();
}

// Smooth random images [3, 9, 8] whose label is of no use.
class Waves final : public ImageDataset {
 public:
  int64_t size() const override { return 200; }
  int64_t label(int64_t i) const override { return i % 6; }
  std::string name(int64_t i) const override { return fmt::format("wave {}", i); }
  Image image(int64_t i) const override {
    Random random(static_cast<uint64_t>(i));
    Image image;
    for (int c = 0; c < 3; ++c) {
      const double fx = random.normal();
      const double fy = random.normal();
      const double phase = 6 * random.uniform();
      for (int p = 0; p < 72; ++p) {
        image.values.push_back(static_cast<float>(std::sin(fx * (p % 8) + fy * (p / 8) + phase)));
      }
    }
    return image;
  }
};

struct ImageJob {
  ImageJob() {
    write_bytes(folder / "net.onnx", network_file());
    request.model = folder / "net.onnx";
    request.output = folder / "out.bitsmith";
    request.calibration = folder / "net.onnx";  // a file whose time is part of the key
    request.images = {std::make_shared<Waves>(), Preprocessing(), 0};
    request.overrides = {"code.bits=[2, 3, 4, 8]", "code.group=[0, 16]", "code.symmetric=false",
                         "calibrate.sequences=40"};
    request.budget.bits = 6;
    request.threads = 2;
  }
  CompressReport run(const CompressRequest& wanted) {
    SilentProgress silent;
    return compress(wanted, silent);
  }

  TemporaryFolder folder{std::filesystem::is_directory("/dev/shm")
                             ? std::filesystem::path("/dev/shm")
                             : std::filesystem::temp_directory_path()};
  CompressRequest request;
};

TEST(CompressImages, MeetsTheBudgetAndSaysWhatWasLost) {
  ImageJob job;
  std::vector<double> kl;
  for (const double bits : {4.5, 6.0, 9.0}) {
    job.request.budget.bits = bits;
    const CompressReport report = job.run(job.request);
    EXPECT_LE(report.bpw(), bits);
    EXPECT_EQ(report.matrices.size(), 4u);
    ASSERT_TRUE(report.accuracy && report.accuracy->comparison);
    EXPECT_FALSE(report.quality);
    EXPECT_EQ(report.accuracy->images, 40);
    kl.push_back(report.accuracy->comparison->kl_nats.value);
  }
  EXPECT_GT(kl[0], kl[1]);
  EXPECT_GT(kl[1], kl[2]);
  EXPECT_LT(kl[2], 1e-3);
  const Model written = open_model(job.request.output);
  EXPECT_EQ(Preprocessing::from_json(written.metadata.at("preprocessing")), Preprocessing());
  EXPECT_EQ(written.metadata.at("label_offset"), 0);
}

TEST(CompressImages, APointOfASweepIsWhatCompressMakes) {
  ImageJob job;
  SilentProgress silent;
  const SweepReport report = sweep(job.request, {6, 9}, {}, silent);
  ASSERT_EQ(report.points.size(), 2u);
  job.request.budget.bits = 9;
  const CompressReport written = job.run(job.request);
  EXPECT_EQ(report.points[1].accuracy->to_json(), written.accuracy->to_json());
  EXPECT_EQ(report.points[1].tensor_bytes, written.plan.tensor_bytes);
  EXPECT_GT(report.points[0].accuracy->comparison->kl_nats.value,
            report.points[1].accuracy->comparison->kl_nats.value);
  MeasurementData few;
  few.images = {select_images(job.request.images->dataset, {0, 1, 2}), Preprocessing(), 0};
  EXPECT_EQ(sweep(job.request, {9}, few, silent).points[0].accuracy->images, 3);
}

// Activations as codes too: what is measured is what would be written.
TEST(CompressImages, ASweepCodesActivations) {
  ImageJob job;
  job.request.overrides.push_back("activations={observer={id=\"min_max\"}}");
  SilentProgress silent;
  const SweepReport report = sweep(job.request, {9}, {}, silent);
  job.request.budget.bits = 9;
  const CompressReport written = job.run(job.request);
  EXPECT_GT(written.coded_activations, 0);
  EXPECT_EQ(report.points[0].accuracy->to_json(), written.accuracy->to_json());
  EXPECT_EQ(report.points[0].tensor_bytes, written.plan.tensor_bytes);
}

TEST(CompressImages, SameBytesForAnyNumberOfThreadsAndAfterAnyStop) {
  ImageJob job;
  job.run(job.request);
  const std::string bytes = read_bytes(job.request.output);
  std::filesystem::remove(job.request.output);
  for (const int threads : {1, 3}) {
    CompressRequest other = job.request;
    other.threads = threads;
    job.run(other);
    EXPECT_EQ(read_bytes(other.output), bytes) << threads;
    std::filesystem::remove(other.output);
  }
  StopAfter counter;
  compress(job.request, counter);
  std::filesystem::remove(job.request.output);
  for (int stop = 1; stop < counter.calls(); stop += 5) {
    StopAfter stopping(stop);
    EXPECT_THROW(compress(job.request, stopping), Stopped);
    job.run(job.request);
    ASSERT_EQ(read_bytes(job.request.output), bytes) << "stopped at call " << stop;
    std::filesystem::remove(job.request.output);
  }
}

TEST(CompressImages, SmallCodesSeeTheStatisticsOfPatches) {
  ImageJob job;
  job.request.budget = {};
  double kl[2] = {};
  for (const bool feedback : {false, true}) {
    CompressRequest request = job.request;
    request.recipe = feedback ? "gptq" : "clip";
    request.overrides = {"code.bits=3", "code.group=0", "calibrate.sequences=40"};
    kl[feedback ? 1 : 0] = job.run(request).accuracy->comparison->kl_nats.value;
  }
  EXPECT_LT(kl[1], 0.8 * kl[0]);
}

TEST(CompressImages, SaysWhatItNeeds) {
  ImageJob job;
  const auto message = [&](const CompressRequest& request) {
    return error_of(ErrorCode::kInvalidArgument, [&] { job.run(request); });
  };
  CompressRequest without = job.request;
  without.calibration.clear();
  without.images.reset();
  EXPECT_THAT(message(without), HasSubstr("--calibration"));
  CompressRequest text = job.request;
  text.overrides.push_back("calibrate.length=16");
  EXPECT_THAT(message(text), HasSubstr("calibrate.length is 16: that is for texts"));
  CompressRequest larger = job.request;
  larger.images->preprocessing.scale = 2;  // values are taken as they are
  EXPECT_EQ(job.run(larger).matrices.size(), 4u);
}

// Of two outputs there is no KL: a choice of codes is refused, one code is not.
TEST(CompressImages, NetworksOfTwoOutputsAreNotSurveyed) {
  ImageJob job;
  onnx_testing::Network n;
  n.inputs = {value_info("x", {-1, 3, 9, 8})};
  n.outputs = {value_info("a", {-1, 4, 7, 6}), value_info("b", {-1, 2, 7, 6})};
  for (const auto& [name, outputs] : {std::pair("a", int64_t{4}), std::pair("b", int64_t{2})}) {
    const std::string weight = std::string(name) + ".w";
    n.constants.push_back(floats(weight, {outputs, 3, 3, 3},
                                 random_numbers(weight, static_cast<size_t>(27 * outputs), 0.3)));
    n.nodes.push_back(node("Conv", name, {"x", weight}, {name}));
  }
  write_bytes(job.folder / "net.onnx", n.bytes());
  EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { job.run(job.request); }),
              HasSubstr("has 2 outputs"));
  CompressRequest one = job.request;
  one.recipe = "gptq";
  one.budget = {};
  one.overrides = {"code.bits=4", "code.group=0", "calibrate.sequences=20"};
  SilentProgress silent;
  EXPECT_FALSE(plan_only(one, silent).plan.predicted_kl_nats);
  EXPECT_FALSE(job.run(one).accuracy);
}

// A network without batch norms or calibration keeps its values where they are.
TEST(CompressImages, NeedsNoImagesForCodesThatLookAtWeightsOnly) {
  ImageJob job;
  CompressRequest request = job.request;
  request.recipe = "nearest";
  request.overrides = {};
  request.budget = {};
  request.calibration.clear();
  request.images.reset();
  const CompressReport report = job.run(request);
  EXPECT_FALSE(report.accuracy);
  EXPECT_LT(report.bpw(), 8);
}

// Recipes whose networks run on integers: the file holds what was planned, and the executor finds
// nothing to compute in floats.
TEST(CompressImages, ActivationsBecomeCodesAndTheNetworkIntegers) {
  ImageJob job;
  job.request.budget = {};
  double kl[2] = {};
  for (const char* recipe : {"w8a8", "w4a8"}) {
    CompressRequest request = job.request;
    request.recipe = recipe;
    request.overrides = {"calibrate.sequences=40"};
    const CompressReport report = job.run(request);
    EXPECT_EQ(report.coded_activations, 6);  // x, one, two, s, three, m
    EXPECT_EQ(report.corrected_biases, 4);   // the last layer has got one
    ASSERT_TRUE(report.arithmetic.has_value());
    EXPECT_TRUE(report.arithmetic->integer_only()) << report.arithmetic->text();
    ASSERT_TRUE(report.accuracy && report.accuracy->comparison);
    kl[recipe == std::string("w4a8") ? 1 : 0] = report.accuracy->comparison->kl_nats.value;
    const Model written = open_model(request.output);
    EXPECT_TRUE(network_arithmetic(written).integer_only());
    EXPECT_EQ(written.parameter_bytes(), report.plan.tensor_bytes);
    EXPECT_NE(written.graph.find("one.relu.scale"), kNoValue);
  }
  EXPECT_LT(kl[0], 1e-2);
  EXPECT_GT(kl[1], kl[0]);
  for (const MatrixReport& matrix : job.run([&] {
                                         CompressRequest request = job.request;
                                         request.recipe = "w4a8";
                                         request.overrides = {"calibrate.sequences=40"};
                                         return request;
                                       }())
                                        .matrices) {
    const bool is_end = matrix.name == "one.w" || matrix.name == "head";
    EXPECT_EQ(matrix.scheme, is_end ? "int8 row sym" : "int4 row sym") << matrix.name;
  }
}

TEST(CompressImages, ActivationsCountInTheBudgetAndSurviveAStop) {
  ImageJob job;
  job.request.overrides.push_back("code.symmetric=true");
  job.request.overrides.push_back("code.group=0");
  job.request.overrides.push_back("activations={bits=6, observer={id='entropy'}}");
  const CompressReport report = job.run(job.request);
  EXPECT_LE(report.bpw(), 6);
  EXPECT_GT(report.arithmetic->integer_multiply_adds, 0);  // some matrices may stay as they are
  const std::string bytes = read_bytes(job.request.output);
  std::filesystem::remove(job.request.output);
  StopAfter stopping(12);
  EXPECT_THROW(compress(job.request, stopping), Stopped);
  job.request.threads = 1;
  job.run(job.request);
  EXPECT_EQ(read_bytes(job.request.output), bytes);
}

TEST(CompressImages, RangesWithoutImagesComeFromBatchNorms) {
  ImageJob job;
  CompressRequest request = job.request;
  request.recipe = "w8a8-data-free";
  request.overrides = {};
  request.budget = {};
  request.calibration.clear();
  request.images.reset();
  const CompressReport report = job.run(request);
  EXPECT_EQ(report.coded_activations, 6);
  EXPECT_TRUE(report.arithmetic->integer_only()) << report.arithmetic->text();
}

TEST(CompressImages, LanguageModelsHaveNoActivationCodes) {
  const TemporaryFolder folder;
  write_tiny_model(folder / "model");
  CompressRequest request;
  request.model = folder / "model";
  request.output = folder / "out.bitsmith";
  request.recipe = "w8a8";
  SilentProgress silent;
  EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { compress(request, silent); }),
              HasSubstr("[activations]"));
}

}  // namespace
}  // namespace bitsmith::testing

// The whole pipeline on small models: the same bytes whatever happens on the way, budgets to the
// byte, and what must be refused.
#include "pipeline/compress.h"
#include "pipeline/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "core/output_file.h"
#include "families/families_testing.h"
#include "formats/checkpoint.h"
#include "pipeline/job.h"
#include "pipeline/pipeline_testing.h"
#include "pipeline/sweep.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_bytes;
using testing::StopAfter;
using testing::Stopped;
using testing::TinyJob;
using testing::write_bytes;

// One recipe of each kind: a choice, statistics without a choice, neither.
std::vector<CompressRequest> requests_of(const TinyJob& job) {
  CompressRequest gptq = job.request;
  gptq.recipe = "gptq";
  gptq.budget = {};
  gptq.overrides = {"code.group=16", "calibrate.sequences=5", "calibrate.length=24"};
  CompressRequest nearest = job.request;
  nearest.recipe = "nearest";
  nearest.budget = {};
  nearest.overrides = {"code.bits=3"};
  nearest.calibration = "";
  return {job.request, gptq, nearest};
}

TEST(Compress, TheSameBytesForAnyNumberOfThreadsAndAnyMemory) {
  for (const bool tied : {false, true}) {
    TinyJob job(nlohmann::json{{"tie_word_embeddings", tied}});
    for (const CompressRequest& request : requests_of(job)) {
      SCOPED_TRACE(fmt::format("{}, tied {}", request.recipe, tied));
      const std::string expected = job.compressed(request);
      ASSERT_GT(expected.size(), 10000u);
      for (const int threads : {1, 3}) {
        CompressRequest other = request;
        other.threads = threads;
        EXPECT_TRUE(job.compressed(other) == expected) << threads << " threads";
        // So little that all activations lie on disk.
        const Job planned(other);
        const bool surveyed = planned.has_choice();
        const auto sizes = plan_calibration(planned.model, planned.calibration_request());
        other.ram_bytes =
            planned.memory(planned.recipe.sequences > 0 ? &sizes : nullptr, surveyed).fixed_bytes;
        EXPECT_TRUE(job.compressed(other) == expected) << threads << " threads, spilled";
      }
    }
  }
}

// At 8 bits next to nothing is lost, whatever the family: norms behind layers, caps, windows and
// gelu are where the original has them, in checkpoints, in GGUF files and after transforms.
TEST(Compress, GemmasLoseNothingAtEightBits) {
  for (const std::string family : {"gemma", "gemma2", "gemma3_text"}) {
    json changes = testing::gemma_fields(family);
    changes["model_type"] = family;
    if (family != "gemma") changes["query_pre_attn_scalar"] = 24;  // what GGUF can express
    TinyJob job(changes);
    for (const char* recipe : {"gptq", "quarot", "smoothquant", "awq", "gguf-mix"}) {
      SCOPED_TRACE(family + " " + recipe);
      CompressRequest request = job.request;
      request.recipe = recipe;
      request.budget = {};
      request.overrides = {"calibrate.sequences=5", "calibrate.length=24"};
      if (std::string_view(recipe) == "gguf-mix") {
        request.format = "gguf";
        request.output = job.folder / "out.gguf";
        request.type = "Q8_0";
      } else {
        request.overrides.push_back("code.bits=8");
        request.overrides.push_back("code.group=16");
      }
      if (std::string_view(recipe) == "quarot") request.overrides.push_back("activations.bits=8");
      SilentProgress silent;
      const CompressReport report = compress(request, silent);
      EXPECT_LT(report.quality->divergence->kl_nats.value, 0.01);
      const Model written = open_model(request.output);
      EXPECT_EQ(written.config["model_type"], family);
    }
  }
}

// Text that the model writes itself is part of the job.
TEST(Compress, TheSameBytesWithoutAText) {
  TinyJob job;
  CompressRequest request = job.request;
  request.calibration = "";
  const std::string expected = job.compressed(request);
  request.threads = 3;
  EXPECT_TRUE(job.compressed(request) == expected);
  request.seed = 2;
  EXPECT_FALSE(job.compressed(request) == expected);
}

// A run that was stopped leaves its records and no output.
bool stopped_after(const TinyJob&, const CompressRequest& request, int calls) {
  StopAfter progress(calls);
  try {
    compress(request, progress);
    return false;
  } catch (const Stopped&) {
    EXPECT_FALSE(std::filesystem::exists(request.output));
    return true;
  }
}

TEST(Compress, StoppedAnywhereItGoesOnToTheSameBytes) {
  for (const bool tied : {false, true}) {
    TinyJob job(json{{"tie_word_embeddings", tied}, {"num_hidden_layers", 1}});
    job.request.overrides = {"code.bits=[2, 8]", "code.group=16", "code.symmetric=false",
                             "calibrate.sequences=2", "calibrate.length=12"};
    for (const CompressRequest& request : requests_of(job)) {
      SCOPED_TRACE(fmt::format("{}, tied {}", request.recipe, tied));
      const bool mix = request.recipe == job.request.recipe;
      if (tied && !mix) continue;
      const std::string expected = job.compressed(request);
      // Stopped once, at every step.
      int steps = 1;
      for (; stopped_after(job, request, steps); ++steps) {
        ASSERT_TRUE(job.compressed(request) == expected) << "after a stop at step " << steps;
        ASSERT_FALSE(std::filesystem::exists(job.partial()));
      }
      EXPECT_GT(steps, 10);
      EXPECT_TRUE(read_bytes(request.output) == expected);
      std::filesystem::remove(request.output);
      if (!mix) continue;
      // Stopped again and again, ever a little later.
      for (int calls = 1; stopped_after(job, request, calls); ++calls) {
      }
      EXPECT_TRUE(read_bytes(request.output) == expected);
      std::filesystem::remove(request.output);
    }
  }
}

TEST(Compress, WhatAnEarlierRunLeftIsUsed) {
  TinyJob job;
  StopAfter counting;
  compress(job.request, counting);
  std::filesystem::remove(job.request.output);
  ASSERT_TRUE(stopped_after(job, job.request, counting.calls() - 1));  // nearly finished
  StopAfter progress;
  const CompressReport report = compress(job.request, progress);
  EXPECT_TRUE(report.resumed);
  EXPECT_THAT(progress.phases(), ::testing::Not(::testing::Contains("survey")));
  EXPECT_THAT(counting.phases(), ::testing::Contains("survey"));
}

TEST(Compress, RecordsOfAnotherJobAreDropped) {
  TinyJob job;
  const std::string expected = job.compressed(job.request);
  CompressRequest other = job.request;
  other.budget.bits = 3.4;
  StopAfter counting;
  compress(other, counting);
  std::filesystem::remove(other.output);
  ASSERT_TRUE(stopped_after(job, other, counting.calls() - 1));
  EXPECT_TRUE(job.compressed(job.request) == expected);
  EXPECT_FALSE(job.report.resumed);
  // The same job afresh, if the user asks for it.
  ASSERT_TRUE(stopped_after(job, job.request, counting.calls() - 1));
  CompressRequest restarted = job.request;
  restarted.restart = true;
  EXPECT_TRUE(job.compressed(restarted) == expected);
  EXPECT_FALSE(job.report.resumed);
}

TEST(Compress, DamagedRecordsAreMadeAgain) {
  TinyJob job;
  StopAfter counting;
  compress(job.request, counting);
  const std::string expected = read_bytes(job.request.output);
  std::filesystem::remove(job.request.output);
  const char* const records[] = {"block-0003.json", "tensor-0004.bin", "tensor-0015.bin",
                                 "survey.json"};
  for (const char* record : records) {
    SCOPED_TRACE(record);
    ASSERT_TRUE(stopped_after(job, job.request, counting.calls() - 1));
    const std::string bytes = read_bytes(job.partial() / record);
    ASSERT_FALSE(bytes.empty());
    write_bytes(job.partial() / record, bytes.substr(0, bytes.size() / 2));
    EXPECT_TRUE(job.compressed(job.request) == expected) << "half of it";
    if (!std::string_view(record).starts_with("tensor")) continue;
    ASSERT_TRUE(stopped_after(job, job.request, counting.calls() - 1));
    std::string flipped = bytes;
    flipped[bytes.size() / 3] ^= 4;
    write_bytes(job.partial() / record, flipped);
    EXPECT_TRUE(job.compressed(job.request) == expected) << "a flipped bit";
    ASSERT_TRUE(stopped_after(job, job.request, counting.calls() - 1));
    std::filesystem::remove(job.partial() / record);
    EXPECT_TRUE(job.compressed(job.request) == expected) << "gone";
  }
}

TEST(Compress, TheFileIsWhatWasPlanned) {
  for (const bool tied : {false, true}) {
    TinyJob job(nlohmann::json{{"tie_word_embeddings", tied}});
    for (const CompressRequest& request : requests_of(job)) {
      SCOPED_TRACE(fmt::format("{}, tied {}", request.recipe, tied));
      SilentProgress silent;
      const CompressReport planned = plan_only(request, silent);
      EXPECT_FALSE(std::filesystem::exists(request.output));
      const CompressReport report = compress(request, silent);
      EXPECT_EQ(report.plan.picks, planned.plan.picks);
      EXPECT_EQ(report.plan.tensor_bytes, planned.plan.tensor_bytes);
      EXPECT_LE(report.file_bytes, planned.file_bytes);  // an upper estimate
      EXPECT_EQ(report.file_bytes, std::filesystem::file_size(request.output));
      const Model written = open_checkpoint(request.output);
      const Model original = open_model(request.model);
      EXPECT_EQ(written.parameter_bytes(), report.plan.tensor_bytes);
      EXPECT_EQ(written.parameter_count(), original.parameter_count());
      EXPECT_EQ(written.tokenizer_files, original.tokenizer_files);
      EXPECT_EQ(written.graph.to_json(), original.graph.to_json());
      EXPECT_EQ(written.metadata.at("recipe").at("id"), request.recipe);
      ASSERT_EQ(report.matrices.size(), tied ? 15u : 16u);
      for (const MatrixReport& row : report.matrices) {
        SCOPED_TRACE(row.name);
        const CodedTensor& tensor = written.parameter(row.name);
        EXPECT_EQ(tensor.bytes.size(), row.bytes);
        EXPECT_EQ(tensor.scheme.label(), row.scheme);
        // The error that is reported is that of the bytes.
        const std::vector<float> q = tensor.decode_all();
        const std::vector<float> w = original.parameter(row.name).decode_all();
        double error = 0;
        double power = 0;
        for (size_t i = 0; i < w.size(); ++i) {
          const double x = w[i];
          error += (x - q[i]) * (x - q[i]);
          power += x * x;
        }
        ASSERT_TRUE(row.relative_mse.has_value());
        EXPECT_NEAR(*row.relative_mse, error / power, 1e-5 * error / power);
      }
      for (const auto& [name, tensor] : original.parameters) {  // norms
        if (tensor.shape.size() > 1) continue;
        EXPECT_TRUE(std::ranges::equal(written.parameter(name).bytes, tensor.bytes)) << name;
      }
      EXPECT_EQ(report.quality.has_value(), !request.calibration.empty());
      if (report.quality) {
        EXPECT_GT(report.quality->divergence->kl_nats.value, 0);
        EXPECT_EQ(report.quality->windows, 5);
      }
      std::filesystem::remove(request.output);
    }
  }
}

TEST(Compress, SizesAreMetToTheByte) {
  TinyJob job;
  const Job looked(job.request);
  const auto weights = static_cast<uint64_t>(looked.model.parameter_count());
  for (const uint64_t eighths : {25, 33, 50, 70}) {  // of a bit per weight
    CompressRequest request = job.request;
    const uint64_t size = looked.overhead_bytes + weights * eighths / 64;
    request.budget = {std::nullopt, size};
    const std::string bytes = job.compressed(request);
    EXPECT_LE(bytes.size(), size);
    EXPECT_GT(bytes.size() + 16384, size) << "much of the budget is not used";
  }
  for (const double bits : {3.1, 4.0, 6.0, 40.0}) {
    CompressRequest request = job.request;
    request.budget = {bits, std::nullopt};
    job.compressed(request);
    EXPECT_LE(job.report.plan.bpw(), bits);
  }
}

TEST(Compress, MoreBitsLoseLess) {
  TinyJob job;
  double previous = 1e9;
  for (const double bits : {3.1, 4.5, 8.0}) {
    CompressRequest request = job.request;
    request.budget.bits = bits;
    job.compressed(request);
    const double now = job.report.quality->divergence->kl_nats.value;
    EXPECT_LT(now, previous);
    previous = now;
  }
}

TEST(Compress, WithRoomForEverythingNothingIsLost) {
  TinyJob job;
  CompressRequest request = job.request;
  request.budget.bits = 16;
  SilentProgress silent;
  const CompressReport report = compress(request, silent);
  EXPECT_EQ(report.plan.tensor_bytes, report.plan.original_bytes);
  EXPECT_EQ(report.quality->divergence->kl_nats.value, 0);
  EXPECT_EQ(*report.plan.predicted_kl_nats, 0);
}

// A checkpoint is a model like any other.
TEST(Compress, ACompressedModelCanBeCompressedFurther) {
  TinyJob job;
  CompressRequest first = job.request;
  first.recipe = "nearest";
  first.overrides = {"code.bits=8"};
  first.calibration = "";
  first.budget = {};
  first.output = job.folder / "first.bitsmith";
  SilentProgress silent;
  compress(first, silent);
  for (CompressRequest request : requests_of(job)) {
    SCOPED_TRACE(request.recipe);
    request.model = first.output;
    compress(request, silent);
    const Model middle = open_model(first.output);
    const Model last = open_model(request.output);
    EXPECT_LT(last.parameter_bytes(), middle.parameter_bytes());
    std::filesystem::remove(request.output);
  }
  // The scheme that it has already leaves it as it is.
  CompressRequest again = first;
  again.model = first.output;
  again.output = job.folder / "again.bitsmith";
  compress(again, silent);
  const Model middle = open_model(first.output);
  for (const auto& [name, tensor] : open_model(again.output).parameters) {
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, middle.parameter(name).bytes)) << name;
  }
}

TEST(Compress, WeightsThatAreNotFiniteAreRefusedByName) {
  for (const char* tensor : {"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight",
                             "model.layers.0.input_layernorm.weight", "lm_head.weight"}) {
    for (const float wrong : {NAN, -INFINITY}) {
      TinyJob job(json::object(), [&](const std::string& name, std::vector<float>& weights) {
        if (name == tensor) weights[7] = wrong;
      });
      std::vector<CompressRequest> requests = requests_of(job);
      requests.push_back(job.request);
      requests.back().calibration = "";  // text that such a model writes
      for (const CompressRequest& request : requests) {
        SCOPED_TRACE(fmt::format("{} in {}, {}", wrong, tensor, request.recipe));
        SilentProgress silent;
        EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { compress(request, silent); }),
                    AllOf(HasSubstr(fmt::format("'{}'", tensor)), HasSubstr("only finite")));
        EXPECT_FALSE(std::filesystem::exists(request.output));
        EXPECT_FALSE(std::filesystem::exists(job.partial()));
      }
    }
  }
}

TEST(Compress, AnImpossibleBudgetIsRefusedBeforeAnyWork) {
  TinyJob job;
  CompressRequest request = job.request;
  for (const Budget& budget : {Budget{1.0, std::nullopt}, Budget{std::nullopt, 20000}}) {
    request.budget = budget;
    StopAfter progress;
    EXPECT_THAT(error_of(ErrorCode::kImpossibleBudget, [&] { compress(request, progress); }),
                ::testing::Not(HasSubstr("bug")));
    EXPECT_EQ(progress.calls(), 0);
    EXPECT_FALSE(std::filesystem::exists(job.partial()));
  }
}

TEST(Compress, MissingFilesAreNamed) {
  TinyJob job;
  CompressRequest request = job.request;
  request.calibration = job.folder / "no.txt";
  SilentProgress silent;
  EXPECT_THAT(error_of(ErrorCode::kNotFound, [&] { compress(request, silent); }),
              HasSubstr("no.txt"));
  EXPECT_FALSE(std::filesystem::exists(job.partial()));
  request = job.request;
  request.output = job.folder / "nowhere" / "out.bitsmith";
  EXPECT_THAT(error_of(ErrorCode::kEnvironment, [&] { compress(request, silent); }),
              HasSubstr("nowhere"));
  EXPECT_FALSE(std::filesystem::exists(job.folder / "nowhere"));
  request.output = job.folder.path();
  EXPECT_THAT(error_of(ErrorCode::kEnvironment, [&] { compress(request, silent); }),
              HasSubstr("it is a folder"));
  request.output = "/proc/out.bitsmith";
  EXPECT_THAT(error_of(ErrorCode::kEnvironment, [&] { compress(request, silent); }),
              HasSubstr("/proc/out.bitsmith"));
}

// As on a disk that is full: whatever does not fit is not there, the old output stays, and with
// more room the run goes on.
TEST(Compress, AFullDiskLeavesNoHalfOfAFile) {
  TinyJob job;
  const std::string expected = job.compressed(job.request);
  write_bytes(job.request.output, "the old file");
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // writes then fail with EFBIG
  SilentProgress silent;
  // A record, a tensor, the checkpoint itself.
  for (const rlim_t bytes : {rlim_t{100}, rlim_t{2000}, rlim_t{20000}}) {
    SCOPED_TRACE(bytes);
    const rlimit limit{bytes, old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const std::string message =
        error_of(ErrorCode::kEnvironment, [&] { compress(job.request, silent); });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
    EXPECT_THAT(message, AllOf(HasSubstr("cannot write"), HasSubstr("File too large")));
    EXPECT_EQ(read_bytes(job.request.output), "the old file");
    if (!std::filesystem::exists(job.partial())) continue;  // no step was finished
    for (const auto& entry : std::filesystem::directory_iterator(job.partial())) {
      EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
    }
  }
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(job.compressed(job.request) == expected);
  EXPECT_TRUE(job.report.resumed);
}

TEST(Sweep, GivesACurveAndNoFile) {
  TinyJob job;
  SilentProgress silent;
  const SweepReport report = sweep(job.request, {3.1, 8.0}, {}, silent);
  ASSERT_EQ(report.points.size(), 2u);
  EXPECT_LE(report.points[0].bpw, 3.1);
  EXPECT_LE(report.points[1].bpw, 8);
  EXPECT_GT(report.points[0].quality->divergence->kl_nats.value,
            report.points[1].quality->divergence->kl_nats.value);
  EXPECT_FALSE(std::filesystem::exists(job.request.output));
  EXPECT_FALSE(std::filesystem::exists(job.partial()));
  // A point is what compress makes of the same budget.
  CompressRequest request = job.request;
  request.budget.bits = 3.1;
  job.compressed(request);
  EXPECT_EQ(job.report.plan.tensor_bytes, report.points[0].tensor_bytes);
  EXPECT_EQ(job.report.quality->to_json(), report.points[0].quality->to_json());
  EXPECT_THAT(error_of(ErrorCode::kImpossibleBudget,
                       [&] {
                         sweep(job.request, {8.0, 1.0}, {}, silent);
                       }),
              HasSubstr("1.000 bits per weight"));
}

// The project's real model, with few short sequences.
TEST(CompressClassics, GptqIsBetterThanNearestAtTheSameSize) {
  const testing::TemporaryFolder folder;
  CompressRequest request;
  request.model = testing::source_folder() / "models/classics-7m";
  request.output = folder / "out.bitsmith";
  request.recipe = "gptq";
  request.overrides = {"code.bits=3", "code.group=64", "calibrate.sequences=8",
                       "calibrate.length=128"};
  SilentProgress silent;
  const CompressReport gptq = compress(request, silent);
  EXPECT_TRUE(open_model(request.output).unused_tensors.empty());
  request.overrides.push_back("solve.matrices={id='nearest'}");
  const CompressReport nearest = compress(request, silent);
  EXPECT_EQ(gptq.plan.tensor_bytes, nearest.plan.tensor_bytes);
  EXPECT_LT(gptq.quality->divergence->kl_nats.value, nearest.quality->divergence->kl_nats.value);
}

// Bytes of entropy-coded recipes are those that the file has.
TEST(CompareClassics, CountsBytesAsTheFileHoldsThem) {
  const testing::TemporaryFolder folder;
  CompressRequest request;
  request.model = testing::source_folder() / "models/classics-7m";
  MeasurementData data;
  data.text = folder / "text.txt";
  testing::write_bytes(data.text, "It was the best of times, it was the worst of times.");
  request.output = folder / "out.bitsmith";
  request.recipe = "lossless";
  SilentProgress silent;
  const CompareReport report = compare(request, {"lossless", "nearest"}, data, silent);
  const CompressReport written = compress(request, silent);
  ASSERT_EQ(report.points.size(), 2u);
  EXPECT_EQ(report.points[0].tensor_bytes, written.tensor_bytes);
  EXPECT_LT(report.points[0].bpw, 11);
  request.recipe = "nearest";
  request.output = folder / "nearest.bitsmith";
  EXPECT_EQ(report.points[1].tensor_bytes, compress(request, silent).tensor_bytes);
}

}  // namespace
}  // namespace bitsmith

// compress --to gguf: sizes to the byte, what is in the file, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/gguf_export.h"
#include "pipeline/job.h"
#include "pipeline/pipeline_testing.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_bytes;
using testing::StopAfter;
using testing::Stopped;
using testing::TinyJob;

// Rows of 256 hold every type, rows of 288 only blocks of 32.
json config_changes(bool tied) {
  return {{"hidden_size", 256},         {"intermediate_size", 288}, {"num_attention_heads", 8},
          {"num_key_value_heads", 4},   {"num_hidden_layers", 1},   {"vocab_size", 260},
          {"tie_word_embeddings", tied}};
}

struct GgufJob : TinyJob {
  explicit GgufJob(bool tied = false) : TinyJob(config_changes(tied)) {
    request.output = folder / "out.gguf";
    request.format = "gguf";
    request.recipe = "gguf-mix";
    request.overrides = {"code.codec=['q2_k', 'q4_k', 'q6_k']", "calibrate.sequences=3",
                         "calibrate.length=24"};
    request.budget.bits = 4.6;
  }
};

CompressRequest of_type(const GgufJob& job, const std::string& type) {
  CompressRequest request = job.request;
  request.type = type;
  request.budget = {};
  return request;
}

TEST(OutputGguf, TheFileIsWhatWasPlanned) {
  for (const bool tied : {false, true}) {
    GgufJob job(tied);
    for (const char* type : {"", "q3_k", "Q4_K_M", "F16", "nvfp4"}) {
      SCOPED_TRACE(fmt::format("'{}', tied {}", type, tied));
      const CompressRequest request = *type == '\0' ? job.request : of_type(job, type);
      SilentProgress silent;
      const CompressReport planned = plan_only(request, silent);
      const CompressReport report = compress(request, silent);
      EXPECT_EQ(report.plan.picks, planned.plan.picks);
      EXPECT_EQ(report.file_bytes, std::filesystem::file_size(request.output));
      if (std::string_view(type) == "nvfp4") {
        EXPECT_LE(report.file_bytes, planned.file_bytes);
      } else {
        EXPECT_EQ(report.file_bytes, planned.file_bytes);
      }
      const Model written = open_model(request.output);
      const Model original = open_model(request.model);
      EXPECT_EQ(written.format, "gguf");
      EXPECT_TRUE(written.unused_tensors.empty());
      EXPECT_EQ(written.parameter_count(), original.parameter_count());
      for (const MatrixReport& row : report.matrices) {
        SCOPED_TRACE(row.name);
        const CodedTensor& tensor = written.parameter(row.name);
        EXPECT_EQ(tensor.scheme.label(), row.scheme);
        EXPECT_EQ(tensor.bytes.size(), row.bytes);
        EXPECT_LT(*row.relative_mse, 0.2);
        const bool narrow = row.name.ends_with("down_proj.weight");
        const bool k_quants = std::string_view(type) != "F16";
        EXPECT_EQ(!row.restriction.empty(), narrow && k_quants) << row.restriction;
      }
      for (const auto& [name, tensor] : original.parameters) {
        if (tensor.shape.size() > 1) continue;
        EXPECT_EQ(written.parameter(name).scheme.label(), "f32");
        EXPECT_EQ(written.parameter(name).decode_all(), tensor.decode_all());
      }
      std::filesystem::remove(request.output);
    }
  }
}

TEST(OutputGguf, SizesAreMetToTheByte) {
  GgufJob job;
  SilentProgress silent;
  const CompressReport report = compress(job.request, silent);
  CompressRequest request = job.request;
  for (const uint64_t less : {0, 1}) {
    request.budget = {std::nullopt, report.file_bytes - less};
    job.compressed(request);
    EXPECT_LE(job.report.file_bytes, *request.budget.file_bytes);
    EXPECT_GT(job.report.file_bytes + 20000, *request.budget.file_bytes);
  }
  request.budget = {std::nullopt, 30000};
  EXPECT_THAT(error_of(ErrorCode::kImpossibleBudget, [&] { compress(request, silent); }),
              HasSubstr("ask for at least"));
}

TEST(OutputGguf, TheSameBytesForAnyNumberOfThreadsAndAfterAnyStop) {
  GgufJob job;
  const std::string expected = job.compressed(job.request);
  CompressRequest request = job.request;
  request.threads = 3;
  EXPECT_TRUE(job.compressed(request) == expected);
  StopAfter counting;
  compress(job.request, counting);
  for (int stop = 1; stop < counting.calls(); stop += 7) {
    StopAfter progress(stop);
    EXPECT_THROW(compress(job.request, progress), Stopped);
    ASSERT_TRUE(job.compressed(job.request) == expected) << "after a stop at step " << stop;
  }
}

// What GGUF has no type for becomes F16 where it would have stayed.
TEST(OutputGguf, ACompressedModelBecomesAGgufFile) {
  GgufJob job;
  CompressRequest first = job.request;
  first.format = "bitsmith";
  first.recipe = "nearest";
  first.overrides = {"code.bits=8"};
  first.calibration = "";
  first.budget = {};
  first.output = job.folder / "first.bitsmith";
  SilentProgress silent;
  compress(first, silent);
  CompressRequest second = job.request;
  second.model = first.output;
  second.budget.bits = 40;  // room for everything
  const CompressReport report = compress(second, silent);
  for (const MatrixReport& row : report.matrices) {
    EXPECT_EQ(row.scheme, "f16") << row.name;
    EXPECT_LT(*row.relative_mse, 1e-6) << row.name;
  }
}

TEST(OutputGguf, RefusesBeforeAnyWork) {
  const GgufJob job;
  const auto refusal = [&](const CompressRequest& request) {
    StopAfter progress;
    const std::string message =
        error_of(ErrorCode::kInvalidArgument, [&] { compress(request, progress); });
    EXPECT_EQ(progress.calls(), 0);
    return message;
  };
  CompressRequest request = job.request;
  request.recipe = "gptq-mix";
  request.overrides.clear();
  EXPECT_THAT(refusal(request), HasSubstr("'int', which GGUF has no type for"));
  request = job.request;
  request.overrides.push_back("encode.id='rans'");
  EXPECT_THAT(refusal(request), HasSubstr("leave out --entropy"));
  EXPECT_THAT(refusal(of_type(job, "Q4_K_X")), HasSubstr("Q4_K_M"));
  EXPECT_THAT(refusal(of_type(job, "IQ2_XXS")), HasSubstr("not known"));
  request = of_type(job, "Q4_K");
  request.format = "bitsmith";
  EXPECT_THAT(refusal(request), HasSubstr("--to gguf"));
  request.format = "onnx";
  EXPECT_THAT(error_of(ErrorCode::kNotFound, [&] { Job looked(request); }), HasSubstr("gguf"));
}

// llama-quantize's files of this model, made at commit c392e509: 4331456 bytes as Q4_K_M, 663552
// more as Q5_K_M, 641024 less as Q3_K_M.
TEST(OutputGguf, MixturesAreThoseOfLlamaCpp) {
  GgufJob job;
  const auto bytes = [&](const char* type) {
    CompressRequest request = of_type(job, type);
    request.model = testing::source_folder() / "models/classics-7m";
    request.calibration = "";
    const Job looked(request);
    uint64_t sum = 0;
    for (const MatrixTask& task : looked.tasks) sum += task.bytes[0];
    return sum;
  };
  EXPECT_EQ(bytes("Q5_K_M") - bytes("Q4_K_M"), 663552u);
  EXPECT_EQ(bytes("q4_k_m") - bytes("Q3_K_M"), 641024u);
}

}  // namespace
}  // namespace bitsmith

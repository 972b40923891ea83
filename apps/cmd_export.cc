// `bitsmith export`: a model as a file that other engines read.
#include <fmt/core.h>

#include <memory>

#include "commands.h"
#include "core/interrupt.h"
#include "core/mapped_file.h"
#include "core/output_file.h"
#include "core/progress.h"
#include "formats/gguf_export.h"
#include "formats/gguf_types.h"
#include "model_options.h"
#include "report/units.h"
#include "solvers/solver.h"

namespace bitsmith {
namespace {

struct ExportOptions {
  std::string model;
  std::string output;
  std::string format = "gguf";
  std::string type;
  int steps = 20;
  int threads = 0;
  bool quiet = false;
};

// Encodes by `clip`: the nearest codes after a search for each group's range.
std::vector<std::byte> encode(const CodedTensor& tensor, const Scheme& scheme, int steps,
                              ThreadPool& pool) {
  const std::vector<float> weights = tensor.decode_all();
  const Solver& solver = Registry<Solver>::instance().get("clip");
  const Options options(solver.info().options, {{"steps", steps}}, "solver 'clip'");
  const Problem problem{.weights = weights, .shape = tensor.matrix(), .scheme = scheme};
  return solver.solve(problem, options, pool).bytes;
}

// The codec of one of GGUF's types; empty for none.
std::string codec_of(const std::string& name) {
  if (name.empty()) return "";
  const GgmlType* type = find_ggml_type_named(name);
  if (type == nullptr || type->codec.empty()) {
    fail(ErrorCode::kInvalidArgument, "--type '{}' is not one of GGUF's types that bitsmith writes",
         name);
  }
  return std::string(type->codec);
}

void print(const ExportOptions& options, const GgufReport& report) {
  fmt::print("{}: {} of tensors, {:.3f} bits per weight\n", options.output,
             format_bytes(report.bytes), bits_per_weight(report.bytes, report.weights));
  for (const GgufReport::Fallback& fallback : report.fallbacks) {
    fmt::print("  {} became {}: {}\n", fallback.tensor, fallback.codec, fallback.reason);
  }
}

void run_export(const ExportOptions& options) {
  catch_interrupts();
  if (options.format != "gguf") {
    fail(ErrorCode::kInvalidArgument, "--format '{}' is not known; there is: gguf", options.format);
  }
  check_writable(options.output);
  const Model model = open_model(options.model);
  ThreadPool pool(options.threads);
  TerminalProgress terminal;
  SilentProgress silent;
  Progress& progress = options.quiet ? static_cast<Progress&>(silent) : terminal;
  progress.begin("exporting", static_cast<double>(model.parameter_bytes()));
  double done = 0;
  GgufExport settings;
  settings.codec = codec_of(options.type);
  settings.encode = [&](const CodedTensor& tensor, const Scheme& scheme) {
    return encode(tensor, scheme, options.steps, pool);
  };
  settings.after_write = [&](const CodedTensor& tensor) {
    release_pages(tensor.bytes);
    done += static_cast<double>(tensor.bytes.size());
    progress.update(done, tensor.name);
  };
  const GgufReport report = export_gguf(options.output, model, settings);
  progress.end();
  print(options, report);
}

}  // namespace

void add_export(CLI::App& app) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command =
      app.add_subcommand("export", "Write a model as a file that other engines read.");
  command->footer(
      "Examples:\n"
      "  bitsmith export models/classics-7m -o classics.gguf --type q8_0\n"
      "  bitsmith export small.bitsmith -o small.gguf            codecs that GGUF has stay as they "
      "are\n"
      "Types: f32 f16 bf16 q8_0 q6_k q5_k q5_1 q5_0 q4_k q4_1 q4_0 iq4_nl iq4_xs q3_k q2_k\n"
      "       tq1_0 tq2_0 mxfp4 nvfp4. Scales are searched, without calibration; `bitsmith "
      "compress --to gguf`\n"
      "calibrates, and chooses the type of each matrix.");
  command->add_option("MODEL", options->model, "a bitsmith file, GGUF file or Hugging Face folder")
      ->required();
  command->add_option("-o,--output", options->output, "the file to write")->required();
  command->add_option("--format", options->format, "gguf")->capture_default_str();
  command->add_option("--type", options->type,
                      "type of the matrices; without it each keeps its own, or becomes f16");
  command->add_option("--steps", options->steps, "ranges tried for each scale")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads (default: one per processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--quiet", options->quiet, "no progress on standard error");
  command->callback([options] { run_export(*options); });
}

}  // namespace bitsmith

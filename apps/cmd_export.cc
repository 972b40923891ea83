// `bitsmith export`: a model as a file that other engines read.
#include <fmt/core.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "core/interrupt.h"
#include "core/mapped_file.h"
#include "core/output_file.h"
#include "core/progress.h"
#include "formats/gguf_export.h"
#include "formats/gguf_types.h"
#include "formats/onnx_export.h"
#include "model_options.h"
#include "report/units.h"
#include "solvers/solver.h"

namespace bitsmith {
namespace {

struct ExportOptions {
  std::string model;
  std::string output;
  std::string format = "gguf";
  bool as_float = false;
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

void run_gguf_export(const ExportOptions& options, const Model& model) {
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

void run_onnx_export(const ExportOptions& options, const Model& model) {
  const OnnxReport report = export_onnx(options.output, model, options.as_float);
  fmt::print("{}: {} ({:.3f} bits per weight), opset {}, read again and compared\n", options.output,
             format_bytes(report.bytes), bits_per_weight(report.bytes, model.parameter_count()),
             report.opset);
  std::map<std::string, std::vector<std::string>> tensors;  // by what became of them
  for (const OnnxNote& note : report.notes) tensors[note.text].push_back(note.tensor);
  for (const auto& [text, names] : tensors) {
    const std::string more =
        names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : std::string();
    fmt::print("  {}{}: {}\n", names[0], more, text);
  }
}

void run_export(const ExportOptions& options, const CLI::App& command) {
  catch_interrupts();
  const auto only_for = [&](const char* option, const char* format) {
    if (command.count(option) == 0 || options.format == format) return;
    fail(ErrorCode::kInvalidArgument, "{} is for --format {}", option, format);
  };
  if (options.format != "gguf" && options.format != "onnx") {
    fail(ErrorCode::kInvalidArgument, "--format '{}' is not known; there are: gguf, onnx",
         options.format);
  }
  only_for("--float", "onnx");
  for (const char* option : {"--type", "--steps", "--threads"}) only_for(option, "gguf");
  check_writable(options.output);
  const Model model = open_model(options.model);
  if (options.format == "onnx") return run_onnx_export(options, model);
  run_gguf_export(options, model);
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
      "  bitsmith export net.bitsmith -o net.onnx --format onnx          QDQ: int8 weights stay "
      "int8\n"
      "  bitsmith export net.bitsmith -o net.onnx --format onnx --float  weights as float32\n"
      "GGUF is for language models. Types: f32 f16 bf16 q8_0 q6_k q5_k q5_1 q5_0 q4_k q4_1 q4_0\n"
      "iq4_nl iq4_xs q3_k q2_k tq1_0 tq2_0 mxfp4 nvfp4. Scales are searched, without calibration;\n"
      "`bitsmith compress --to gguf` calibrates, and chooses the type of each matrix.\n"
      "ONNX is for networks of images or other tensors of fixed extents. Weights of the codec "
      "`int` "
      "with\n"
      "one scale for each output channel, or in groups where a layer multiplies floats, stay "
      "codes;\n"
      "others become float32, and it is said which. Quantized activations stay quantized, also "
      "with "
      "--float.");
  command
      ->add_option("MODEL", options->model,
                   "a bitsmith file, GGUF file, ONNX file or Hugging Face folder")
      ->required();
  command->add_option("-o,--output", options->output, "the file to write")->required();
  command->add_option("--format", options->format, "gguf or onnx")->capture_default_str();
  command->add_flag("--float", options->as_float, "onnx: all weights as float32");
  command->add_option("--type", options->type,
                      "gguf: type of the matrices; without it each keeps its own, or becomes f16");
  command->add_option("--steps", options->steps, "gguf: ranges tried for each scale")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "gguf: threads (default: one per processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--quiet", options->quiet, "no progress on standard error");
  command->callback([options, command] { run_export(*options, *command); });
}

}  // namespace bitsmith

// `bitsmith export`: a model as a file that other engines read.
#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "core/interrupt.h"
#include "core/mapped_file.h"
#include "core/output_file.h"
#include "core/progress.h"
#include "core/registry.h"
#include "formats/folder_format.h"
#include "formats/gguf_export.h"
#include "formats/gguf_types.h"
#include "formats/huggingface_export.h"
#include "formats/onnx_export.h"
#include "model_options.h"
#include "report/units.h"
#include "solvers/direct.h"

namespace bitsmith {
namespace {

struct ExportOptions {
  std::string model;
  std::string output;
  std::string format = "gguf";
  bool as_float = false;
  std::string type;
  std::string dense = "f32";
  int steps =
      8;  // 20 lower the squared error of q4_k by another 0.5 %, and take half as long again
  int threads = 0;
  bool quiet = false;
};

// The nearest codes after a search for each group's range.
std::vector<std::byte> encode(const CodedTensor& tensor, const Scheme& scheme, int steps,
                              ThreadPool& pool) {
  const MatrixShape shape = tensor.matrix();
  std::vector<float> weights(static_cast<size_t>(shape.rows * shape.cols));
  pool.run(ceil_div(shape.rows, kChunkRows), [&](int64_t chunk, int) {
    const int64_t row = chunk * kChunkRows;
    tensor.decode(row, std::min(kChunkRows, shape.rows - row), weights.data() + row * shape.cols);
  });
  const Problem problem{.weights = weights, .shape = shape, .scheme = scheme};
  check_problem(problem, "clip");
  return code_directly(problem, steps, {}, pool).bytes;
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

// Tensors by what became of them, in the order of the first ones.
template <class Note, class Text>
std::vector<std::pair<std::string, std::vector<const Note*>>> grouped(
    const std::vector<Note>& notes, const Text& text_of) {
  std::vector<std::pair<std::string, std::vector<const Note*>>> groups;
  for (const Note& note : notes) {
    const std::string text = text_of(note);
    auto group = std::ranges::find_if(groups, [&](const auto& g) { return g.first == text; });
    if (group == groups.end()) {
      groups.emplace_back(text, std::vector<const Note*>());
      group = groups.end() - 1;
    }
    group->second.push_back(&note);
  }
  return groups;
}

template <class Note>
std::string first_of(const std::vector<const Note*>& notes) {
  const std::string& name = notes.front()->tensor;
  return notes.size() == 1 ? name : fmt::format("{} and {} more", name, notes.size() - 1);
}

void print(const ExportOptions& options, const GgufReport& report) {
  fmt::print("{}: {} of tensors, {:.3f} bits per weight\n", options.output,
             format_bytes(report.bytes), bits_per_weight(report.bytes, report.weights));
  const auto text = [](const GgufReport::Fallback& f) { return f.codec + ": " + f.reason; };
  for (const auto& [what, tensors] : grouped(report.fallbacks, text)) {
    fmt::print("  {} became {}\n", first_of(tensors), what);
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
    check_interrupt();
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
  const auto text_of = [](const OnnxNote& note) { return note.text; };
  for (const auto& [text, notes] : grouped(report.notes, text_of)) {
    fmt::print("  {}: {}\n", first_of(notes), text);
  }
}

bool is_folder_format(const std::string& format) {
  return format == kPlainFolder || Registry<FolderFormat>::instance().find(format) != nullptr;
}

std::vector<std::string> export_formats() {
  std::vector<std::string> names = {"gguf", "onnx", kPlainFolder};
  for (const FolderFormat* f : Registry<FolderFormat>::instance().all()) {
    names.push_back(f->info().id);
  }
  return names;
}

void run_folder_export(const ExportOptions& options, const Model& model) {
  TerminalProgress terminal;
  SilentProgress silent;
  Progress& progress = options.quiet ? static_cast<Progress&>(silent) : terminal;
  progress.begin("exporting", static_cast<double>(model.parameter_bytes()));
  double done = 0;
  FolderExport settings;
  settings.format = options.format;
  settings.dense = options.dense;
  settings.after_write = [&](const CodedTensor& tensor) {
    check_interrupt();
    release_pages(tensor.bytes);
    done += static_cast<double>(tensor.bytes.size());
    progress.update(done, tensor.name);
  };
  const FolderReport report = export_folder(options.output, model, settings);
  progress.end();
  fmt::print(
      "{}: {} of tensors, {:.3f} bits per weight, {} matrices as codes; read again and "
      "compared\n",
      options.output, format_bytes(report.bytes), bits_per_weight(report.bytes, report.weights),
      report.coded);
  if (report.unequal_layers > 0) {
    fmt::print(
        "  layers that vLLM joins (q, k, v; gate, up) are coded unlike in {} places: it cannot "
        "load "
        "them; compress by a recipe of one code, such as gptq\n",
        report.unequal_layers);
  }
  const auto text_of = [](const FolderReport::Note& note) { return note.text; };
  for (const auto& [text, notes] : grouped(report.notes, text_of)) {
    double largest = 0;
    for (const FolderReport::Note* note : notes) largest = std::max(largest, note->error);
    const std::string error =
        largest == 0 ? "exact" : fmt::format("changed by up to {:.2e} of its size", largest);
    fmt::print("  {} became {}: {}\n", first_of(notes), text, error);
  }
}

void run_export(const ExportOptions& options, const CLI::App& command) {
  catch_interrupts();
  const auto only_for = [&](const char* option, const char* format) {
    if (command.count(option) == 0 || options.format == format) return;
    fail(ErrorCode::kInvalidArgument, "{} is for --format {}", option, format);
  };
  const bool folder = is_folder_format(options.format);
  if (!folder && options.format != "gguf" && options.format != "onnx") {
    fail(ErrorCode::kInvalidArgument, "--format '{}' is not known; there are: {}", options.format,
         fmt::join(export_formats(), ", "));
  }
  only_for("--float", "onnx");
  if (!folder && command.count("--dense") > 0) {
    fail(ErrorCode::kInvalidArgument, "--dense is for folders: --format {} and others",
         kPlainFolder);
  }
  for (const char* option : {"--type", "--steps", "--threads"}) only_for(option, "gguf");
  if (!folder) check_writable(options.output);
  Model model = open_model(options.model);
  settle_buffers(model);
  if (folder) return run_folder_export(options, model);
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
      "  bitsmith export small.bitsmith -o folder --format gptq    for vLLM and transformers; or "
      "awq,\n"
      "                                                          compressed-tensors, safetensors\n"
      "GGUF is for language models. Types: f32 f16 bf16 q8_0 q6_k q5_k q5_1 q5_0 q4_k q4_1 q4_0\n"
      "iq4_nl iq4_xs q3_k q2_k tq1_0 tq2_0 mxfp4 nvfp4. Scales are searched, without calibration;\n"
      "`bitsmith compress --to gguf` calibrates, and chooses the type of each matrix.\n"
      "Folders (gptq, awq, compressed-tensors) keep the codes of codec `int` with their scales, "
      "bit for\n"
      "bit, where the format has them, as 4 bits in groups of 64 or 128; compressed-tensors also "
      "those\n"
      "of the recipes fp8, mxfp4, mxfp8 and nvfp4. Embedding, head and all else become numbers "
      "of\n"
      "--dense. safetensors: all weights as numbers, for any engine.\n"
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
  command->add_option("-o,--output", options->output, "the file or folder to write")->required();
  command
      ->add_option("--format", options->format,
                   fmt::format("one of {}", fmt::join(export_formats(), ", ")))
      ->capture_default_str();
  command
      ->add_option("--dense", options->dense,
                   "folders: what coded weights become that stay no codes: f32 (exact), f16, bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str();
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

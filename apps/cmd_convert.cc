// `bitsmith convert`: a model from one kind of file to another, losing nothing unless that is
// allowed.
#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "core/interrupt.h"
#include "core/mapped_file.h"
#include "core/progress.h"
#include "formats/convert.h"
#include "model_options.h"
#include "report/table.h"
#include "report/units.h"

namespace bitsmith {
namespace {

struct ConvertOptions {
  std::string model;
  double read_bits = 0;
  ConvertRequest request;
  std::string output;
  bool json = false;
  bool quiet = false;
};

// One line for all tensors that went from one scheme to another.
struct Kind {
  std::string from;
  std::string to;
  int64_t tensors = 0;
  double error = 0;
};

std::vector<Kind> kinds_of(const ConvertReport& report) {
  std::vector<Kind> kinds;
  for (const TensorChange& row : report.rows) {
    auto kind = std::ranges::find_if(
        kinds, [&](const Kind& k) { return k.from == row.from && k.to == row.to; });
    if (kind == kinds.end()) kind = kinds.insert(kind, {row.from, row.to});
    ++kind->tensors;
    kind->error = std::max(kind->error, row.error);
  }
  return kinds;
}

std::string error_label(double error) {
  return error == 0 ? "exact" : fmt::format("up to {:.2e} of its size", error);
}

void print(const ConvertOptions& options, const ConvertReport& report) {
  if (options.json) {
    nlohmann::json rows = nlohmann::json::array();
    for (const TensorChange& row : report.rows) {
      rows.push_back(
          {{"tensor", row.tensor}, {"from", row.from}, {"to", row.to}, {"error", row.error}});
    }
    const nlohmann::json document = {
        {"format", report.format}, {"tensor_bytes", report.bytes}, {"tensors", rows}};
    fmt::print("{}\n", document.dump(2));
    return;
  }
  Table table({left("from"), left("to"), right("tensors"), left("change")});
  for (const Kind& kind : kinds_of(report)) {
    table.add_row({kind.from, kind.to, format_count(kind.tensors), error_label(kind.error)});
  }
  fmt::print("{}\n{}: {}, {} of tensors, {:.3f} bits per weight; read again and compared\n",
             table.text(), options.output, report.format, format_bytes(report.bytes),
             bits_per_weight(report.bytes, report.weights));
}

void run_convert(ConvertOptions& options) {
  catch_interrupts();
  Model model = open_model(options.model);
  apply_read_bits(model, options.read_bits);
  settle_buffers(model);
  TerminalProgress terminal;
  SilentProgress silent;
  Progress& progress = options.quiet ? static_cast<Progress&>(silent) : terminal;
  progress.begin("converting", static_cast<double>(model.parameter_bytes()));
  double done = 0;
  options.request.output = options.output;
  options.request.after_write = [&](const CodedTensor& tensor) {
    check_interrupt();
    release_pages(tensor.bytes);
    done += static_cast<double>(tensor.bytes.size());
    progress.update(std::min(done, static_cast<double>(model.parameter_bytes())), tensor.name);
  };
  options.request.after_compare = [](const CodedTensor& tensor) { release_pages(tensor.bytes); };
  const ConvertReport report = convert_model(model, options.request);
  progress.end();
  print(options, report);
}

}  // namespace

void add_convert(CLI::App& app) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* command = app.add_subcommand(
      "convert", "A model from one kind of file to another, every weight compared.");
  command->footer(
      "Examples:\n"
      "  bitsmith convert gptq-folder model.gguf        symmetric 4 bits in groups of 32 become "
      "Q4_0\n"
      "  bitsmith convert model.gguf model.bitsmith\n"
      "  bitsmith convert model.gguf folder --format awq\n"
      "  bitsmith convert small.bitsmith folder         numbers that every engine reads\n"
      "  bitsmith convert eight.bitsmith four.bitsmith --read-bits 4.5\n"
      "Codes stay the codes they are where both formats have them; what has no place becomes "
      "float32,\n"
      "which loses nothing, or float16 with --lossy. Nothing is quantized anew: `bitsmith export "
      "--type`\n"
      "and `bitsmith compress` do that. With --read-bits the input is read at fewer bits than it "
      "has:\n"
      "integer codes are rounded again, sums of codes lose their last terms, everything else "
      "stays.");
  command
      ->add_option("MODEL", options->model,
                   "a bitsmith file, GGUF file or Hugging Face folder, also of GPTQ, AWQ or others")
      ->required();
  add_read_bits_option(*command, options->read_bits);
  command->add_option("OUTPUT", options->output, "a file *.gguf or *.bitsmith, or a folder")
      ->required();
  command->add_option(
      "--format", options->request.format,
      "gguf, bitsmith, safetensors, gptq, awq, compressed-tensors (default: by name)");
  command->add_flag("--lossy", options->request.lossy,
                    "what has no place becomes float16; the table says what that changes");
  command->add_flag("--json", options->json, "print JSON");
  command->add_flag("--quiet", options->quiet, "no progress on standard error");
  command->callback([options] { run_convert(*options); });
}

}  // namespace bitsmith

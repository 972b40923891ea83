// `bitsmith imatrix`: importance matrices for llama.cpp's tools, measured, converted, merged.
#include <fmt/core.h>

#include <memory>
#include <string>
#include <vector>

#include "compress_options.h"
#include "core/interrupt.h"
#include "core/output_file.h"
#include "formats/imatrix.h"
#include "pipeline/importance.h"
#include "report/units.h"
#include "size_option.h"

namespace bitsmith {
namespace {

struct ImatrixOptions {
  std::string model;
  std::string calibration;
  std::vector<std::string> merge;
  std::string output;
  std::string ram = "4GB";
  ImportanceRequest request;
  bool quiet = false;
};

bool is_older_format(const std::string& path) { return path.ends_with(".dat"); }

void run_imatrix(ImatrixOptions& options, const CLI::App& command) {
  catch_interrupts();
  if (options.model.empty() == options.merge.empty()) {
    fail(ErrorCode::kInvalidArgument, "name a model to measure, or matrices to --merge");
  }
  for (const char* option : {"--calibration", "--sequences", "--length", "--ram", "--threads"}) {
    if (!options.merge.empty() && command.count(option) > 0) {
      fail(ErrorCode::kInvalidArgument, "{} is for measuring; --merge only adds up", option);
    }
  }
  check_writable(options.output);
  ImportanceMatrix matrix;
  if (options.model.empty()) {
    std::vector<ImportanceMatrix> parts;
    for (const std::string& path : options.merge) parts.push_back(open_imatrix(path));
    matrix = merged(parts);
  } else {
    TerminalProgress terminal;
    SilentProgress silent;
    Progress& progress = options.quiet ? static_cast<Progress&>(silent) : terminal;
    options.request.model = options.model;
    options.request.calibration.text = options.calibration;
    options.request.calibration.ram_bytes = parse_size(options.ram, "--ram");
    matrix = measure_importance(options.request, progress);
  }
  if (is_older_format(options.output)) {
    write_older_imatrix(options.output, matrix);
  } else {
    write_imatrix(options.output, matrix);
  }
  fmt::print("{}: {} matrices, {} sequences{}\n", options.output,
             format_count(static_cast<int64_t>(matrix.entries.size())),
             format_count(matrix.chunk_count),
             matrix.chunk_size > 0 ? fmt::format(" of {} tokens", matrix.chunk_size) : "");
}

}  // namespace

void add_imatrix(CLI::App& app) {
  auto options = std::make_shared<ImatrixOptions>();
  CLI::App* command =
      app.add_subcommand("imatrix", "An importance matrix for llama.cpp's llama-quantize.");
  command->footer(
      "Examples:\n"
      "  bitsmith imatrix models/classics-7m --calibration text.txt -o imatrix.gguf\n"
      "  llama-quantize --imatrix imatrix.gguf model-f16.gguf model.gguf Q4_K_M\n"
      "  bitsmith imatrix --merge old.dat other.gguf -o both.gguf     merges and changes the "
      "format\n"
      "The mean square of every input of every matrix. `bitsmith compress --to gguf` needs none: "
      "it\n"
      "knows how inputs go together, which is what makes its files better.");
  command->add_option("MODEL", options->model, "a bitsmith file, GGUF file or Hugging Face folder");
  command->add_option("--calibration", options->calibration,
                      "plain text (default: sampled from the model)");
  command->add_option("--merge", options->merge, "matrices to add up instead, of either format");
  command->add_option("-o,--output", options->output, "*.gguf, or *.dat for the older format")
      ->required();
  command->add_option("--sequences", options->request.calibration.sequences, "windows of the text")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--length", options->request.calibration.length,
                   "tokens of a window (default: the model's context, at most 512)")
      ->check(CLI::Range(2, 1 << 20));
  command->add_option("--ram", options->ram, "for activations; what is more lies on disk")
      ->capture_default_str();
  command->add_option("--threads", options->request.threads, "threads (default: one per processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--quiet", options->quiet, "no progress on standard error");
  command->callback([options, command] { run_imatrix(*options, *command); });
}

}  // namespace bitsmith

// `bitsmith compress`.
#include "compress_options.h"
#include "compress_report.h"
#include "core/interrupt.h"

namespace bitsmith {
namespace {

CompressReport compress_resumably(const CompressRequest& request, Progress& progress) {
  try {
    return compress(request, progress);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInterrupted) throw;
    fail(ErrorCode::kInterrupted,
         "{}; the same command goes on from the last finished step ('{}.partial')", error.what(),
         request.output.string());
  }
}

}  // namespace

void add_compress(CLI::App& app) {
  struct State {
    CompressOptions options;
    bool json = false;
    bool tensors = false;
    bool quiet = false;
  };
  auto state = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "compress", "Compress a model to a budget, check the written file and report what was lost.");
  command->footer(
      "Examples:\n"
      "  bitsmith compress models/classics-7m --bits 3.0 --calibration novels.txt -o "
      "small.bitsmith\n"
      "  bitsmith compress models/classics-7m --to gguf --size 3MB --calibration novels.txt -o "
      "small.gguf\n"
      "  bitsmith compress models/classics-7m --to gguf --type Q4_K_M -o small.gguf\n"
      "  bitsmith compress net.onnx --bits 4 --calibration train.tar -o small.bitsmith\n"
      "  bitsmith compress net.onnx --recipe focused --calibration train.tar -o small.bitsmith\n\n"
      "Never evaluate on the text or the images that you calibrate with.\n"
      "Ctrl-C, a crash or kill -9 lose nothing: the same command goes on where it stopped. "
      "Finished\n"
      "steps lie in <output>.partial/ until the end.");
  state->options.add_common(*command);
  state->options.add_target(*command);
  command->add_option("-o,--output", state->options.request.output, "the file to write")
      ->required();
  command->add_flag("--restart", state->options.request.restart, "forget what an earlier run left");
  command->add_flag("--json", state->json, "print the report as JSON");
  command->add_flag("--tensors", state->tensors, "one row per tensor, not per role");
  command->add_flag("--quiet", state->quiet, "no progress on standard error");
  command->callback([state] {
    catch_interrupts();
    TerminalProgress bar;
    SilentProgress silent;
    Progress& progress = state->quiet ? static_cast<Progress&>(silent) : bar;
    const CompressReport report = compress_resumably(state->options.finish(), progress);
    if (state->json) {
      fmt::print("{}\n", report.to_json().dump(2));
    } else {
      print_compress_report(report, state->tensors);
    }
  });
}

}  // namespace bitsmith

// `bitsmith plan`.
#include "compress_options.h"
#include "compress_report.h"
#include "core/interrupt.h"

namespace bitsmith {

void add_plan(CLI::App& app) {
  struct State {
    CompressOptions options;
    bool json = false;
    bool tensors = false;
    bool quiet = false;
  };
  auto state = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "plan", "A dry run: the scheme of each tensor, exact sizes, predicted loss. Writes nothing.");
  command->footer(
      "Examples:\n"
      "  bitsmith plan models/classics-7m --bits 3.0\n"
      "  bitsmith plan models/classics-7m --size 3MB --tensors --json\n"
      "  bitsmith plan models/classics-7m --to gguf --size 3MB");
  state->options.add_common(*command);
  state->options.add_target(*command);
  command->add_flag("--json", state->json, "print the plan as JSON");
  command->add_flag("--tensors", state->tensors, "one row per tensor, not per role");
  command->add_flag("--quiet", state->quiet, "no progress on standard error");
  command->callback([state] {
    catch_interrupts();
    TerminalProgress bar;
    SilentProgress silent;
    Progress& progress = state->quiet ? static_cast<Progress&>(silent) : bar;
    const CompressReport report = plan_only(state->options.finish(), progress);
    if (state->json) {
      fmt::print("{}\n", report.to_json().dump(2));
    } else {
      print_compress_report(report, state->tensors);
    }
  });
}

}  // namespace bitsmith

// `bitsmith`: the command line.
#include <fmt/core.h>

#include "commands.h"
#include "compiler.h"
#include "program.h"

namespace {

constexpr const char* kFooter =
    "Start here:\n"
    "  bitsmith inspect MODEL                     what is in a model\n"
    "  bitsmith compress MODEL -o small.bitsmith --bits 4\n"
    "  bitsmith eval small.bitsmith --text book.txt --against MODEL\n"
    "  bitsmith run small.bitsmith \"Once upon a time\"\n"
    "Each command teaches by example: bitsmith COMMAND --help\n"
    "\n"
    "Exit codes: 0 done, 1 a bug of bitsmith, 2 wrong arguments, 3 not found, 4 corrupt file,\n"
    "  5 unsupported, 6 the system refused, 7 impossible budget, 130 interrupted";

void run(int argc, char** argv) {
  if (argc > 1 && bitsmith::is_compiler_command(argv[1])) bitsmith::exec_compiler(argv);

  CLI::App app("Makes trained neural networks small and fast, and runs them.", "bitsmith");
  app.footer(kFooter);
  app.set_version_flag("--version", "bitsmith " BITSMITH_VERSION);
  app.require_subcommand(0, 1);
  for (const auto& command : bitsmith::kCompilerCommands) {
    app.add_subcommand(command.name, command.summary);  // for the help; started above
  }
  bitsmith::add_run(app);
  bitsmith::add_eval(app);
  bitsmith::add_inspect(app);
  bitsmith::add_bench(app);
  bitsmith::add_export(app);
  bitsmith::add_convert(app);
  bitsmith::add_list(app);
  const bool helped = bitsmith::parse(app, argc, argv);
  if (!helped && app.get_subcommands().empty()) fmt::print("{}", app.help());
}

}  // namespace

int main(int argc, char** argv) {
  return bitsmith::run_program([&] { run(argc, argv); });
}

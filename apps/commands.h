// The commands of `bitsmith` that need no torch, each in its own file. Every function adds one
// subcommand, which runs when the command line is parsed and throws Error.
#pragma once

#include <CLI/CLI.hpp>

namespace bitsmith {

void add_inspect(CLI::App& app);
void add_eval(CLI::App& app);
void add_run(CLI::App& app);
void add_bench(CLI::App& app);
void add_export(CLI::App& app);
void add_convert(CLI::App& app);
void add_list(CLI::App& app);

}  // namespace bitsmith

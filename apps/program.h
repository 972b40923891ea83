// What both programs do with a command line and with errors: one line on standard error, an exit
// code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace bitsmith {

// Runs `body`, which parses the command line and so runs the command. An exception becomes a line
// that begins with "bitsmith: " and the exit code of its kind; so does output that could not be
// written (a full disk).
int run_program(const std::function<void()>& body);

// Parses: prints help or runs the command. Throws Error(kInvalidArgument) for a wrong command line,
// with a hint at the help; true if help was asked for.
bool parse(CLI::App& app, int argc, char** argv);

}  // namespace bitsmith

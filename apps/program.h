// What both programs do with a command line and with errors: one line on standard error, an exit
// code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace bitsmith {

// Runs `body`, which parses the command line and so runs the command. An exception becomes a line
// that begins with "bitsmith: " and the exit code of its kind; so does output that could not be
// written (a full disk).
int run_program(const std::function<void()>& body);

// Parses: prints help or runs the command. Throws Error(kInvalidArgument) for a wrong command line,
// with a hint at the help; true if help was asked for.
bool parse(CLI::App& app, int argc, char** argv);

// Throws kEnvironment, with the system's reason, if something could not be written to standard
// output.
void flush_output();

// Checks for CLI11, whose own let pass what they should not. A check returns what is wrong with the
// text, or nothing.

// Of 64 bits: CLI11 wraps negative numbers and cuts long ones.
std::string check_seed(const std::string& text);
// CLI::Range takes nan for a number in every range.
CLI::Validator number_from(double low, double high);

}  // namespace bitsmith

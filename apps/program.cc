#include "program.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <new>
#include <system_error>

#include "core/error.h"

namespace bitsmith {
namespace {

int report(ErrorCode code, std::string message) {
  std::ranges::replace(message, '\n', ' ');
  // Not by fmt::print, which throws if standard error is closed.
  std::fputs(fmt::format("bitsmith: {}\n", message).c_str(), stderr);
  return static_cast<int>(code);
}

// "COMMAND --help" of the command that was being parsed.
std::string help_command(const CLI::App& app) {
  const std::vector<CLI::App*> commands = app.get_subcommands();
  return commands.empty() ? "bitsmith --help"
                          : fmt::format("bitsmith {} --help", commands.front()->get_name());
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

}  // namespace

bool parse(CLI::App& app, int argc, char** argv) {
  const std::vector<std::string> commands = command_names(app);
  if (argc > 1 && argv[1][0] != '-' && std::ranges::count(commands, argv[1]) == 0) {
    fail(ErrorCode::kInvalidArgument, "there is no command '{}'; there are: {}", argv[1],
         fmt::join(commands, ", "));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);  // prints the help that was asked for
      return true;
    }
    fail(ErrorCode::kInvalidArgument, "{}; see {}", error.what(), help_command(app));
  }
  return false;
}

void flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  fail(ErrorCode::kEnvironment, "cannot write to standard output: {}", std::strerror(errno));
}

std::string check_seed(const std::string& text) {
  uint64_t seed = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, seed);
  if (error == std::errc() && rest == end) return "";
  return fmt::format("'{}' is no whole number from 0 to {}", text,
                     std::numeric_limits<uint64_t>::max());
}

CLI::Validator number_from(double low, double high) {
  const auto check = [low, high](std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high) return "";
    return fmt::format("'{}' is no number from {:g} to {:g}", text, low, high);
  };
  return CLI::Validator(check, fmt::format("FLOAT in [{:g} - {:g}]", low, high));
}

int run_program(const std::function<void()>& body) {
  // A file beyond the shell's limit is then an error of write(), which has a message.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    body();
    flush_output();
    return 0;
  } catch (const Error& error) {
    return report(error.code(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return report(ErrorCode::kEnvironment,
                  fmt::format("'{}': {}", error.path1().string(), error.code().message()));
  } catch (const std::system_error& error) {
    if (std::ferror(stdout) != 0) {  // fmt::print
      return report(ErrorCode::kEnvironment,
                    fmt::format("cannot write to standard output: {}", error.code().message()));
    }
    return report(ErrorCode::kEnvironment, error.what());
  } catch (const std::bad_alloc&) {
    return report(ErrorCode::kEnvironment, "out of memory");
  } catch (const std::exception& error) {
    report(ErrorCode::kEnvironment, fmt::format("this is a bug of bitsmith: {}", error.what()));
    return 1;
  }
}

}  // namespace bitsmith

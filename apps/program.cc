#include "program.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
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

int run_program(const std::function<void()>& body) {
  try {
    body();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      return report(ErrorCode::kEnvironment,
                    fmt::format("cannot write to standard output: {}", std::strerror(errno)));
    }
    return 0;
  } catch (const Error& error) {
    return report(error.code(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return report(ErrorCode::kEnvironment,
                  fmt::format("'{}': {}", error.path1().string(), error.code().message()));
  } catch (const std::system_error& error) {
    return report(ErrorCode::kEnvironment, error.what());
  } catch (const std::bad_alloc&) {
    return report(ErrorCode::kEnvironment, "out of memory");
  } catch (const std::exception& error) {
    report(ErrorCode::kEnvironment, fmt::format("this is a bug of bitsmith: {}", error.what()));
    return 1;
  }
}

}  // namespace bitsmith

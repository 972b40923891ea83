#include "compiler.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace bitsmith {

bool is_compiler_command(std::string_view name) {
  return std::ranges::any_of(kCompilerCommands,
                             [&](const CompilerCommand& command) { return command.name == name; });
}

void exec_compiler(char** argv) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path folder = self.parent_path();
  const std::array<std::filesystem::path, 2> places = {
      folder / "bitsmith-compiler",
      folder.parent_path() / "libexec" / "bitsmith" / "bitsmith-compiler"};
  for (const auto& program : places) {
    if (::access(program.c_str(), X_OK) != 0) continue;
    ::execv(program.c_str(), argv);
    fail(ErrorCode::kEnvironment, "'{}' cannot be started: {}", program.string(),
         std::strerror(errno));
  }
  fail(ErrorCode::kNotFound,
       "'{}' needs the program bitsmith-compiler, which is neither at {} nor at {}; build bitsmith "
       "with BITSMITH_TORCH=ON to have it",
       argv[1], places[0].string(), places[1].string());
}

}  // namespace bitsmith

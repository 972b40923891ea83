// The commands that need torch live in a second program, so that `bitsmith` itself starts at once.
#pragma once

#include <array>
#include <string_view>

namespace bitsmith {

struct CompilerCommand {
  const char* name;
  const char* summary;
};
inline constexpr std::array<CompilerCommand, 5> kCompilerCommands = {{
    {"compress", "Compress a model to a size or a quality, and measure what was lost."},
    {"plan", "A dry run: the scheme of each tensor, exact sizes, predicted loss."},
    {"sweep", "The curve of size against quality: compress to many budgets, measure each."},
    {"compare", "Recipes side by side on one model: bytes, quality, time and speed."},
    {"imatrix", "An importance matrix for llama.cpp's llama-quantize."},
}};

bool is_compiler_command(std::string_view name);

// Replaces this process by `bitsmith-compiler` with the same arguments; looks for it beside this
// program and in ../libexec/bitsmith/. Throws kNotFound if it is not there.
[[noreturn]] void exec_compiler(char** argv);

}  // namespace bitsmith

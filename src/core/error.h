// The one exception type of bitsmith, for bad data and a bad environment; our own bugs are
// assertions.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace bitsmith {

// What went wrong, in the classes a caller may want to tell apart. The value is the exit code of
// the command line (see `bitsmith --help`).
enum class ErrorCode {
  kInvalidArgument = 2,   // an option or a combination of options that cannot work
  kNotFound = 3,          // a file, tensor or method that is not there
  kCorrupt = 4,           // a file that breaks its format's rules
  kUnsupported = 5,       // a valid file that asks for something bitsmith does not do
  kEnvironment = 6,       // the operating system refused: disk full, no permission
  kImpossibleBudget = 7,  // no plan fits the budget
  kInterrupted = 130,     // the user stopped the work
};

// A message says what, where, expected, got, and what to do next, in one line.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }
  int exit_code() const { return static_cast<int>(code_); }

 private:
  ErrorCode code_;
};

// Throws Error with a message formatted by fmt.
template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Checks for our own bugs; kept in release builds because they guard memory.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace bitsmith

#define BITSMITH_ASSERT(condition)        \
  (static_cast<bool>(condition) ? void(0) \
                                : ::bitsmith::assertion_failed(#condition, __FILE__, __LINE__))

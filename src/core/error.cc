#include "core/error.h"

namespace bitsmith {

void assertion_failed(const char* condition, const char* file, int line) {
  throw std::logic_error(
      fmt::format("bitsmith bug: {}:{}: assertion '{}' does not hold", file, line, condition));
}

}  // namespace bitsmith

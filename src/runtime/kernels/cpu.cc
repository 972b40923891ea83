// The instruction sets this CPU has, and how to do without the better ones.
#include "runtime/kernels/cpu.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "runtime/kernels/targets.h"
#define HWY_WANT_AVX3_DL 1
#include "hwy/highway.h"

namespace bitsmith {
namespace {

// In Highway's masks a better target has a lower bit.
std::vector<int64_t> target_bits(int64_t mask) {
  std::vector<int64_t> bits;
  for (int64_t rest = mask & HWY_TARGETS; rest != 0; rest &= rest - 1) {
    bits.push_back(rest & (~rest + 1));
  }
  return bits;
}

void set_targets(int64_t mask) {
  hwy::SetSupportedTargetsForTest(mask);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// False if there is no such target.
bool limit_to(std::string_view name) {
  hwy::SetSupportedTargetsForTest(0);
  const int64_t supported = hwy::SupportedTargets();
  for (const int64_t bit : target_bits(supported)) {
    if (hwy::TargetName(bit) != name) continue;
    set_targets(supported & ~(bit - 1));
    return true;
  }
  set_targets(0);
  return name.empty();
}

const bool limited_by_environment = [] {
  const char* name = std::getenv("BITSMITH_TARGET");
  return name != nullptr && limit_to(name);
}();

}  // namespace

std::vector<std::string> cpu_targets() {
  std::vector<std::string> names;
  for (const int64_t bit : target_bits(hwy::SupportedTargets())) {
    names.emplace_back(hwy::TargetName(bit));
  }
  return names;
}

void limit_cpu_target(std::string_view name) {
  if (!limit_to(name)) fail(ErrorCode::kInvalidArgument, "this CPU has no target '{}'", name);
}

std::string cpu_target() { return cpu_targets().front(); }

}  // namespace bitsmith

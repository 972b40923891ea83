// What the kernels' tests share: every target of this CPU, and random numbers.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/random.h"
#include "runtime/kernels/cpu.h"

namespace bitsmith {

// A test that runs once for each target of this CPU.
class EachTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { limit_cpu_target(GetParam()); }
  void TearDown() override { limit_cpu_target(""); }
};

#define BITSMITH_EACH_TARGET(suite)                                            \
  INSTANTIATE_TEST_SUITE_P(Targets, suite, ::testing::ValuesIn(cpu_targets()), \
                           [](const auto& target) { return target.param; })

inline std::vector<float> normal_floats(Random& random, int64_t count, double sigma = 1.0) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = static_cast<float>(sigma * random.normal());
  return values;
}

}  // namespace bitsmith

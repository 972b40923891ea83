// What the codecs with shared power-of-two scales have in common: block size and scale rules.
#pragma once

#include <string>

#include "codecs/grid.h"

namespace bitsmith {

// Columns of a block of OCP Microscaling formats 1.0.
inline constexpr int64_t kMicroscalingBlock = 32;

inline OptionSpec e8m0_rule_option(const std::string& default_name) {
  return {"rule",
          default_name,
          "scale of a block: floor: OCP; ceil: cuts nothing; even: mantissas from 1.75 up; best: "
          "least error",
          -1e300,
          1e300,
          {"floor", "ceil", "even", "best"}};
}

inline ScaleRule parse_e8m0_rule(const std::string& name) {
  return name == "floor"  ? ScaleRule::kFloor
         : name == "ceil" ? ScaleRule::kCeil
         : name == "even" ? ScaleRule::kEven
                          : ScaleRule::kBest;
}

// "", or " best": the rule where it is not OCP's.
inline std::string rule_label(const Options& options) {
  const std::string& rule = options.text("rule");
  return rule == "floor" ? std::string() : " " + rule;
}

// Sign and magnitude k / 2^(bits-2), k in [0, 2^(bits-1)): numbers below 2.
inline Grid fixed_point_grid(int bits) {
  std::vector<float> magnitudes;
  const int count = 1 << (bits - 1);
  for (int k = 0; k < count; ++k) {
    magnitudes.push_back(static_cast<float>(2 * k) / static_cast<float>(count));
  }
  return Grid(signed_levels(magnitudes));
}

}  // namespace bitsmith

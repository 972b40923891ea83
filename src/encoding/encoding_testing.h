// Helpers of tests: symbols of every kind that is hard to code.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/random.h"
#include "encoding/entropy_coder.h"

namespace bitsmith::testing {

// `count` symbols below 2^bits whose probabilities fall like ratio^symbol; ratio 1 is uniform.
inline std::vector<uint8_t> geometric_symbols(size_t count, int bits, double ratio, uint64_t seed) {
  Random random(seed);
  const int alphabet = 1 << bits;
  std::vector<double> cumulative;
  double sum = 0;
  for (int s = 0; s < alphabet; ++s) cumulative.push_back(sum += std::pow(ratio, s));
  std::vector<uint8_t> symbols(count);
  for (uint8_t& symbol : symbols) {
    const double u = random.uniform() * sum;
    while (symbol + 1 < alphabet && cumulative[symbol] <= u) ++symbol;
  }
  return symbols;
}

// Nearest codes of a Gaussian source on a uniform grid of 2^bits points that spans 3 sigma each
// way: what integer codecs produce.
inline std::vector<uint8_t> gaussian_codes(size_t count, int bits, uint64_t seed) {
  Random random(seed);
  const double half = std::ldexp(1.0, bits - 1);
  std::vector<uint8_t> codes(count);
  for (uint8_t& code : codes) {
    const double x = std::floor(random.normal() * half / 3 + half);
    code = static_cast<uint8_t>(std::min(std::max(x, 0.0), 2 * half - 1));
  }
  return codes;
}

// Name and symbols below 2^bits; `count` of them.
inline std::vector<std::pair<std::string, std::vector<uint8_t>>> hard_symbols(size_t count,
                                                                              int bits) {
  std::vector<std::pair<std::string, std::vector<uint8_t>>> result;
  const auto last = static_cast<uint8_t>((1 << bits) - 1);
  result.emplace_back("uniform", geometric_symbols(count, bits, 1, 1));
  result.emplace_back("skewed", geometric_symbols(count, bits, 0.5, 2));
  result.emplace_back("very skewed", geometric_symbols(count, bits, 0.001, 3));
  result.emplace_back("zeros", std::vector<uint8_t>(count, 0));
  result.emplace_back("largest", std::vector<uint8_t>(count, last));
  std::vector<uint8_t> one(count, 0);
  if (count > 0) one[count / 2] = last;
  result.emplace_back("one is different", std::move(one));
  std::vector<uint8_t> ramp(count);
  for (size_t i = 0; i < count; ++i) ramp[i] = static_cast<uint8_t>(i) & last;
  result.emplace_back("ramp", std::move(ramp));
  return result;
}

}  // namespace bitsmith::testing

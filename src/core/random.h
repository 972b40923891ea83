// Random numbers that are the same on every machine, compiler and number of threads.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

namespace bitsmith {

// SplitMix64 (Steele, Lea, Flood 2014): one 64-bit state, period 2^64, passes BigCrush. Streams are
// made by seeding with seed and a stream name, never by splitting one stream among threads.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  Random(uint64_t seed, std::string_view stream) : state_(seed) {
    for (const char c : stream) {
      state_ = next() ^ static_cast<unsigned char>(c);
    }
  }

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

  // Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  // Uniform in [0, n), n > 0; the bias is below n / 2^64.
  uint64_t below(uint64_t n) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>((Wide{next()} * n) >> 64);
  }

  // Standard normal, by Box and Muller; the second value of each pair is discarded to stay
  // stateless.
  double normal() {
    const double u = 1.0 - uniform();
    const double v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

 private:
  uint64_t state_;
};

}  // namespace bitsmith

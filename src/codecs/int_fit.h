// Chooses the scale and the zero point of integer groups, 16 rows at a time.
#pragma once

#include <array>
#include <cstdint>

#include "codecs/codec.h"
#include "codecs/scales.h"

namespace bitsmith {

// The levels of a group are scale * (code - zero), code in [0, max_code].
//   asymmetric: zero is a whole number in [0, max_code], so the levels always include 0, and the
//               range of a group is widened to include it: a group of positive weights spends its
//               codes on [0, largest]. Rejected: a zero point of its own type, which would make
//               kernels multiply in floats.
//   symmetric:  zero is 2^(bits-1), or 1/2 for 1 bit; scales of binary16 and binary32 may be
//               negative.
struct IntGrid {
  IntGrid(int bits_in, bool symmetric_in, ScaleFormat scale_format_in)
      : bits(bits_in),
        symmetric(symmetric_in),
        scale_format(scale_format_in),
        max_code(static_cast<float>((1 << bits_in) - 1)),
        symmetric_zero(bits_in == 1 ? 0.5F : static_cast<float>(1 << (bits_in - 1))) {}
  int bits;
  bool symmetric;
  ScaleFormat scale_format;
  float unit = 1.0F;  // the tensor scale of scales.h
  float max_code;
  float symmetric_zero;
};

// The scale, of any precision, that puts the ends of the range low <= 0 <= high on the end codes,
// or, if symmetric, within them. Ranges whose ends are so far apart that levels would overflow are
// narrowed.
float widest_scale(const IntGrid& grid, float low, float high);

// The nearest code, as a float; ties go to the larger code. `inverse` is 1 / scale, or 0 for a
// group whose scale is 0. Defined for every input, NaN included.
inline float nearest_int_code(float w, float inverse, float zero, float max_code) {
  float x = w * inverse + zero;
  x = x > 0.0F ? x : 0.0F;
  x = x < max_code ? x : max_code;
  return static_cast<float>(static_cast<int32_t>(x + 0.5F));
}

inline float inverse_scale(float scale) { return scale != 0.0F ? 1.0F / scale : 0.0F; }

// A number of every row of a tile; loops over it become SIMD code.
inline constexpr int kLanes = 16;
using Lanes = std::array<float, kLanes>;

struct IntParameters {
  Lanes scale;  // exactly a finite number of the grid's format
  Lanes zero;
};

// Fits one group of 16 rows.
//   w [cols] of 16 rows each (column-major tile)
// Plain (search_steps = 0):
//   asymmetric   the range [min(w, 0), max(w, 0)] on the codes 0 .. max_code
//   symmetric    the weight of largest magnitude on code 0, exactly, as in ggml's Q4_0
//   symmetric, 1 bit   levels ± mean |w|, which is optimal (Rastegari et al. 2016, XNOR-Net)
// A scale of binary16 is rounded towards zero: then both ends of the range still reach the end
// codes, and encoding decoded values again changes nothing. Of the formats of 8 bits, whose scales
// are far apart and positive, the one below and the one above are tried.
// Search: the least importance-weighted squared error over search_steps ranges between the plain
// one and a fifth of it (symmetric: either sign; asymmetric: both ends, then each end alone), then
// the scale that is best for the chosen codes, Σ w k / Σ k², k = code - zero. Never worse than
// plain. O(cols * (search_steps + 1)).
IntParameters fit_int_tile(const IntGrid& grid, const Lanes* w, int64_t cols,
                           const FitOptions& fit);

// Nearest binary16 of x as float32, ties to even, clamped to ± 65504; NaN gives 65504.
float round_to_f16(float x);
// The same, towards zero.
float truncate_to_f16(float x);

}  // namespace bitsmith

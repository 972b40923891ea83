// Convolutions of 8-bit codes whose weights are sums of powers of two, by shifts and additions.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/kernels/conv_integer.h"
#include "runtime/kernels/conv_planes.h"
#include "runtime/kernels/shift_program.h"

namespace bitsmith {

// What the sum of an output, bias + sum of (x - x_zero) * w, can be, whatever the inputs.
struct SumRange {
  int64_t low = 0;
  int64_t high = 0;
  bool fits_int32() const {
    return low >= std::numeric_limits<int32_t>::min() &&
           high <= std::numeric_limits<int32_t>::max();
  }
};
SumRange sum_range(std::span<const int32_t> weights, int64_t bias, uint8_t x_zero);

// A weight is a sum of TERMS +-2^k, as few as there can be: one for powers of two, two for APoT and
// logarithmic codes of two words, none for zero. Since
//
//     sum of +-(x << k)  =  sum over k of ((sum of +-x) << k),
//
// terms are sorted by k: a term is one addition or subtraction of x, in 16-bit lanes, a shift is
// made once for all terms of one k. Lanes are neighbouring pixels (conv_planes.h), and each term is
// an offset into their planes. There is no multiplication before requantization, and zeros cost
// nothing.
//
// Weights of any magnitude will do, beyond 8 bits too, as long as the sums fit int32.
class ShiftConv {
 public:
  // Whether it is faster than Int8Conv, by measurement (conv_bench): enough zeros, enough pixels.
  static bool pays(const ShiftConvSpec& spec);
  // Terms of all weights.
  static int64_t count_terms(std::span<const int32_t> weights);

  // kUnsupported if sums do not fit int32.
  explicit ShiftConv(const ShiftConvSpec& spec);

  // The result of convolve_shift_reference(), bit for bit, on every target and for any number of
  // threads. kConvSlackBytes after x must be readable.
  void run(const uint8_t* x, int64_t images, uint8_t* y, ThreadPool& pool) const;
  void run(const uint8_t* x, int64_t images, float* y, ThreadPool& pool) const;  // of number_scales

  const ConvShape& shape() const { return shape_; }
  std::string_view name() const { return "int8 shift-and-add convolution"; }
  int64_t memory_bytes() const;

 private:
  template <class Y>
  void run_all(const uint8_t* x, int64_t images, Y* y, ThreadPool& pool) const;
  void add_output(std::span<const int32_t> weights, int64_t first_channel);
  ShiftProgram program(int64_t output) const;
  void make_planes(const uint8_t* x, int64_t images, int64_t first, int16_t* planes) const;
  void make_outputs(const int16_t* planes, int64_t images, int64_t first, uint8_t* y) const;
  void make_outputs(const int16_t* planes, int64_t images, int64_t first, float* y) const;
  template <class Body>
  void for_rows(int64_t images, const Body& body) const;

  ConvShape shape_;
  ConvPlanes planes_;
  uint8_t x_zero_ = 0;
  int32_t y_zero_ = 0;
  int32_t y_min_ = 0;
  int32_t y_max_ = 0;
  float low_ = 0;
  float high_ = 0;
  std::vector<Dyadic> scales_;        // [outputs]; empty if results are numbers
  std::vector<float> number_scales_;  // [outputs]; empty if results are codes
  std::vector<int32_t> bias_;         // [outputs], less x_zero * the sum of the weights
  std::vector<ShiftStep> steps_;
  std::vector<int32_t> offsets_;       // [terms], of int16 from a position
  std::vector<int64_t> first_step_;    // [outputs + 1]
  std::vector<int64_t> first_offset_;  // [outputs]
};

}  // namespace bitsmith

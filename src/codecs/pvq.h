// Enumeration of the points of a pyramid: whole vectors of n numbers whose magnitudes add up to K.
#pragma once

#include <cstdint>
#include <vector>

namespace bitsmith {

// Fischer 1986. Points are numbered in this order, element 0 first: by magnitude, 0 1 2 ... K; for
// a magnitude above 0, the positive one first.
class Pyramid {
 public:
  // kInvalidArgument if there are 2^63 points or more.
  Pyramid(int dim, int pulses);

  int dim() const { return dim_; }
  int pulses() const { return pulses_; }
  uint64_t points() const { return count(dim_, pulses_); }
  // ceil(log2(points)).
  int index_bits() const;

  uint64_t index_of(const int* point) const;
  // index < points(); others (from hostile files) are taken modulo points().
  void point_of(uint64_t index, int* point) const;

  // The point whose direction is nearest to that of x: K |x_i| / Σ |x| rounded down, then one pulse
  // after the other where it raises (Σ x y)² / Σ y² most. For x = 0: all pulses on element 0.
  void nearest(const float* x, int* point) const;

 private:
  // Points of n numbers with k pulses.
  uint64_t count(int n, int k) const { return counts_[static_cast<size_t>(n * (pulses_ + 1) + k)]; }

  int dim_;
  int pulses_;
  std::vector<uint64_t> counts_;  // [dim + 1][pulses + 1]
};

}  // namespace bitsmith

// Rotations whose product with a vector costs n log n: see graph/operators_matrix.h, `hadamard`.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bitsmith {

class HadamardRotation {
 public:
  // signs [n], each 1 or -1 (kInvalidArgument otherwise); n = m 2^k with m odd. Holds m² numbers.
  explicit HadamardRotation(std::span<const float> signs);

  int64_t size() const { return static_cast<int64_t>(signs_.size()); }

  // y = x diag(signs) S, and its inverse, y = x S diag(signs), of each of `runs` runs of size()
  // numbers; y may be x. O(size (k + m)) for each run, on the calling thread.
  void apply(const float* x, int64_t runs, float* y) const;
  void apply_inverse(const float* x, int64_t runs, float* y) const;

 private:
  void multiply_in_place(float* run) const;

  std::vector<float> signs_;    // times 2^(-k/2)
  int64_t power_ = 1;           // 2^k
  int64_t odd_ = 1;             // m
  std::vector<float> hartley_;  // M [m, m], empty if m = 1
};

// In place: `runs` runs of n = 2^k numbers times Sylvester's Hadamard matrix, not normalised. The
// same bits on every target.
void walsh_hadamard(float* x, int64_t runs, int64_t n) noexcept;

}  // namespace bitsmith

// Cosines and sines of rotary position embeddings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bitsmith {

// Rows are computed in float64, rounded to float32, and kept.
class RopeTable {
 public:
  RopeTable(std::vector<double> frequencies, double magnitude)
      : frequencies_(std::move(frequencies)), magnitude_(magnitude) {}

  bool is(const std::vector<double>& frequencies, double magnitude) const {
    return frequencies_ == frequencies && magnitude_ == magnitude;
  }
  int64_t pairs() const { return static_cast<int64_t>(frequencies_.size()); }

  // Makes the rows [0, positions). Pointers from before are lost.
  void reserve(int64_t positions);

  // [positions, pairs()] from `position` on, times magnitude.
  const float* cosines(int64_t position) const { return cosines_.data() + pairs() * position; }
  const float* sines(int64_t position) const { return sines_.data() + pairs() * position; }

 private:
  std::vector<double> frequencies_;
  double magnitude_;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

}  // namespace bitsmith

// Cosines and sines of rotary position embeddings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bitsmith {

// Rows are computed in float64, rounded to float32, and kept: 4 bytes per position and channel.
class RopeTable {
 public:
  RopeTable(std::vector<double> frequencies, double magnitude)
      : frequencies_(std::move(frequencies)), magnitude_(magnitude) {}

  bool is(const std::vector<double>& frequencies, double magnitude) const {
    return frequencies_ == frequencies && magnitude_ == magnitude;
  }
  int64_t pairs() const { return static_cast<int64_t>(frequencies_.size()); }

  // Makes rows [0, positions). Pointers from row() are lost.
  void reserve(int64_t positions);

  // [2 * pairs()]: the cosines, then the sines, times magnitude.
  const float* row(int64_t position) const {
    return rows_.data() + static_cast<size_t>(2 * pairs() * position);
  }
  uint64_t memory_bytes() const { return rows_.capacity() * sizeof(float); }

 private:
  std::vector<double> frequencies_;
  double magnitude_;
  std::vector<float> rows_;
};

}  // namespace bitsmith

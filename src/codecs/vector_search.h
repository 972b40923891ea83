// Scores of all entries of a vector codebook, for every SIMD target.
#pragma once

#include <cstdint>
#include <vector>

namespace bitsmith {

// A codebook as searches read it.
struct VectorTable {
  int64_t dim = 0;
  int64_t entries = 0;
  std::vector<float> columns;  // [dim][entries]

  VectorTable() = default;
  // rows [entries][dim]
  VectorTable(int64_t dim, int64_t entries, const float* rows);

  // norms[k] = Σ weights_j entry_kj²; weights [dim] or nullptr: all 1.
  void norms(const float* weights, float* norms) const;
  // scores[k] = norms[k] - 2 Σ_j wx_j entry_kj, wx = weights * x: the weighted squared distance of
  // x and entry k, less Σ weights x².
  void scores(const float* wx, const float* norms, float* scores) const;
};

// The index of the smallest score, the first of several.
int64_t smallest_score(const std::vector<float>& scores);

}  // namespace bitsmith

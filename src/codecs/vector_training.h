// Codebooks of vectors, trained by clustering.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/thread_pool.h"

namespace bitsmith {

// Vectors to be clustered, with the weight of each number's squared error.
struct VectorSample {
  int64_t dim = 0;
  std::vector<float> x;        // [count][dim]
  std::vector<float> weights;  // [count][dim], or empty: all 1

  int64_t count() const { return dim > 0 ? static_cast<int64_t>(x.size()) / dim : 0; }
};

// `entries` vectors [entries][dim] with small Σ weights (x - nearest entry)²: entries are drawn by
// k-means++ (Arthur and Vassilvitskii 2007), then improved by `iterations` of Lloyd's algorithm; an
// entry that no vector chose moves to the vector that is coded worst. If there are at most
// `entries` different vectors, these are the entries, the last one repeated. Random numbers from
// `stream`; same result for any number of threads. O(count * entries * dim * (iterations + 1)).
std::vector<float> cluster_vectors(const VectorSample& sample, int64_t entries, int iterations,
                                   const std::string& stream, ThreadPool& pool);

}  // namespace bitsmith

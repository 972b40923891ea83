#include "codecs/vector_training.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "codecs/vector_search.h"
#include "core/error.h"
#include "core/random.h"
#include "tensor/shape.h"

namespace bitsmith {
namespace {

// Vectors of one task: parts of fixed size, whatever the number of threads.
constexpr int64_t kPart = 512;

// Iterations end when one gains less than this part of the error.
constexpr double kLeastGain = 2e-4;

std::span<const float> vector_at(const VectorSample& sample, int64_t i) {
  return std::span(sample.x).subspan(static_cast<size_t>(i * sample.dim),
                                     static_cast<size_t>(sample.dim));
}

float weight_at(const VectorSample& sample, int64_t i, int64_t j) {
  return sample.weights.empty() ? 1.0F : sample.weights[static_cast<size_t>(i * sample.dim + j)];
}

double distance(const VectorSample& sample, int64_t i, const float* entry) {
  double sum = 0;
  for (int64_t j = 0; j < sample.dim; ++j) {
    const double difference =
        static_cast<double>(sample.x[static_cast<size_t>(i * sample.dim + j)]) -
        static_cast<double>(entry[j]);
    sum += static_cast<double>(weight_at(sample, i, j)) * difference * difference;
  }
  return sum;
}

// Different vectors in lexicographic order, or nothing if there are more than `limit`.
std::vector<float> few_different(const VectorSample& sample, int64_t limit) {
  std::vector<int64_t> order(static_cast<size_t>(sample.count()));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::ranges::sort(order, [&](int64_t a, int64_t b) {
    return std::ranges::lexicographical_compare(vector_at(sample, a), vector_at(sample, b));
  });
  std::vector<float> result;
  int64_t found = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto x = vector_at(sample, order[i]);
    if (i > 0 && std::ranges::equal(x, vector_at(sample, order[i - 1]))) continue;
    if (++found > limit) return {};
    result.insert(result.end(), x.begin(), x.end());
  }
  return result;
}

std::vector<float> draw_entries(const VectorSample& sample, int64_t entries,
                                const std::string& stream, ThreadPool& pool) {
  Random random(1, stream);
  const int64_t count = sample.count();
  std::vector<double> least(static_cast<size_t>(count), std::numeric_limits<double>::infinity());
  std::vector<float> result;
  int64_t next = static_cast<int64_t>(random.below(static_cast<uint64_t>(count)));
  while (true) {
    const auto x = vector_at(sample, next);
    result.insert(result.end(), x.begin(), x.end());
    if (static_cast<int64_t>(result.size()) == entries * sample.dim) return result;
    const float* entry = result.data() + result.size() - static_cast<size_t>(sample.dim);
    pool.run(ceil_div(count, 8 * kPart), [&](int64_t part, int) {
      for (int64_t i = part * 8 * kPart; i < std::min((part + 1) * 8 * kPart, count); ++i) {
        double& best = least[static_cast<size_t>(i)];
        best = std::min(best, distance(sample, i, entry));
      }
    });
    // In proportion to the distance to the nearest entry so far.
    const double total = std::accumulate(least.begin(), least.end(), 0.0);
    double target = random.uniform() * total;
    next = 0;
    while (next + 1 < count && target >= least[static_cast<size_t>(next)]) {
      target -= least[static_cast<size_t>(next)];
      ++next;
    }
  }
}

class Lloyd {
 public:
  Lloyd(const VectorSample& sample, std::vector<float> entries, ThreadPool& pool)
      : sample_(sample),
        entries_(std::move(entries)),
        pool_(pool),
        count_(static_cast<int64_t>(entries_.size()) / sample.dim),
        nearest_(static_cast<size_t>(sample.count())),
        error_(nearest_.size()) {}

  // Returns the error before the update.
  double iterate() {
    assign();
    const double error = std::accumulate(error_.begin(), error_.end(), 0.0);
    update();
    return error;
  }
  const std::vector<float>& entries() const { return entries_; }

 private:
  void assign() {
    const VectorTable table(sample_.dim, count_, entries_.data());
    pool_.run(ceil_div(sample_.count(), kPart), [&](int64_t part, int) {
      std::vector<float> norms(static_cast<size_t>(count_));
      std::vector<float> scores(norms.size());
      std::vector<float> wx(static_cast<size_t>(sample_.dim));
      table.norms(nullptr, norms.data());
      for (int64_t i = part * kPart; i < std::min((part + 1) * kPart, sample_.count()); ++i) {
        if (!sample_.weights.empty()) {
          table.norms(sample_.weights.data() + i * sample_.dim, norms.data());
        }
        for (int64_t j = 0; j < sample_.dim; ++j) {
          wx[static_cast<size_t>(j)] =
              weight_at(sample_, i, j) * vector_at(sample_, i)[static_cast<size_t>(j)];
        }
        table.scores(wx.data(), norms.data(), scores.data());
        const int64_t best = smallest_score(scores);
        nearest_[static_cast<size_t>(i)] = best;
        error_[static_cast<size_t>(i)] = distance(sample_, i, entries_.data() + best * sample_.dim);
      }
    });
  }

  // The weighted mean of each entry's vectors, number by number.
  void update() {
    std::vector<double> sums(entries_.size());
    std::vector<double> weights(entries_.size());
    for (int64_t i = 0; i < sample_.count(); ++i) {
      const auto first = static_cast<size_t>(nearest_[static_cast<size_t>(i)] * sample_.dim);
      for (int64_t j = 0; j < sample_.dim; ++j) {
        const auto at = first + static_cast<size_t>(j);
        const auto weight = static_cast<double>(weight_at(sample_, i, j));
        sums[at] += weight * static_cast<double>(vector_at(sample_, i)[static_cast<size_t>(j)]);
        weights[at] += weight;
      }
    }
    std::vector<bool> used(static_cast<size_t>(count_));
    for (const int64_t entry : nearest_) used[static_cast<size_t>(entry)] = true;
    for (size_t at = 0; at < entries_.size(); ++at) {
      if (weights[at] > 0) entries_[at] = static_cast<float>(sums[at] / weights[at]);
    }
    for (int64_t entry = 0; entry < count_; ++entry) {
      if (used[static_cast<size_t>(entry)]) continue;
      const auto worst = std::ranges::max_element(error_);
      const auto x = vector_at(sample_, worst - error_.begin());
      std::ranges::copy(x, entries_.begin() + entry * sample_.dim);
      *worst = 0;
    }
  }

  const VectorSample& sample_;
  std::vector<float> entries_;
  ThreadPool& pool_;
  int64_t count_;
  std::vector<int64_t> nearest_;
  std::vector<double> error_;
};

}  // namespace

std::vector<float> cluster_vectors(const VectorSample& sample, int64_t entries, int iterations,
                                   const std::string& stream, ThreadPool& pool) {
  BITSMITH_ASSERT(entries >= 1 && sample.dim >= 1);
  if (sample.count() == 0) return std::vector<float>(static_cast<size_t>(entries * sample.dim));
  std::vector<float> few = few_different(sample, entries);
  if (!few.empty()) {
    const std::vector<float> last(few.end() - sample.dim, few.end());
    while (static_cast<int64_t>(few.size()) < entries * sample.dim) {
      few.insert(few.end(), last.begin(), last.end());
    }
    return few;
  }
  Lloyd lloyd(sample, draw_entries(sample, entries, stream, pool), pool);
  double previous = std::numeric_limits<double>::infinity();
  for (int i = 0; i < iterations; ++i) {
    const double error = lloyd.iterate();
    if (error > previous * (1 - kLeastGain)) break;
    previous = error;
  }
  return lloyd.entries();
}

}  // namespace bitsmith

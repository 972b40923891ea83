#include "calibration/second_moment.h"

#include <algorithm>

#include "calibration/blas.h"
#include "core/error.h"
#include "tensor/shape.h"

namespace bitsmith {
namespace {

constexpr int64_t kTile = 256;
constexpr int64_t kBatchTokens = 256;

// Tile `index` of the lower triangle, counted row by row: (0,0) (1,0) (1,1) (2,0) ...
struct TileIndex {
  int64_t row;
  int64_t col;
};
TileIndex tile_at(int64_t index) {
  int64_t row = 0;
  while ((row + 1) * (row + 2) / 2 <= index) ++row;
  return {row, index - row * (row + 1) / 2};
}

}  // namespace

SecondMoment::SecondMoment(int64_t size, Part part) : size_(size), part_(part) {
  BITSMITH_ASSERT(size >= 0 && size <= int64_t{1} << 24);
  sum_.resize(static_cast<size_t>(part == Part::kAll ? size * size : size));
  const auto columns = static_cast<size_t>(size);
  spread_ = {std::vector<float>(columns), std::vector<float>(columns),
             std::vector<double>(columns)};
}

void SecondMoment::add(std::span<const float> x, ThreadPool& pool) {
  if (size_ == 0 || x.empty()) return;
  BITSMITH_ASSERT(static_cast<int64_t>(x.size()) % size_ == 0);
  const int64_t tokens = static_cast<int64_t>(x.size()) / size_;
  const int64_t tiles = ceil_div(size_, kTile);
  const int64_t products = part_ == Part::kAll ? tiles * (tiles + 1) / 2 : 0;
  run_blas_tasks(pool, products, [&](int64_t index, int) {
    const auto [tile_row, tile_col] = tile_at(index);
    const int64_t row = tile_row * kTile;
    const int64_t col = tile_col * kTile;
    const int64_t rows = std::min(kTile, size_ - row);
    const int64_t cols = std::min(kTile, size_ - col);
    std::vector<float> product(static_cast<size_t>(rows * cols));
    for (int64_t first = 0; first < tokens; first += kBatchTokens) {
      const auto count = static_cast<int>(std::min(kBatchTokens, tokens - first));
      const float* batch = x.data() + first * size_;
      if (row == col) {
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, static_cast<int>(rows), count, 1.0F,
                    batch + row, static_cast<int>(size_), 0.0F, product.data(),
                    static_cast<int>(cols));
      } else {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(rows),
                    static_cast<int>(cols), count, 1.0F, batch + row, static_cast<int>(size_),
                    batch + col, static_cast<int>(size_), 0.0F, product.data(),
                    static_cast<int>(cols));
      }
      for (int64_t i = 0; i < rows; ++i) {
        const float* from = product.data() + i * cols;
        double* to = sum_.data() + (row + i) * size_ + col;
        const int64_t end = row == col ? i + 1 : cols;
        for (int64_t j = 0; j < end; ++j) to[j] += static_cast<double>(from[j]);
      }
    }
  });
  pool.run(tiles, [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * kTile, size_);
    for (int64_t t = 0; t < tokens; ++t) {
      const bool first = tokens_ == 0 && t == 0;
      const float* row = x.data() + t * size_;
      for (int64_t c = tile * kTile; c < end; ++c) {
        const auto at = static_cast<size_t>(c);
        spread_.least[at] = first ? row[c] : std::min(spread_.least[at], row[c]);
        spread_.most[at] = first ? row[c] : std::max(spread_.most[at], row[c]);
        const auto value = static_cast<double>(row[c]);
        spread_.mean[at] += value;
        if (part_ == Part::kDiagonal) sum_[at] += value * value;
      }
    }
  });
  tokens_ += tokens;
}

std::vector<double> SecondMoment::mean() const {
  BITSMITH_ASSERT(part_ == Part::kAll);
  std::vector<double> result(sum_.size());
  const auto tokens = static_cast<double>(std::max<int64_t>(tokens_, 1));
  // In tiles, so that the mirrored half is written a cache line at a time.
  constexpr int64_t kSide = 32;
  for (int64_t i0 = 0; i0 < size_; i0 += kSide) {
    for (int64_t j0 = 0; j0 <= i0; j0 += kSide) {
      for (int64_t i = i0; i < std::min(i0 + kSide, size_); ++i) {
        for (int64_t j = j0; j < std::min(j0 + kSide, i + 1); ++j) {
          const double value = sum_[static_cast<size_t>(i * size_ + j)] / tokens;
          result[static_cast<size_t>(i * size_ + j)] = value;
          result[static_cast<size_t>(j * size_ + i)] = value;
        }
      }
    }
  }
  return result;
}

ChannelSpread SecondMoment::spread() const {
  ChannelSpread result = spread_;
  for (double& mean : result.mean) mean /= static_cast<double>(std::max<int64_t>(tokens_, 1));
  return result;
}

double SecondMoment::mean_diagonal(int64_t i) const {
  if (tokens_ == 0) return 0.0;
  const int64_t at = part_ == Part::kAll ? i * size_ + i : i;
  return sum_[static_cast<size_t>(at)] / static_cast<double>(tokens_);
}

}  // namespace bitsmith

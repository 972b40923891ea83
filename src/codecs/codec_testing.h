// Helpers of tests: weights that are hard to code, and encoding without a solver.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "codecs/codec.h"
#include "core/random.h"
#include "core/thread_pool.h"

namespace bitsmith::testing {

struct Encoded {
  std::vector<std::byte> bytes;
  std::vector<float> values;  // [rows, cols] row-major, as the encoder reported them
};

// Nearest codes for weights [rows, cols] row-major, in tasks of `chunk_rows` rows.
inline Encoded encode(const Scheme& scheme, const MatrixShape& shape,
                      const std::vector<float>& weights, ThreadPool& pool,
                      const FitOptions& fit = {}, int64_t chunk_rows = 16) {
  const auto encoder = scheme.codec->encoder(shape, scheme.options);
  encoder->prepare(weights, fit, pool);
  const auto [rows, cols] = shape;
  const int64_t group_cols = encoder->group_cols();
  const int64_t block_cols = encoder->block_cols();
  Encoded result;
  result.values.resize(weights.size());
  pool.run(ceil_div(rows, chunk_rows), [&, rows = rows, cols = cols](int64_t chunk, int) {
    const int64_t row = chunk * chunk_rows;
    const int64_t count = std::min(chunk_rows, rows - row);
    const int64_t stride = count + 3;  // not the row count, to catch encoders that mix them up
    const int64_t padded = ceil_div(cols, block_cols) * block_cols;
    std::vector<float> w(static_cast<size_t>(padded * stride));
    std::vector<float> q(w.size());
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < count; ++r) {
        w[static_cast<size_t>(c * stride + r)] = weights[static_cast<size_t>((row + r) * cols + c)];
      }
    }
    for (int64_t begin = 0; begin < cols; begin += group_cols) {
      FitOptions group_fit = fit;
      if (fit.importance != nullptr) group_fit.importance += begin;
      encoder->fit_group(begin / group_cols, row, count, w.data() + begin * stride, stride,
                         group_fit);
      for (int64_t c = begin; c < std::min(begin + group_cols, cols); c += block_cols) {
        encoder->quantize(c, row, count, w.data() + c * stride, q.data() + c * stride, stride);
      }
    }
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < count; ++r) {
        result.values[static_cast<size_t>((row + r) * cols + c)] =
            q[static_cast<size_t>(c * stride + r)];
      }
    }
  });
  result.bytes.resize(scheme.codec->encoded_bytes(shape, scheme.options), std::byte{0xaa});
  encoder->finish(result.bytes);
  return result;
}

inline std::vector<float> decode(const Scheme& scheme, const MatrixShape& shape,
                                 const std::vector<std::byte>& bytes, int64_t row_begin,
                                 int64_t row_count) {
  std::vector<float> values(static_cast<size_t>(row_count * shape.cols));
  scheme.codec->decode(shape, scheme.options, bytes, row_begin, row_count, values.data());
  return values;
}

inline std::vector<float> normal_weights(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> weights(count);
  for (float& w : weights) w = static_cast<float>(random.normal());
  return weights;
}

// Finite weights that break careless codecs, each with its name.
inline std::vector<std::pair<std::string, std::vector<float>>> hard_weights(size_t count) {
  const std::vector<float> normal = normal_weights(count, 1);
  const auto map = [&](auto f) {
    std::vector<float> result(count);
    for (size_t i = 0; i < count; ++i) result[i] = f(normal[i], i);
    return result;
  };
  return {
      {"normal", normal},
      {"zero", map([](float, size_t) { return 0.0F; })},
      {"constant", map([](float, size_t) { return 0.37F; })},
      {"positive", map([](float x, size_t) { return 3.0F + 0.1F * x; })},
      {"negative", map([](float x, size_t) { return -3.0F + 0.1F * x; })},
      {"binary", map([](float x, size_t) { return x < 0 ? -0.5F : 0.5F; })},
      {"small", map([](float x, size_t) { return 1e-6F * x; })},
      {"denormal", map([](float x, size_t) { return 1e-39F * x; })},
      {"huge", map([](float x, size_t) { return 1e37F * x; })},
      {"largest", map([](float x, size_t) { return x < 0 ? -3.4e38F : 3.4e38F; })},
      {"outliers", map([](float x, size_t i) { return i % 37 == 5 ? 1000.0F * x : x; })},
  };
}

// sum (a - b)² / sum a²
inline double relative_mse(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0;
  double power = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    error += difference * difference;
    power += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
  return error / power;
}

// The distortion of a codec on 256 rows of 2048 independent normal weights.
//   rows: of 2^19 numbers in all
inline double gaussian_error(const Scheme& scheme, int search_steps = 0, int64_t rows = 256) {
  const MatrixShape shape{rows, (256 * 2048) / rows};
  static const auto weights = normal_weights(static_cast<size_t>(shape.rows * shape.cols), 11);
  static ThreadPool pool;
  const auto encoded =
      encode(scheme, shape, weights, pool, FitOptions{.search_steps = search_steps});
  return relative_mse(weights, encoded.values);
}

}  // namespace bitsmith::testing

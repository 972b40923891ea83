// Codec `affine`: its distortion, its half-quadratic fit, and what offsets of any value are for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "codecs/codec_testing.h"
#include "codecs/table.h"
#include "core/testing.h"
#include "formats/model.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

using testing::normal_weights;

Scheme affine(int bits, int64_t group, double norm = 2) {
  return Scheme("affine", {{"bits", bits}, {"group", group}, {"norm", norm}});
}

// Σ |w - q|^norm over a matrix whose groups are fitted in `steps` rounds.
double objective(const std::vector<float>& weights, const MatrixShape& shape, const Scheme& scheme,
                 int steps, double norm) {
  const std::unique_ptr<Encoder> encoder = scheme.codec->encoder(shape, scheme.options);
  ThreadPool pool(1);
  const FitOptions fit{.search_steps = steps};
  encoder->prepare(weights, fit, pool);
  const auto rows = static_cast<size_t>(shape.rows);
  const auto cols = static_cast<size_t>(shape.cols);
  std::vector<float> panel(weights.size());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) panel[c * rows + r] = weights[r * cols + c];
  }
  double sum = 0;
  std::vector<float> q(rows);
  for (int64_t c = 0; c < shape.cols; ++c) {
    const float* column = panel.data() + c * shape.rows;
    if (c % encoder->group_cols() == 0) {
      encoder->fit_group(c / encoder->group_cols(), 0, shape.rows, column, shape.rows, fit);
    }
    encoder->quantize(c, 0, shape.rows, column, q.data(), shape.rows);
    for (size_t r = 0; r < rows; ++r) {
      sum += std::pow(std::abs(static_cast<double>(column[r]) - static_cast<double>(q[r])), norm);
    }
  }
  return sum;
}

// No other level of its group is nearer to a weight, and what is written decodes to it.
TEST(Affine, TakesTheNearestLevel) {
  const MatrixShape shape{16, 128};
  std::vector<float> weights = normal_weights(16 * 128, 8);
  std::fill_n(weights.begin(), 64, 0.25F);  // a group of one number
  for (const int bits : {1, 3, 8}) {
    const Scheme scheme = affine(bits, 64);
    const auto& codec = dynamic_cast<const TableCodec&>(*scheme.codec);
    const GroupedLayout layout = codec.layout(shape, codec.format(scheme.options));
    for (const int steps : {0, 20}) {
      ThreadPool pool(1);
      const auto encoded = testing::encode(scheme, shape, weights, pool, {.search_steps = steps});
      const auto* bytes = reinterpret_cast<const uint8_t*>(encoded.bytes.data());
      std::vector<float> levels(size_t{1} << bits);
      for (int64_t r = 0; r < shape.rows; ++r) {
        for (int64_t c = 0; c < shape.cols; ++c) {
          std::vector<float> parameters;
          for (const int i : {0, 1}) {
            const uint32_t pattern = layout.read_parameter(bytes, r, c / 64, i);
            parameters.push_back(f16_to_float(static_cast<uint16_t>(pattern)));
          }
          codec.expand(scheme.options, parameters, levels);
          const auto at = static_cast<size_t>(r * shape.cols + c);
          float nearest = std::numeric_limits<float>::infinity();
          for (const float level : levels) {
            nearest = std::min(nearest, std::abs(weights[at] - level));
          }
          EXPECT_NEAR(std::abs(weights[at] - encoded.values[at]), nearest, 1e-6) << bits;
        }
      }
    }
  }
}

// Weights with some that are far from the others.
std::vector<float> heavy_weights(size_t count) {
  std::vector<float> weights = normal_weights(count, 21);
  for (size_t i = 0; i < count; i += 37) weights[i] *= 5;
  for (float& w : weights) w = 0.02F * w + 0.01F;
  return weights;
}

TEST(Affine, MoreRoundsNeverRaiseTheObjective) {
  const MatrixShape shape{32, 256};
  const std::vector<float> weights = heavy_weights(32 * 256);
  for (const int bits : {1, 2, 3, 4, 8}) {
    for (const double norm : {0.5, 0.7, 1.0, 1.5, 2.0}) {
      double before = objective(weights, shape, affine(bits, 64, norm), 0, norm);
      const double plain = before;
      for (const int steps : {1, 2, 5, 20, 100}) {
        const double after = objective(weights, shape, affine(bits, 64, norm), steps, norm);
        // A pair of levels as far from a weight as each other may change places when they are
        // stored.
        EXPECT_LE(after, before * (1 + 1e-6)) << bits << " " << norm << " " << steps;
        before = after;
      }
      if (bits > 1 && bits < 8) {
        EXPECT_LT(before, plain) << bits << " " << norm;
      }
    }
  }
}

// A norm below 1 is for the many small errors.
TEST(Affine, EachNormIsBestInItsOwn) {
  const MatrixShape shape{32, 256};
  const std::vector<float> weights = heavy_weights(32 * 256);
  for (const int bits : {3, 4}) {
    EXPECT_LT(objective(weights, shape, affine(bits, 64, 0.7), 20, 0.7),
              objective(weights, shape, affine(bits, 64, 2), 20, 0.7));
    EXPECT_LT(objective(weights, shape, affine(bits, 64, 2), 20, 2),
              objective(weights, shape, affine(bits, 64, 0.7), 20, 2));
  }
}

// A group whose weights all have one sign spends no code on 0.
TEST(Affine, LevelsNeedNotIncludeZero) {
  std::vector<float> weights = normal_weights(64 * 64, 2);
  for (float& w : weights) w = 10 + 0.1F * w;
  const Scheme whole("int", {{"bits", 4}, {"group", 64}});
  EXPECT_LT(100 * objective(weights, {64, 64}, affine(4, 64), 0, 2),
            objective(weights, {64, 64}, whole, 0, 2));
}

// The squared error of real layers.
TEST(Affine, BeatsNearestOnRealLayers) {
  const auto folder = testing::shared_data("llm/classics-7m");
  if (folder.empty()) GTEST_SKIP() << "llm/classics-7m is not there (BITSMITH_DATA)";
  const Model model = open_model(folder);
  for (const char* name : {"model.layers.0.self_attn.q_proj.weight",
                           "model.layers.3.mlp.down_proj.weight", "lm_head.weight"}) {
    const CodedTensor& tensor = model.parameter(name);
    const std::vector<float> weights = tensor.decode_all();
    for (const int bits : {2, 3, 4}) {
      const double nearest = objective(weights, tensor.matrix(), affine(bits, 64), 0, 2);
      const double hqq = objective(weights, tensor.matrix(), affine(bits, 64, 0.7), 20, 2);
      EXPECT_LT(hqq, nearest) << name << " " << bits;
    }
  }
}

}  // namespace
}  // namespace bitsmith

// Codec `e8`: blocks of 8 columns coded as points of the lattice E8, 2 bits per weight.
#include "codecs/e8.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "codecs/blocks.h"
#include "codecs/int_fit.h"
#include "tensor/dtype.h"

namespace bitsmith {

const E8Codebook& E8Codebook::instance() {
  static const E8Codebook codebook;
  return codebook;
}

E8Codebook::E8Codebook() {
  std::vector<std::pair<int, std::array<float, 8>>> small;  // 4 |a|², pattern
  std::vector<std::array<float, 8>> twelve;
  for (int number = 0; number < 6561; ++number) {  // three digits of base 3: 1/2, 3/2, 5/2
    std::array<float, 8> pattern{};
    int norm = 0;
    int rest = number;
    for (size_t i = 8; i-- > 0; rest /= 3) {
      const int odd = 2 * (rest % 3) + 1;
      pattern[i] = 0.5F * static_cast<float>(odd);
      norm += odd * odd;
    }
    if (norm <= 40) small.emplace_back(norm, pattern);
    if (norm == 48) twelve.push_back(pattern);
  }
  std::ranges::stable_sort(small, {}, [](const auto& p) { return p.first; });
  BITSMITH_ASSERT(small.size() == 227 && twelve.size() == 224);
  for (size_t i = 0; i < 256; ++i) {
    patterns_[i] = i < 227 ? small[i].second : twelve[(i - 227) * 224 / 29];
    // The sum of s · a is even if the sum of a less twice the negative elements is: each turned
    // sign changes the sum by an odd number.
    float sum = 0;
    for (const float a : patterns_[i]) sum += a;
    odd_[i] = static_cast<int>(sum) % 2 != 0;
  }
}

void E8Codebook::decode(uint16_t code, float* point) const {
  const auto& pattern = patterns_[code >> 8];
  const float shift = (code & 1) != 0 ? 0.25F : -0.25F;
  bool negatives = false;
  for (size_t i = 0; i < 8; ++i) {
    const bool negative = i < 7 ? (code >> (i + 1) & 1) != 0 : negatives != odd_[code >> 8];
    negatives = negatives != negative;
    point[i] = (negative ? -pattern[i] : pattern[i]) + shift;
  }
}

uint16_t E8Codebook::nearest(const float* x, const float* weights) const {
  float least = std::numeric_limits<float>::infinity();
  uint16_t best = 0;
  for (int plus = 0; plus < 2; ++plus) {
    std::array<float, 8> magnitude;
    std::array<float, 8> weight;
    int signs = 0;  // 1: negative
    for (size_t i = 0; i < 8; ++i) {
      const float y = x[i] - (plus != 0 ? 0.25F : -0.25F);
      signs |= y < 0 ? 1 << i : 0;
      magnitude[i] = std::fabs(y);
      weight[i] = weights != nullptr ? weights[i] : 1.0F;
    }
    const bool odd_signs = std::popcount(static_cast<unsigned>(signs)) % 2 != 0;
    for (size_t p = 0; p < 256; ++p) {
      const auto& pattern = patterns_[p];
      float error = 0;
      float cheapest = std::numeric_limits<float>::infinity();
      size_t turned = 0;
      for (size_t i = 0; i < 8; ++i) {
        const float difference = magnitude[i] - pattern[i];
        error += weight[i] * difference * difference;
        const float cost = 4.0F * weight[i] * magnitude[i] * pattern[i];
        turned = cost < cheapest ? i : turned;
        cheapest = std::min(cheapest, cost);
      }
      const bool wrong = odd_signs != odd_[p];
      if (wrong) error += cheapest;
      if (error < least) {
        least = error;
        const int chosen = wrong ? signs ^ (1 << turned) : signs;
        best = static_cast<uint16_t>(p << 8 | (static_cast<unsigned>(chosen) & 127u) << 1 |
                                     static_cast<unsigned>(plus));
      }
    }
  }
  return best;
}

namespace {

constexpr int64_t kDim = 8;
// The scale that is best for a Gaussian of standard deviation 1.
constexpr float kGaussianScale = 0.97F;

GroupedLayout layout_of(const MatrixShape& shape, const Options& options) {
  return block_layout("e8", shape, kDim, 16, options.integer("group"), 0, {2});
}

class E8Encoder final : public BlockEncoderOf<uint16_t> {
 public:
  E8Encoder(const GroupedLayout& layout, const MatrixShape& shape)
      : BlockEncoderOf(layout, shape, kDim),
        scales_(static_cast<size_t>(layout.groups * layout.shape().rows)) {}

  // Plain: from the root mean square. Search: around it, with all blocks coded, by the error as it
  // is weighted.
  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t cols = columns_in_group(group);
    const float* importance = usable_importance(fit.importance, cols);
    std::vector<float> row;
    for (int64_t r = 0; r < row_count; ++r) {
      gather_blocks(w + r, group * group_cols(), cols, stride, row);
      double power = 0;
      for (const float x : row) power += static_cast<double>(x) * static_cast<double>(x);
      const auto plain =
          static_cast<float>(std::sqrt(power / static_cast<double>(cols))) * kGaussianScale;
      float best = round_to_f16(plain);
      const int steps = best > 0 ? fit.search_steps : 0;
      double least = steps > 0 ? error_of(row, importance, cols, best) : 0;
      for (int step = 0; step < steps; ++step) {
        const float part = 0.7F + 0.7F * static_cast<float>(step) / static_cast<float>(steps);
        const float scale = round_to_f16(plain * part);
        const double error = error_of(row, importance, cols, scale);
        if (scale > 0 && error < least) {
          least = error;
          best = scale;
        }
      }
      scales_[group_index(row_begin + r, group)] = best;
      parameter(row_begin + r, group, 0) = float_to_f16(best);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t block = col / kDim;
    std::vector<float> row;
    std::array<float, kDim> point;
    for (int64_t r = 0; r < row_count; ++r) {
      const float scale = scales_[group_index(row_begin + r, block / layout_.group_cols)];
      gather_blocks(w + r, col, kDim, stride, row);
      uint16_t& at = code(row_begin + r, block);
      at = quantized(row.data(), nullptr, shape_.cols - col, scale, point.data());
      scatter_block(point.data(), col, stride, q + r);
    }
  }

 private:
  // Codes one block; `cols` of its columns exist. Returns the code, and what it decodes to.
  uint16_t quantized(const float* w, const float* importance, int64_t cols, float scale,
                     float* point) const {
    std::array<float, kDim> x;
    std::array<float, kDim> weights;
    for (size_t i = 0; i < kDim; ++i) {
      x[i] = scale > 0 ? w[i] / scale : 0.0F;
      weights[i] = static_cast<int64_t>(i) >= cols ? 0.0F
                   : importance != nullptr         ? importance[i]
                                                   : 1.0F;
    }
    const bool all = importance == nullptr && cols >= kDim;
    const uint16_t code = E8Codebook::instance().nearest(x.data(), all ? nullptr : weights.data());
    E8Codebook::instance().decode(code, point);
    for (size_t i = 0; i < kDim; ++i) point[i] *= scale;
    return code;
  }

  double error_of(const std::vector<float>& row, const float* importance, int64_t cols,
                  float scale) const {
    double error = 0;
    std::array<float, kDim> point;
    for (int64_t c = 0; c < cols; c += kDim) {
      const float* weights = importance != nullptr ? importance + c : nullptr;
      quantized(row.data() + c, weights, cols - c, scale, point.data());
      for (int64_t i = 0; i < std::min(kDim, cols - c); ++i) {
        const double difference = static_cast<double>(row[static_cast<size_t>(c + i)]) -
                                  static_cast<double>(point[static_cast<size_t>(i)]);
        error +=
            (weights != nullptr ? static_cast<double>(weights[i]) : 1.0) * difference * difference;
      }
    }
    return error;
  }

  std::vector<float> scales_;  // [groups][rows]
};

class E8Codec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(layout_of(shape, options).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<E8Encoder>(layout_of(shape, options), shape);
  }

  // The scale is estimated from the root mean square.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const GroupedLayout layout = layout_of(shape, options);
    const auto value = [&](int64_t row, int64_t group, uint16_t code, float* point) {
      E8Codebook::instance().decode(code, point);
      const float scale = half_parameter(layout, bytes, row, group, 0);
      for (int64_t i = 0; i < kDim; ++i) point[i] *= scale;
    };
    decode_blocks<uint16_t>(layout, shape, kDim, bytes, row_begin, row_count, out, value);
  }

  std::string label(const Options& options) const override {
    return fmt::format("e8 {}", group_label(options.integer("group")));
  }

 private:
  PartInfo info_{
      .id = "e8",
      .summary = "blocks of 8 columns as points of the lattice E8 (E8P), 2 bits, a scale per group",
      .source = "Tseng et al. 2024 (QuIP#), arXiv:2402.04396",
      .options = {group_option(0)}};
};

const Registration<Codec, E8Codec> kRegistration;

}  // namespace
}  // namespace bitsmith

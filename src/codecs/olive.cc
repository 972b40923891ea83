// Codec `olive`: 4-bit integers in which a weight beside an outlier gives its code to it.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "codecs/blocks.h"
#include "codecs/int_fit.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

constexpr int64_t kDim = 2;
constexpr int kLargestNormal = 7;
constexpr unsigned kVictim = 8;

// Columns 2j and 2j + 1 are a pair; its code has 4 bits of the first, then 4 of the second. Codes 0
// to 7 and 9 to 15 are the whole numbers 0 to 7 and -7 to -1. If one of the two codes is 8, its
// weight, the victim, is 0, and the other is an outlier: | sign | exponent e: 2 | mantissa m: 1 |,
// ± (2 + m) * 2^(e + 2), but e = m = 0 is 0.
int normal_of(unsigned code) {
  const int value = static_cast<int>(code);
  return value < 8 ? value : value - 16;
}

int outlier_of(unsigned code) {
  const unsigned magnitude = code & 7;
  const int value =
      magnitude == 0 ? 0 : static_cast<int>((2 + (magnitude & 1)) << (magnitude / 2 + 2));
  return code >= 8 ? -value : value;
}

using Pair = std::array<float, kDim>;

Pair value_of(unsigned code, float scale) {
  const std::array<unsigned, kDim> codes = {code & 15, code >> 4};
  Pair value;
  for (size_t i = 0; i < kDim; ++i) {
    const bool is_outlier = codes[1 - i] == kVictim;
    const int number = codes[i] == kVictim ? 0
                       : is_outlier        ? outlier_of(codes[i])
                                           : normal_of(codes[i]);
    value[i] = scale * static_cast<float>(number);
  }
  return value;
}

unsigned nearest_normal(float x) {
  constexpr auto kLargest = static_cast<float>(kLargestNormal);
  const float clamped = std::clamp(x, -kLargest, kLargest);
  const int number = static_cast<int>(std::floor(clamped + 0.5F));
  return static_cast<unsigned>(number) & 15;
}

unsigned nearest_outlier(float x) {
  unsigned best = 1;
  for (unsigned code = 2; code < 8; ++code) {
    const float middle = 0.5F * static_cast<float>(outlier_of(code - 1) + outlier_of(code));
    if (std::fabs(x) >= middle) best = code;
  }
  return x < 0 ? best | 8 : best;
}

struct Nearest {
  unsigned code = 0;
  double error = std::numeric_limits<double>::infinity();
};

// The code of least error: both normal, or one of them an outlier.
Nearest nearest(const Pair& w, const std::array<double, kDim>& weight, float scale) {
  const float inverse = inverse_scale(scale);
  const Pair x = {w[0] * inverse, w[1] * inverse};
  const std::array<unsigned, 3> codes = {nearest_normal(x[0]) | nearest_normal(x[1]) << 4,
                                         nearest_outlier(x[0]) | kVictim << 4,
                                         kVictim | nearest_outlier(x[1]) << 4};
  constexpr float kSmallestOutlier = 12;
  const bool any =
      std::max(std::fabs(x[0]), std::fabs(x[1])) > 0.5F * (kLargestNormal + kSmallestOutlier);
  Nearest best;
  for (size_t k = 0; k < (any ? codes.size() : 1); ++k) {
    const Pair value = value_of(codes[k], scale);
    double error = 0;
    for (size_t i = 0; i < kDim; ++i) {
      const double difference = static_cast<double>(w[i]) - static_cast<double>(value[i]);
      error += weight[i] * difference * difference;
    }
    if (error < best.error) best = {codes[k], error};
  }
  return best;
}

// One group of one row.
struct Group {
  const float* w;           // [cols]
  const float* importance;  // [cols] or nullptr
  int64_t cols;

  double error(float scale) const {
    double sum = 0;
    for (int64_t c = 0; c < cols; c += kDim) {
      Pair pair{};
      std::array<double, kDim> weight{};
      for (int64_t i = 0; i < std::min(kDim, cols - c); ++i) {
        pair[static_cast<size_t>(i)] = w[c + i];
        weight[static_cast<size_t>(i)] =
            importance != nullptr ? static_cast<double>(importance[c + i]) : 1.0;
      }
      sum += nearest(pair, weight, scale).error;
    }
    return sum;
  }
};

// The best of `steps` ranges of the normal numbers, between 1.5 root mean squares and the largest
// weight; those of the paper are 3.
float fit(const Group& group, int steps) {
  double power = 0;
  double extreme = 0;
  for (int64_t c = 0; c < group.cols; ++c) {
    const auto x = static_cast<double>(group.w[c]);
    power += x * x;
    extreme = std::max(extreme, std::fabs(x));
  }
  if (extreme == 0) return 0;
  const double narrow = 1.5 * std::sqrt(power / static_cast<double>(group.cols));
  float best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < steps; ++i) {
    const double range = extreme * std::pow(std::min(narrow / extreme, 1.0), i / (steps - 1.0));
    constexpr double kLargestScale = 65504;
    const float scale =
        round_to_f16(static_cast<float>(std::min(range / kLargestNormal, kLargestScale)));
    const double error = group.error(scale);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

GroupedLayout layout_of(const MatrixShape& shape, const Options& options) {
  return block_layout("olive", shape, kDim, 8, options.integer("group"), 0, {2});
}

class OliveEncoder final : public BlockEncoderOf<uint16_t> {
 public:
  OliveEncoder(const GroupedLayout& layout, const MatrixShape& shape)
      : BlockEncoderOf(layout, shape, kDim),
        scales_(static_cast<size_t>(layout.groups * layout.shape().rows)) {}

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit_options) override {
    constexpr int kPlainSteps = 12;
    const int64_t cols = columns_in_group(group);
    const bool search = fit_options.search_steps > 0;
    const float* importance = search ? usable_importance(fit_options.importance, cols) : nullptr;
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      const float scale =
          fit({row.data(), importance, cols}, std::max(fit_options.search_steps, kPlainSteps));
      scales_[group_index(row_begin + r, group)] = scale;
      parameter(row_begin + r, group, 0) = float_to_f16(scale);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t block = col / kDim;
    const bool whole = col + 1 < shape_.cols;
    for (int64_t r = 0; r < row_count; ++r) {
      const float scale = scales_[group_index(row_begin + r, block / layout_.group_cols)];
      const Pair pair = {w[r], whole ? w[stride + r] : 0.0F};
      const unsigned found = nearest(pair, {1.0, whole ? 1.0 : 0.0}, scale).code;
      code(row_begin + r, block) = static_cast<uint16_t>(found);
      scatter_block(value_of(found, scale).data(), col, stride, q + r);
    }
  }

 private:
  std::vector<float> scales_;  // [groups][rows]
};

class OliveCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(layout_of(shape, options).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<OliveEncoder>(layout_of(shape, options), shape);
  }

  // The range is searched.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const GroupedLayout layout = layout_of(shape, options);
    const auto value = [&](int64_t row, int64_t group, uint16_t code, float* point) {
      std::ranges::copy(value_of(code, half_parameter(layout, bytes, row, group, 0)), point);
    };
    decode_blocks<uint16_t>(layout, shape, kDim, bytes, row_begin, row_count, out, value);
  }

  // Outliers shift a product with two bits.
  ProductCost product_cost(const Options&) const override {
    return {.multiplications = 1, .shifts = 1, .bits = 4};
  }

  std::string label(const Options& options) const override {
    return fmt::format("olive4 {}", group_label(options.integer("group")));
  }

 private:
  PartInfo info_{
      .id = "olive",
      .summary = "4-bit integers; the neighbour of an outlier is 0 and its code makes room for it",
      .source =
          "Guo et al. 2023 (OliVe), arXiv:2304.07493; differs: ranges searched, an outlier is what "
          "loses less as one",
      .options = {group_option(0)}};
};

const Registration<Codec, OliveCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

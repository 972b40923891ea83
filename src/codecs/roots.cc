// Codec `roots`: pairs of columns as a complex number, one of the fourth roots of unity times a
// scale.
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

// Columns 2j and 2j + 1 are the real and the imaginary part. Code k is i^k = 1, i, -1, -i with a
// scale for the real and one for the imaginary roots of the group:
//     0: (re, 0)   1: (0, im)   2: (-re, 0)   3: (0, -im)
struct Scales {
  float re = 0;
  float im = 0;
};

using Pair = std::array<float, kDim>;

Pair value_of(unsigned code, const Scales& scales) {
  const float part = code % 2 == 0 ? scales.re : scales.im;
  const float value = code < 2 ? part : -part;
  return code % 2 == 0 ? Pair{value, 0.0F} : Pair{0.0F, value};
}

// A pair of weights, and what the squared error of each counts.
struct Weighted {
  Pair w;
  std::array<double, kDim> weight;
};

struct Nearest {
  unsigned code = 0;
  double error = std::numeric_limits<double>::infinity();
};

// The first code of least error.
Nearest nearest(const Weighted& pair, const Scales& scales) {
  Nearest best;
  for (unsigned code = 0; code < 4; ++code) {
    const Pair value = value_of(code, scales);
    double error = 0;
    for (size_t i = 0; i < kDim; ++i) {
      const double difference = static_cast<double>(pair.w[i]) - static_cast<double>(value[i]);
      error += pair.weight[i] * difference * difference;
    }
    if (error < best.error) best = {code, error};
  }
  return best;
}

// Alternates between nearest codes and the best scales for them, the mean magnitudes; keeps the
// best of what binary16 can hold.
Scales fit(const std::vector<Weighted>& pairs) {
  constexpr int kRounds = 10;
  double sum = 0;
  double count = 0;
  for (const Weighted& pair : pairs) {
    const size_t larger = std::fabs(pair.w[1]) > std::fabs(pair.w[0]) ? 1 : 0;
    sum += pair.weight[larger] * static_cast<double>(std::fabs(pair.w[larger]));
    count += pair.weight[larger];
  }
  const float mean = count > 0 ? static_cast<float>(sum / count) : 0.0F;
  Scales scales{mean, mean};
  Scales best;
  double least = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    scales = {round_to_f16(scales.re), round_to_f16(scales.im)};
    double error = 0;
    std::array<double, kDim> sums{};
    std::array<double, kDim> counts{};
    for (const Weighted& pair : pairs) {
      const Nearest found = nearest(pair, scales);
      error += found.error;
      const size_t part = found.code % 2;
      const double sign = found.code < 2 ? 1.0 : -1.0;
      sums[part] += pair.weight[part] * sign * static_cast<double>(pair.w[part]);
      counts[part] += pair.weight[part];
    }
    if (!(error < least)) break;
    least = error;
    best = scales;
    if (counts[0] > 0) scales.re = static_cast<float>(sums[0] / counts[0]);
    if (counts[1] > 0) scales.im = static_cast<float>(sums[1] / counts[1]);
  }
  return best;
}

// Parameters of a group: the two scales.
GroupedLayout layout_of(const MatrixShape& shape, const Options& options) {
  return block_layout("roots", shape, kDim, 2, options.integer("group"), 0, {2, 2});
}

class RootsEncoder final : public BlockEncoderOf<uint16_t> {
 public:
  RootsEncoder(const GroupedLayout& layout, const MatrixShape& shape)
      : BlockEncoderOf(layout, shape, kDim),
        scales_(static_cast<size_t>(layout.groups * layout.shape().rows)) {}

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit_options) override {
    const int64_t cols = columns_in_group(group);
    const float* importance =
        fit_options.search_steps > 0 ? usable_importance(fit_options.importance, cols) : nullptr;
    std::vector<Weighted> pairs;
    for (int64_t r = 0; r < row_count; ++r) {
      pairs.clear();
      for (int64_t c = 0; c < cols; c += kDim)
        pairs.push_back(load(w + r, c, cols, stride, importance));
      const Scales scales = fit(pairs);
      parameter(row_begin + r, group, 0) = float_to_f16(scales.re);
      parameter(row_begin + r, group, 1) = float_to_f16(scales.im);
      scales_[group_index(row_begin + r, group)] = scales;
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t block = col / kDim;
    for (int64_t r = 0; r < row_count; ++r) {
      const Scales scales = scales_[group_index(row_begin + r, block / layout_.group_cols)];
      const Weighted pair = load(w + r, 0, shape_.cols - col, stride, nullptr);
      const unsigned found = nearest(pair, scales).code;
      code(row_begin + r, block) = static_cast<uint16_t>(found);
      scatter_block(value_of(found, scales).data(), col, stride, q + r);
    }
  }

 private:
  // Columns c and c + 1 of a row; what is beyond `cols` does not count.
  static Weighted load(const float* w, int64_t c, int64_t cols, int64_t stride,
                       const float* importance) {
    Weighted pair{};
    for (int64_t i = 0; i < std::min(kDim, cols - c); ++i) {
      const auto at = static_cast<size_t>(i);
      pair.w[at] = w[(c + i) * stride];
      pair.weight[at] = importance != nullptr ? static_cast<double>(importance[c + i]) : 1.0;
    }
    return pair;
  }

  std::vector<Scales> scales_;  // [groups][rows]
};

class RootsCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(layout_of(shape, options).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<RootsEncoder>(layout_of(shape, options), shape);
  }

  // Alternation ends in local minima.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const GroupedLayout layout = layout_of(shape, options);
    const auto value = [&](int64_t row, int64_t group, uint16_t code, float* point) {
      const Scales scales{half_parameter(layout, bytes, row, group, 0),
                          half_parameter(layout, bytes, row, group, 1)};
      std::ranges::copy(value_of(code, scales), point);
    };
    decode_blocks<uint16_t>(layout, shape, kDim, bytes, row_begin, row_count, out, value);
  }

  // Half of the weights are 0, the others signs.
  ProductCost product_cost(const Options&) const override { return {0, 0, 0, 0, true}; }

  std::string label(const Options& options) const override {
    return fmt::format("roots {}", group_label(options.integer("group")));
  }

 private:
  PartInfo info_{
      .id = "roots",
      .summary =
          "pairs of columns as 1, i, -1 or -i, with a scale for each part per group of a row",
      .source =
          "Wang et al. 2025 (iFairy), arXiv:2508.05571; differs: pairs of columns of a real "
          "matrix, "
          "scales per group, nearest codes instead of the nearest angle",
      .options = {group_option(128)}};
};

const Registration<Codec, RootsCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

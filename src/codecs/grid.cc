#include "codecs/grid.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "tensor/minifloat.h"

namespace bitsmith {

Grid::Grid(std::vector<float> levels, int unused) : levels_(std::move(levels)) {
  BITSMITH_ASSERT(!levels_.empty());
  std::vector<int> order(levels_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int code) { return level(code); });
  for (const int code : order) {
    if (code == unused) continue;
    if (!codes_.empty() && level(codes_.back()) == level(code)) continue;
    codes_.push_back(code);
  }
  lowest_ = level(codes_.front());
  highest_ = level(codes_.back());
  for (size_t i = 1; i < codes_.size(); ++i) {
    const float gap = level(codes_[i]) - level(codes_[i - 1]);
    const float size = std::max(std::fabs(level(codes_[i])), std::fabs(level(codes_[i - 1])));
    resolved_ = resolved_ && gap > std::ldexp(size, -20);
    const float midway = 0.5F * (level(codes_[i - 1]) + level(codes_[i]));
    const bool tie_down = codes_[i - 1] % 2 == 0 && codes_[i] % 2 != 0;
    thresholds_.push_back(tie_down ? std::nextafter(midway, std::numeric_limits<float>::infinity())
                                   : midway);
    symmetric_ = symmetric_ && level(codes_[i]) == -level(codes_[codes_.size() - 1 - i]);
  }
  const size_t ranks = std::bit_ceil(codes_.size());
  thresholds_.resize(ranks - 1, std::numeric_limits<float>::infinity());
  codes_.resize(ranks, codes_.back());
  half_ = ranks / 2;
}

std::vector<float> signed_levels(const std::vector<float>& magnitudes) {
  std::vector<float> levels = magnitudes;
  for (const float m : magnitudes) levels.push_back(-m);
  return levels;
}

std::vector<float> normalized(std::vector<float> levels) {
  float largest = 0;
  for (const float level : levels) largest = std::max(largest, std::fabs(level));
  const float factor = std::ldexp(1.0F, -floor_log2(largest));
  for (float& level : levels) level *= factor;
  return levels;
}

float short_level(double level) {
  int exponent = 0;
  const double mantissa = std::frexp(level, &exponent);
  return static_cast<float>(std::ldexp(std::round(std::ldexp(mantissa, 16)), exponent - 16));
}

namespace {

// The narrowest range that is tried, as a part of the plain one.
constexpr float kNarrowest = 0.2F;

float inverse_of(float scale) { return scale != 0.0F ? 1.0F / scale : 0.0F; }

// One group of one row.
struct GroupData {
  const float* w;           // [cols]
  const float* importance;  // [cols] or nullptr
  int64_t cols;
};

// A scale (its pattern) and a grid for a group, and their error Σ importance * (w - q)².
struct Choice {
  uint32_t pattern = 0;
  int grid = 0;
  double error = std::numeric_limits<double>::infinity();
};

class GridFit {
 public:
  GridFit(const GridFormat& format, float tensor_scale)
      : format_(format), tensor_scale_(tensor_scale) {}

  Choice fit(const GroupData& data, int grid, int search_steps) const {
    const float extreme = extreme_scale(data, format_.grids[static_cast<size_t>(grid)]);
    Choice best = plain(data, grid, extreme);
    const bool search = search_steps > 0 || format_.rule == ScaleRule::kBest;
    if (!search || extreme == 0.0F) return best;
    if (is_fine_scale(format_.scale)) {
      search_fine(data, grid, extreme, search_steps > 0 ? search_steps : 20, best);
    } else {
      search_patterns(data, grid, extreme, best);
    }
    return best;
  }

  // The scale that puts the extreme weights on the outermost levels.
  static float extreme_scale(const GroupData& data, const Grid& grid) {
    float low = 0;
    float high = 0;
    for (int64_t c = 0; c < data.cols; ++c) {
      low = std::min(low, data.w[c]);
      high = std::max(high, data.w[c]);
    }
    const float positive = grid.highest() > 0 ? high / grid.highest() : 0.0F;
    const float negative = grid.lowest() < 0 ? low / grid.lowest() : 0.0F;
    return std::max(positive, negative);
  }

 private:
  // The largest pattern whose outermost levels are finite.
  uint32_t largest(int grid) const {
    const uint32_t all = largest_scale(format_.scale);
    if (format_.scale != ScaleFormat::kE8m0) return all;
    const Grid& levels = format_.grids[static_cast<size_t>(grid)];
    const int exponent = floor_log2(std::max(levels.highest(), -levels.lowest()));
    return all - static_cast<uint32_t>(std::max(exponent, 0));
  }

  double error_of(const GroupData& data, int grid, uint32_t pattern) const {
    const Grid& levels = format_.grids[static_cast<size_t>(grid)];
    const float scale = decode_scale(format_.scale, pattern, tensor_scale_);
    const float inverse = inverse_of(scale);
    double error = 0;
    for (int64_t c = 0; c < data.cols; ++c) {
      const float q = scale * levels.level(levels.nearest(data.w[c] * inverse));
      const double difference = static_cast<double>(data.w[c]) - static_cast<double>(q);
      const double weight =
          data.importance != nullptr ? static_cast<double>(data.importance[c]) : 1;
      error += weight * difference * difference;
    }
    return error;
  }

  void try_pattern(const GroupData& data, int grid, uint32_t pattern, Choice& best) const {
    const double error = error_of(data, grid, pattern);
    if (error < best.error) best = {pattern, grid, error};
  }

  uint32_t plain_pattern(const GroupData& data, const Grid& grid, float extreme) const {
    if (is_fine_scale(format_.scale)) return floor_scale(format_.scale, extreme, 1.0F);
    if (format_.scale != ScaleFormat::kE8m0) {
      return nearest_scale(format_.scale, extreme, tensor_scale_);
    }
    const float outermost = std::max(grid.highest(), -grid.lowest());
    float largest = 0;
    for (int64_t c = 0; c < data.cols; ++c) largest = std::max(largest, std::fabs(data.w[c]));
    int exponent = floor_log2(largest);
    switch (format_.rule) {
      case ScaleRule::kCeil: {
        const uint32_t below = floor_scale(format_.scale, extreme, 1.0F);
        const bool exact = e8m0_to_float(static_cast<uint8_t>(below)) >= extreme;
        return exact ? below : below + 1;
      }
      case ScaleRule::kEven:
        // Adds a quarter to the mantissa.
        exponent = floor_log2(std::bit_cast<float>(std::bit_cast<uint32_t>(largest) + 0x200000u));
        break;
      default:
        break;
    }
    return e8m0_of_exponent(exponent - floor_log2(outermost));
  }

  Choice plain(const GroupData& data, int grid, float extreme) const {
    const uint32_t pattern = std::min(
        plain_pattern(data, format_.grids[static_cast<size_t>(grid)], extreme), largest(grid));
    Choice best{pattern, grid, error_of(data, grid, pattern)};
    if (best.error == 0) return best;
    if (is_fine_scale(format_.scale)) {
      // The product with a long level, divided by it again, may be just beside the scale.
      if (pattern < largest(grid) && error_of(data, grid, pattern + 1) == 0) {
        return {pattern + 1, grid, 0};
      }
      if (pattern > 0 && error_of(data, grid, pattern - 1) == 0) return {pattern - 1, grid, 0};
      return best;
    }
    if (format_.rule == ScaleRule::kFourOverSix) {
      try_pattern(data, grid, nearest_scale(format_.scale, extreme * 1.5F, tensor_scale_), best);
    }
    for (uint32_t p = pattern == 0 ? 0 : pattern - 1; p <= std::min(pattern + 3, largest(grid));
         ++p) {
      const double error = error_of(data, grid, p);
      if (error == 0) return {p, grid, error};
    }
    return best;
  }

  // Ranges between that in which the extreme lies halfway outside and a fifth of it, either sign if
  // that makes a difference; then the scale that is best for the chosen codes.
  void search_fine(const GroupData& data, int grid, float extreme, int steps, Choice& best) const {
    const bool symmetric = format_.grids[static_cast<size_t>(grid)].symmetric();
    for (int step = 0; step < steps; ++step) {
      const float part =
          1.1F + (kNarrowest - 1.1F) * static_cast<float>(step) / static_cast<float>(steps);
      const uint32_t pattern = nearest_scale(format_.scale, extreme * part, 1.0F);
      try_pattern(data, grid, pattern, best);
      if (!symmetric) try_pattern(data, grid, pattern | sign_bit(), best);
    }
    for (int round = 0; round < 2; ++round) {
      const double ideal = least_squares_scale(data, grid, best.pattern);
      const auto magnitude = static_cast<float>(
          std::min(std::fabs(ideal), double{decode_scale(format_.scale, largest(grid), 1.0F)}));
      const uint32_t sign = ideal < 0 ? sign_bit() : 0;
      if (sign != 0 && symmetric) break;
      try_pattern(data, grid, nearest_scale(format_.scale, magnitude, 1.0F) | sign, best);
    }
  }

  uint32_t sign_bit() const { return uint32_t{1} << (8 * scale_bytes(format_.scale) - 1); }

  // Σ w level / Σ level² under the codes of `pattern`.
  double least_squares_scale(const GroupData& data, int grid, uint32_t pattern) const {
    const Grid& levels = format_.grids[static_cast<size_t>(grid)];
    const float inverse = inverse_of(decode_scale(format_.scale, pattern, tensor_scale_));
    double wl = 0;
    double ll = 0;
    for (int64_t c = 0; c < data.cols; ++c) {
      const double weight =
          data.importance != nullptr ? static_cast<double>(data.importance[c]) : 1;
      const auto level = static_cast<double>(levels.level(levels.nearest(data.w[c] * inverse)));
      wl += weight * static_cast<double>(data.w[c]) * level;
      ll += weight * level * level;
    }
    return ll > 0 ? wl / ll : 0;
  }

  // All 8-bit scales from half of the plain one to twice it.
  void search_patterns(const GroupData& data, int grid, float extreme, Choice& best) const {
    const uint32_t low = nearest_scale(format_.scale, extreme * 0.5F, tensor_scale_);
    const uint32_t high =
        nearest_scale(format_.scale, std::min(extreme, 1.7e38F) * 2.0F, tensor_scale_);
    for (uint32_t pattern = low; pattern <= std::min(high, largest(grid)); ++pattern) {
      try_pattern(data, grid, pattern, best);
    }
  }

  const GridFormat& format_;
  float tensor_scale_;
};

class GridEncoder final : public GroupedEncoder {
 public:
  GridEncoder(const GroupedLayout& layout, GridFormat format)
      : GroupedEncoder(layout), format_(std::move(format)) {
    const size_t groups = static_cast<size_t>(layout.groups * layout.shape().rows);
    scales_.resize(groups);
    inverses_.resize(groups);
    if (format_.grid_per_group) grid_of_group_.resize(groups);
  }

  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool&) override {
    if (tensor_chooses()) choose_grid(weights, fit);
    if (has_tensor_scale(format_.scale)) {
      set_tensor_scale(weights);
      set_header(0, tensor_scale_);
    }
    if (tensor_chooses()) {
      set_header(has_tensor_scale(format_.scale) ? 4 : 0, static_cast<uint8_t>(grid_));
    }
    prepared_ = true;
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    BITSMITH_ASSERT(prepared_ || (!tensor_chooses() && !has_tensor_scale(format_.scale)));
    const int64_t cols = layout_.columns_of(group);
    const GridFit fitter(format_, tensor_scale_);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      const GroupData data{row.data(), usable_importance(fit.importance, cols), cols};
      Choice best;
      for (int grid = 0; grid < static_cast<int>(format_.grids.size()); ++grid) {
        if (!format_.grid_per_group && grid != grid_) continue;
        const Choice choice = fitter.fit(data, grid, fit.search_steps);
        if (choice.error < best.error || grid == 0) best = choice;
      }
      store(row_begin + r, group, best);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    const int64_t group = col / layout_.group_cols;
    for (int64_t r = 0; r < row_count; ++r) {
      const size_t at = group_index(row_begin + r, group);
      const size_t which = format_.grid_per_group ? grid_of_group_[at] : static_cast<size_t>(grid_);
      const Grid& grid = format_.grids[which];
      const int nearest = grid.nearest(w[r] * inverses_[at]);
      code(row_begin + r, col) = static_cast<uint16_t>(nearest);
      q[r] = scales_[at] * grid.level(nearest);
    }
  }

 private:
  bool tensor_chooses() const { return format_.grids.size() > 1 && !format_.grid_per_group; }

  void store(int64_t row, int64_t group, const Choice& choice) {
    const size_t at = group_index(row, group);
    parameter(row, group, 0) = choice.pattern;
    scales_[at] = decode_scale(format_.scale, choice.pattern, tensor_scale_);
    inverses_[at] = inverse_of(scales_[at]);
    if (format_.grid_per_group) {
      parameter(row, group, 1) = static_cast<uint32_t>(choice.grid);
      grid_of_group_[at] = static_cast<uint8_t>(choice.grid);
    }
  }

  // Calls visit(data) for every group of some rows, [rows, cols].
  template <class Visit>
  void for_each_group(std::span<const float> weights, const FitOptions& fit, Visit visit) const {
    const int64_t cols = layout_.shape().cols;
    const int64_t rows = cols > 0 ? static_cast<int64_t>(weights.size()) / cols : 0;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t group = 0; group < layout_.groups; ++group) {
        const int64_t begin = group * layout_.group_cols;
        const int64_t count = layout_.columns_of(group);
        const float* importance = fit.importance != nullptr ? fit.importance + begin : nullptr;
        visit(GroupData{weights.data() + row * cols + begin, usable_importance(importance, count),
                        count});
      }
    }
  }

  void set_tensor_scale(std::span<const float> weights) {
    const Grid& grid = format_.grids[static_cast<size_t>(grid_)];
    float largest = 0;
    for_each_group(weights, {}, [&](const GroupData& data) {
      largest = std::max(largest, GridFit::extreme_scale(data, grid));
    });
    tensor_scale_ = tensor_scale_for(format_.scale, largest);
  }

  // The grid with the least error over rows spread evenly, at most about 2^18 weights.
  void choose_grid(std::span<const float> weights, const FitOptions& fit) {
    const int64_t cols = layout_.shape().cols;
    const int64_t rows = cols > 0 ? static_cast<int64_t>(weights.size()) / cols : 0;
    const int64_t step = std::max<int64_t>(rows * cols >> 18, 1);
    double least = std::numeric_limits<double>::infinity();
    int best = 0;
    for (grid_ = 0; grid_ < static_cast<int>(format_.grids.size()); ++grid_) {
      set_tensor_scale(weights);
      const GridFit fitter(format_, tensor_scale_);
      double error = 0;
      for (int64_t row = 0; row < rows; row += step) {
        const auto w = weights.subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols));
        for_each_group(w, fit, [&](const GroupData& data) {
          error += fitter.fit(data, grid_, fit.search_steps).error;
        });
      }
      if (error < least) {
        least = error;
        best = grid_;
      }
    }
    grid_ = best;
  }

  GridFormat format_;
  bool prepared_ = false;
  float tensor_scale_ = 1.0F;
  int grid_ = 0;
  std::vector<float> scales_;  // [groups][rows], as are the next two
  std::vector<float> inverses_;
  std::vector<uint8_t> grid_of_group_;
};

}  // namespace

GroupedLayout GridCodec::layout(const MatrixShape& shape, const GridFormat& format) const {
  const bool tensor_chooses = format.grids.size() > 1 && !format.grid_per_group;
  const int64_t header = (has_tensor_scale(format.scale) ? 4 : 0) + (tensor_chooses ? 1 : 0);
  std::vector<int> parameters = {scale_bytes(format.scale)};
  if (format.grid_per_group) parameters.push_back(1);
  return GroupedLayout(CodePlanes::of_bits(info().id, shape, format.bits), format.group, header,
                       std::move(parameters));
}

uint64_t GridCodec::encoded_bytes(const MatrixShape& shape, const Options& options) const {
  return static_cast<uint64_t>(layout(shape, format(options)).total_bytes);
}

std::unique_ptr<Encoder> GridCodec::encoder(const MatrixShape& shape,
                                            const Options& options) const {
  GridFormat meaning = format(options);
  const GroupedLayout grouped = layout(shape, meaning);
  return std::make_unique<GridEncoder>(grouped, std::move(meaning));
}

bool GridCodec::is_idempotent(const Options& options) const {
  // With the best scale, or one of several grids, the group of the largest weight need not have the
  // largest scale, which is what the tensor's is made from.
  const GridFormat meaning = format(options);
  const bool chosen = meaning.rule == ScaleRule::kBest || meaning.grids.size() > 1;
  if (chosen && has_tensor_scale(meaning.scale)) return false;
  return std::ranges::all_of(meaning.grids, &Grid::is_resolved);
}

GridCodec::Header GridCodec::read_header(const GridFormat& format, const uint8_t* in) {
  Header header;
  if (has_tensor_scale(format.scale)) {
    std::memcpy(&header.tensor_scale, in, sizeof(header.tensor_scale));
    in += sizeof(header.tensor_scale);
  }
  const size_t count = format.grids.size();
  if (count > 1 && !format.grid_per_group) header.grid = *in % count;
  return header;
}

std::optional<LevelMatrix> GridCodec::level_matrix(const MatrixShape& shape, const Options& options,
                                                   std::span<const std::byte> bytes) const {
  const GridFormat meaning = format(options);
  if (meaning.grid_per_group || meaning.bits > 8) return std::nullopt;
  LevelMatrix matrix{.layout = layout(shape, meaning),
                     .bits = meaning.bits,
                     .is_scaled = true,
                     .scale = meaning.scale};
  BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(matrix.layout.total_bytes));
  const Header header = read_header(meaning, reinterpret_cast<const uint8_t*>(bytes.data()));
  matrix.tensor_scale = header.tensor_scale;
  matrix.tables.push_back(meaning.grids[header.grid].levels());
  matrix.tables[0].resize(size_t{1} << meaning.bits);  // codes beyond the levels are 0
  return matrix;
}

void GridCodec::decode(const MatrixShape& shape, const Options& options,
                       std::span<const std::byte> bytes, int64_t row_begin, int64_t row_count,
                       float* out) const {
  const GridFormat meaning = format(options);
  const GroupedLayout grouped = layout(shape, meaning);
  BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(grouped.total_bytes));
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  const Header header = read_header(meaning, in);
  const size_t count = meaning.grids.size();
  std::vector<uint16_t> codes(static_cast<size_t>(shape.cols));
  for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
    grouped.codes.unpack_row(in + grouped.codes_offset, row, codes.data());
    for (int64_t group = 0; group < grouped.groups; ++group) {
      const float scale = decode_scale(meaning.scale, grouped.read_parameter(in, row, group, 0),
                                       header.tensor_scale);
      const size_t which =
          meaning.grid_per_group ? grouped.read_parameter(in, row, group, 1) % count : header.grid;
      const std::vector<float>& levels = meaning.grids[which].levels();
      const int64_t begin = group * grouped.group_cols;
      for (int64_t c = begin; c < begin + grouped.columns_of(group); ++c) {
        const size_t code = codes[static_cast<size_t>(c)];
        *out++ = code < levels.size() ? scale * levels[code] : 0.0F;
      }
    }
  }
}

}  // namespace bitsmith

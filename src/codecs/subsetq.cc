// Codec `subsetq`: levels that are a subset, chosen for each tensor, of sums of two powers of two.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "codecs/grid.h"
#include "codecs/int_fit.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

// The universal set of magnitudes, in units of 1/32: a + b with a in {0, 2, 8, 16} and b in {0, 1,
// 4, 16}, each number once. All are sums of at most two powers of two, so that a product is two
// shifts and an addition, and whole, so that rows are integers times a scale.
constexpr std::array<int, 15> kUniverse = {0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 17, 18, 20, 24, 32};

constexpr int64_t kHeaderBytes = 2;

// The magnitudes of a set, ascending: bit i of `set` stands for kUniverse[i]. `count` of them;
// where a damaged file has fewer, the rest are 0.
std::vector<float> magnitudes_of(uint32_t set, size_t count) {
  std::vector<float> magnitudes;
  for (size_t i = 0; i < kUniverse.size() && magnitudes.size() < count; ++i) {
    if ((set >> i & 1) != 0) magnitudes.push_back(static_cast<float>(kUniverse[i]));
  }
  magnitudes.resize(count, 0.0F);
  return magnitudes;
}

struct SubsetFormat {
  int bits;
  int64_t group;

  explicit SubsetFormat(const Options& options)
      : bits(static_cast<int>(options.integer("bits"))), group(options.integer("group")) {}
  size_t magnitudes() const { return size_t{1} << (bits - 1); }
  GroupedLayout layout(std::string_view owner, const MatrixShape& shape) const {
    return GroupedLayout(CodePlanes::of_bits(owner, shape, bits), group, kHeaderBytes, {2});
  }
};

float largest_of(std::span<const float> w) {
  float largest = 0;
  for (const float x : w) largest = std::max(largest, std::fabs(x));
  return largest;
}

// The ranges that a search tries, in parts of the largest magnitude; none: that alone.
std::vector<double> tried_ranges(int search_steps) {
  std::vector<double> ranges = {1.0};
  for (int step = 0; step < search_steps; ++step) ranges.push_back(1.1 - 0.8 * step / search_steps);
  return ranges;
}

// How often each magnitude occurs, in parts of the largest of its group: running sums over 2048
// cells of what a number counts, of that times the number and times its square.
class Histogram {
 public:
  void add(double x, double count) {
    const double cell = std::min(x * kCells, kCells - 1.0);
    Sums& sums = sums_[static_cast<size_t>(cell) + 1];
    sums.count += count;
    sums.first += count * x;
    sums.second += count * x * x;
  }
  void finish() {
    for (size_t i = 1; i < sums_.size(); ++i) {
      sums_[i].count += sums_[i - 1].count;
      sums_[i].first += sums_[i - 1].first;
      sums_[i].second += sums_[i - 1].second;
    }
  }
  // Σ count * (x - nearest level)²; levels ascending.
  double error(std::span<const double> levels) const {
    double error = 0;
    Sums begin;
    for (size_t i = 0; i < levels.size(); ++i) {
      const Sums& end = i + 1 < levels.size() ? at((levels[i] + levels[i + 1]) / 2) : sums_.back();
      error += end.second - begin.second - 2 * levels[i] * (end.first - begin.first) +
               levels[i] * levels[i] * (end.count - begin.count);
      begin = end;
    }
    return error;
  }

 private:
  static constexpr double kCells = 2048;
  struct Sums {
    double count = 0;
    double first = 0;
    double second = 0;
  };
  // Of the numbers below x, to the nearest border of cells.
  const Sums& at(double x) const {
    return sums_[static_cast<size_t>(std::min(std::round(x * kCells), kCells))];
  }
  std::vector<Sums> sums_ = std::vector<Sums>(static_cast<size_t>(kCells) + 1);
};

// The set of `count` magnitudes whose best range has the least error, of all there are (at most
// 6,435, for 8 of 15); the first of equals.
uint32_t best_set(const Histogram& histogram, size_t count, const std::vector<double>& ranges) {
  uint32_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  std::vector<double> levels(count);
  for (uint32_t set = 0; set < uint32_t{1} << kUniverse.size(); ++set) {
    if (std::popcount(set) != static_cast<int>(count)) continue;
    const std::vector<float> magnitudes = magnitudes_of(set, count);
    for (const double range : ranges) {
      for (size_t i = 0; i < count; ++i) {
        levels[i] =
            static_cast<double>(magnitudes[i]) * range / static_cast<double>(magnitudes.back());
      }
      const double error = histogram.error(levels);
      if (error < least) {
        least = error;
        best = set;
      }
    }
  }
  return best;
}

class SubsetEncoder final : public GroupedEncoder {
 public:
  SubsetEncoder(const GroupedLayout& layout, const SubsetFormat& format)
      : GroupedEncoder(layout),
        format_(format),
        grid_({0.0F}),
        scales_(static_cast<size_t>(layout.groups * layout.shape().rows)) {}

  // Chooses the set for all weights in parts of the largest of their groups.
  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool&) override {
    const int64_t cols = layout_.shape().cols;
    const float* importance =
        fit.search_steps > 0 ? usable_importance(fit.importance, cols) : nullptr;
    Histogram histogram;
    for (size_t begin = 0; begin < weights.size(); begin += static_cast<size_t>(cols)) {
      for (int64_t group = 0; group < layout_.groups; ++group) {
        const int64_t first = group * layout_.group_cols;
        const auto part = weights.subspan(begin + static_cast<size_t>(first),
                                          static_cast<size_t>(layout_.columns_of(group)));
        const double largest = largest_of(part);
        if (largest == 0) continue;
        const double count = std::min(largest * largest, 1e30);
        for (size_t i = 0; i < part.size(); ++i) {
          const double own =
              importance != nullptr ? importance[static_cast<size_t>(first) + i] : 1.0;
          histogram.add(std::fabs(static_cast<double>(part[i])) / largest, own * count);
        }
      }
    }
    histogram.finish();
    const uint32_t set = best_set(histogram, format_.magnitudes(), tried_ranges(fit.search_steps));
    set_header(0, static_cast<uint16_t>(set));
    grid_ = Grid(signed_levels(magnitudes_of(set, format_.magnitudes())));
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t cols = layout_.columns_of(group);
    std::vector<float> row(static_cast<size_t>(cols));
    const float* importance =
        fit.search_steps > 0 ? usable_importance(fit.importance, cols) : nullptr;
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      const float scale = best_scale(row, importance, fit.search_steps);
      scales_[group_index(row_begin + r, group)] = scale;
      parameter(row_begin + r, group, 0) = float_to_f16(scale);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    const int64_t group = col / layout_.group_cols;
    for (int64_t r = 0; r < row_count; ++r) {
      const float scale = scales_[group_index(row_begin + r, group)];
      const int nearest = grid_.nearest(inverse_scale(scale) * w[r]);
      code(row_begin + r, col) = static_cast<uint16_t>(nearest);
      q[r] = scale * grid_.level(nearest);
    }
  }

 private:
  // Of the ranges that are tried, then with the scale of least squares for the codes of the best.
  float best_scale(std::span<const float> w, const float* importance, int steps) const {
    const float extreme = largest_of(w) / grid_.highest();
    float best = truncate_to_f16(extreme);
    if (steps == 0) return best;
    double least = error_of(w, importance, best);
    const auto offer = [&](double scale) {
      const float rounded = round_to_f16(static_cast<float>(scale));
      const double error = error_of(w, importance, rounded);
      if (error >= least) return;
      least = error;
      best = rounded;
    };
    for (const double range : tried_ranges(steps)) offer(extreme * range);
    double product = 0;
    double square = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double own = importance != nullptr ? static_cast<double>(importance[i]) : 1.0;
      const double level = grid_.level(grid_.nearest(inverse_scale(best) * w[i]));
      product += own * static_cast<double>(w[i]) * level;
      square += own * level * level;
    }
    if (square > 0) offer(product / square);
    return best;
  }

  double error_of(std::span<const float> w, const float* importance, float scale) const {
    double error = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const float q = scale * grid_.level(grid_.nearest(inverse_scale(scale) * w[i]));
      const double difference = static_cast<double>(w[i]) - static_cast<double>(q);
      error += (importance != nullptr ? static_cast<double>(importance[i]) : 1.0) * difference *
               difference;
    }
    return error;
  }

  SubsetFormat format_;
  Grid grid_;
  std::vector<float> scales_;  // [groups][rows]
};

class SubsetqCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(SubsetFormat(options).layout(info_.id, shape).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    const SubsetFormat format(options);
    return std::make_unique<SubsetEncoder>(format.layout(info_.id, shape), format);
  }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const SubsetFormat format(options);
    const GroupedLayout layout = format.layout(info_.id, shape);
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout.total_bytes));
    if (bytes.empty()) return;
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    uint16_t set;
    std::memcpy(&set, in, sizeof(set));
    const std::vector<float> levels = signed_levels(magnitudes_of(set, format.magnitudes()));
    std::vector<uint16_t> codes(static_cast<size_t>(shape.cols));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      layout.codes.unpack_row(in + layout.codes_offset, row, codes.data());
      for (int64_t c = 0; c < shape.cols; ++c) {
        const uint32_t pattern = layout.read_parameter(in, row, c / layout.group_cols, 0);
        *out++ =
            f16_to_float(static_cast<uint16_t>(pattern)) * levels[codes[static_cast<size_t>(c)]];
      }
    }
  }

  // The set is found by a search.
  bool is_idempotent(const Options&) const override { return false; }

  ProductCost product_cost(const Options&) const override { return {0, 2, 1, 0, true}; }

  std::string label(const Options& options) const override {
    return fmt::format("subsetq{} {}", options.integer("bits"),
                       group_label(options.integer("group")));
  }

 private:
  PartInfo info_{
      .id = "subsetq",
      .summary = "a set of levels for each tensor, out of 15 sums of two powers of two",
      .source =
          "Oh et al. 2022 (SubsetQ), ECCV, doi:10.1007/978-3-031-20083-0_39; differs: a scale per "
          "group of a row, sets are judged at several ranges",
      .options = {{"bits", int64_t{4}, "bits per code, the sign included", 2, 4}, group_option(0)}};
};

const Registration<Codec, SubsetqCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

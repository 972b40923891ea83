// Codec `pvq`: blocks of a row as a direction, a point of a pyramid, and a length.
#include "codecs/pvq.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "codecs/blocks.h"
#include "codecs/int_fit.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {

// N(n, k) = N(n - 1, k) + N(n, k - 1) + N(n - 1, k - 1).
Pyramid::Pyramid(int dim, int pulses)
    : dim_(dim), pulses_(pulses), counts_(static_cast<size_t>((dim + 1) * (pulses + 1))) {
  constexpr uint64_t kMost = uint64_t{1} << 63;
  for (int n = 0; n <= dim; ++n) {
    for (int k = 0; k <= pulses; ++k) {
      uint64_t& here = counts_[static_cast<size_t>(n * (pulses + 1) + k)];
      here = k == 0 ? 1 : 0;
      if (n == 0 || k == 0) continue;
      for (const uint64_t part : {count(n - 1, k), count(n, k - 1), count(n - 1, k - 1)}) {
        if (here >= kMost - std::min(part, kMost)) {
          fail(ErrorCode::kInvalidArgument,
               "codec 'pvq': {} pulses in {} columns have 2^63 points or more; use fewer", pulses,
               dim);
        }
        here += part;
      }
    }
  }
}

int Pyramid::index_bits() const { return static_cast<int>(std::bit_width(points() - 1)); }

uint64_t Pyramid::index_of(const int* point) const {
  uint64_t index = 0;
  int left = pulses_;
  for (int i = 0; i < dim_; ++i) {
    const int n = dim_ - 1 - i;  // numbers that follow
    const int magnitude = std::abs(point[i]);
    for (int m = 0; m < magnitude; ++m) index += (m == 0 ? 1 : 2) * count(n, left - m);
    if (point[i] < 0) index += count(n, left - magnitude);
    left -= magnitude;
  }
  BITSMITH_ASSERT(left == 0);
  return index;
}

void Pyramid::point_of(uint64_t index, int* point) const {
  index %= points();
  int left = pulses_;
  for (int i = 0; i < dim_; ++i) {
    const int n = dim_ - 1 - i;
    int magnitude = 0;
    while (magnitude < left) {
      const uint64_t here = (magnitude == 0 ? 1 : 2) * count(n, left - magnitude);
      if (index < here) break;
      index -= here;
      ++magnitude;
    }
    const uint64_t positive = count(n, left - magnitude);
    const bool negative = magnitude > 0 && index >= positive;
    if (negative) index -= positive;
    point[i] = negative ? -magnitude : magnitude;
    left -= magnitude;
  }
}

void Pyramid::nearest(const float* x, int* point) const {
  double sum = 0;
  for (int i = 0; i < dim_; ++i) sum += std::fabs(static_cast<double>(x[i]));
  std::fill_n(point, dim_, 0);
  if (!(sum > 0)) {
    point[0] = pulses_;
    return;
  }
  int left = pulses_;
  double xy = 0;
  double yy = 0;
  for (int i = 0; i < dim_; ++i) {
    const double magnitude = std::fabs(static_cast<double>(x[i]));
    const int y = std::min(left, static_cast<int>(pulses_ * (magnitude / sum)));
    point[i] = y;
    left -= y;
    xy += magnitude * y;
    yy += static_cast<double>(y) * y;
  }
  for (; left > 0; --left) {
    int best = 0;
    double most = -1;
    for (int i = 0; i < dim_; ++i) {
      const double with = xy + std::fabs(static_cast<double>(x[i]));
      const double gain = with * with / (yy + 2 * point[i] + 1);
      if (gain > most) {
        most = gain;
        best = i;
      }
    }
    xy += std::fabs(static_cast<double>(x[best]));
    yy += 2 * point[best] + 1;
    ++point[best];
  }
  // Placing one pulse after the other ends near the best point; moving single pulses on to it, or
  // to a point that no such move improves.
  const auto moved = [&](int from, int to) {
    const double with =
        xy - std::fabs(static_cast<double>(x[from])) + std::fabs(static_cast<double>(x[to]));
    return with * with / (yy + 2 * (point[to] - point[from] + 1));
  };
  while (true) {
    double most = xy * xy / yy * (1 + 1e-12);
    int best_from = -1;
    int best_to = -1;
    for (int from = 0; from < dim_; ++from) {
      for (int to = 0; to < dim_ && point[from] > 0; ++to) {
        if (from == to || moved(from, to) <= most) continue;
        most = moved(from, to);
        best_from = from;
        best_to = to;
      }
    }
    if (best_from < 0) break;
    xy += std::fabs(static_cast<double>(x[best_to])) - std::fabs(static_cast<double>(x[best_from]));
    yy += 2 * (point[best_to] - point[best_from] + 1);
    --point[best_from];
    ++point[best_to];
  }
  for (int i = 0; i < dim_; ++i) {
    if (x[i] < 0) point[i] = -point[i];
  }
}

namespace {

struct Format {
  Pyramid pyramid;
  int gain_bits;
  int64_t group;

  explicit Format(const Options& options)
      : pyramid(static_cast<int>(options.integer("dim")),
                static_cast<int>(options.integer("pulses"))),
        gain_bits(static_cast<int>(options.integer("gain_bits"))),
        group(options.integer("group")) {
    if (bits() > 64) {
      fail(ErrorCode::kInvalidArgument, "codec 'pvq': {} bits of index and {} of length exceed 64",
           pyramid.index_bits(), gain_bits);
    }
  }
  int bits() const { return pyramid.index_bits() + gain_bits; }
  int largest_gain() const { return (1 << gain_bits) - 1; }
  GroupedLayout layout(const MatrixShape& shape) const {
    return block_layout("pvq", shape, pyramid.dim(), bits(), group, 0, {2});
  }
  // The block of a code: length (gain / largest gain) * scale, direction of the point.
  void decode(uint64_t code, float scale, float* block) const {
    std::vector<int> point(static_cast<size_t>(pyramid.dim()));
    pyramid.point_of(code >> gain_bits, point.data());
    int norm = 0;
    for (const int y : point) norm += y * y;
    const auto gain = static_cast<float>(code & static_cast<uint64_t>(largest_gain()));
    const float length = scale * (gain / static_cast<float>(largest_gain()));
    const float unit = length / std::sqrt(static_cast<float>(norm));
    for (size_t i = 0; i < point.size(); ++i) block[i] = unit * static_cast<float>(point[i]);
  }
};

class PvqEncoder final : public BlockEncoderOf<uint64_t> {
 public:
  PvqEncoder(const Format& format, const MatrixShape& shape)
      : BlockEncoderOf(format.layout(shape), shape, format.pyramid.dim()),
        format_(format),
        scales_(static_cast<size_t>(layout_.groups * shape.rows)) {}

  // The scale is the largest length of a block; search: the best of smaller ones, by squared error.
  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t cols = columns_in_group(group);
    const float* importance = usable_importance(fit.importance, cols);
    std::vector<float> row;
    for (int64_t r = 0; r < row_count; ++r) {
      gather_blocks(w + r, group * group_cols(), cols, stride, row);
      double largest = 0;
      for (int64_t c = 0; c < cols; c += dim_) largest = std::max(largest, length(row.data() + c));
      const auto plain = static_cast<float>(std::min(largest, 65504.0));
      float best = round_to_f16(plain);
      const int steps = best > 0 ? fit.search_steps : 0;
      double least = steps > 0 ? error_of(row, importance, cols, best) : 0;
      for (int step = 1; step <= steps; ++step) {
        const float part = 1.0F - 0.5F * static_cast<float>(step) / static_cast<float>(steps);
        const float scale = round_to_f16(plain * part);
        const double error = error_of(row, importance, cols, scale);
        if (error < least) {
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
    const int64_t block = col / dim_;
    std::vector<float> x;
    std::vector<float> decoded(static_cast<size_t>(dim_));
    for (int64_t r = 0; r < row_count; ++r) {
      const float scale = scales_[group_index(row_begin + r, block / layout_.group_cols)];
      gather_blocks(w + r, col, dim_, stride, x);
      uint64_t& at = code(row_begin + r, block);
      at = encode(x.data(), scale);
      format_.decode(at, scale, decoded.data());
      scatter_block(decoded.data(), col, stride, q + r);
    }
  }

 private:
  double length(const float* block) const {
    double power = 0;
    for (int64_t i = 0; i < dim_; ++i) {
      power += static_cast<double>(block[i]) * static_cast<double>(block[i]);
    }
    return std::sqrt(power);
  }

  // The nearest direction, then the nearest length to the block's projection on it.
  uint64_t encode(const float* x, float scale) const {
    std::vector<int> point(static_cast<size_t>(dim_));
    format_.pyramid.nearest(x, point.data());
    double xy = 0;
    double yy = 0;
    for (int64_t i = 0; i < dim_; ++i) {
      const double y = point[static_cast<size_t>(i)];
      xy += static_cast<double>(x[i]) * y;
      yy += y * y;
    }
    const double gain = scale > 0 ? xy / std::sqrt(yy) / static_cast<double>(scale) : 0;
    const double largest = format_.largest_gain();
    const auto rounded = static_cast<uint64_t>(std::clamp(gain * largest + 0.5, 0.0, largest));
    return format_.pyramid.index_of(point.data()) << format_.gain_bits | rounded;
  }

  double error_of(const std::vector<float>& row, const float* importance, int64_t cols,
                  float scale) const {
    double error = 0;
    std::vector<float> block(static_cast<size_t>(dim_));
    for (int64_t begin = 0; begin < cols; begin += dim_) {
      format_.decode(encode(row.data() + begin, scale), scale, block.data());
      for (int64_t c = begin; c < std::min(begin + dim_, cols); ++c) {
        const double difference = static_cast<double>(row[static_cast<size_t>(c)]) -
                                  static_cast<double>(block[static_cast<size_t>(c - begin)]);
        error += (importance != nullptr ? static_cast<double>(importance[c]) : 1.0) * difference *
                 difference;
      }
    }
    return error;
  }

  Format format_;
  std::vector<float> scales_;  // [groups][rows]
};

class PvqCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(Format(options).layout(shape).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<PvqEncoder>(Format(options), shape);
  }

  // The last block of a row may point to columns that are cut off.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const Format format(options);
    const GroupedLayout layout = format.layout(shape);
    const int64_t dim = format.pyramid.dim();
    const auto value = [&](int64_t row, int64_t group, uint64_t code, float* point) {
      format.decode(code, half_parameter(layout, bytes, row, group, 0), point);
    };
    decode_blocks<uint64_t>(layout, shape, dim, bytes, row_begin, row_count, out, value);
  }

  std::string label(const Options& options) const override {
    return fmt::format("pvq n{} k{} gain{} {}", options.integer("dim"), options.integer("pulses"),
                       options.integer("gain_bits"), group_label(options.integer("group")));
  }

 private:
  PartInfo info_{.id = "pvq",
                 .summary = "blocks of a row as a point of a pyramid (direction) and a length",
                 .source = "Fischer 1986; Pyramid vector quantization for LLMs, arXiv:2410.16926",
                 .options = {{"dim", int64_t{8}, "columns of a block", 2, 32},
                             {"pulses", int64_t{6}, "sum of the magnitudes of a point", 1, 64},
                             {"gain_bits", int64_t{4}, "bits of a block's length", 1, 8},
                             group_option(0)}};
};

const Registration<Codec, PvqCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

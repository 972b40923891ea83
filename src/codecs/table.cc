#include "codecs/table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codecs/int_fit.h"
#include "tensor/dtype.h"

namespace bitsmith {

int TableFormat::codes() const {
  int count = 1;
  for (int i = 0; i < digits; ++i) count *= base;
  return count;
}

namespace {

class TableEncoder final : public GroupedEncoder {
 public:
  TableEncoder(const GroupedLayout& layout, const TableCodec& codec, const Options& options)
      : GroupedEncoder(layout),
        codec_(codec),
        options_(options),
        format_(codec.format(options)),
        count_(static_cast<size_t>(format_.codes())),
        uniform_(codec.is_uniform()) {
    if (uniform_) return;
    const size_t groups = static_cast<size_t>(layout.groups * layout.shape().rows);
    levels_.resize(groups * count_);
    codes_.resize(groups * count_);
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t cols = layout_.columns_of(group);
    std::vector<float> row(static_cast<size_t>(cols));
    std::vector<float> parameters(static_cast<size_t>(format_.parameters));
    std::vector<float> levels(count_);
    const bool search = fit.search_steps > 0;
    const float* importance = search ? usable_importance(fit.importance, cols) : nullptr;
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      codec_.fit(options_, {row, importance, fit.search_steps}, parameters);
      for (int i = 0; i < format_.parameters; ++i) {
        float& p = parameters[static_cast<size_t>(i)];
        p = round_to_f16(p);
        parameter(row_begin + r, group, i) = float_to_f16(p);
      }
      if (uniform_) continue;
      codec_.expand(options_, parameters, levels);
      store(group_index(row_begin + r, group), levels);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    const int64_t group = col / layout_.group_cols;
    for (int64_t r = 0; r < row_count; ++r) {
      if (uniform_) {
        q[r] = quantize_uniformly(row_begin + r, col, w[r]);
        continue;
      }
      const size_t first = group_index(row_begin + r, group) * count_;
      const size_t rank = first + nearest(levels_.data() + first, w[r]);
      code(row_begin + r, col) = codes_[rank];
      q[r] = levels_[rank];
    }
  }

 private:
  void store(size_t group, const std::vector<float>& levels) {
    uint16_t* order = codes_.data() + group * count_;
    std::iota(order, order + count_, uint16_t{0});
    std::stable_sort(order, order + count_,
                     [&](uint16_t a, uint16_t b) { return levels[a] < levels[b]; });
    for (size_t i = 0; i < count_; ++i) levels_[group * count_ + i] = levels[order[i]];
  }

  // What the nearest code stands for; of two the upper one.
  float quantize_uniformly(int64_t row, int64_t col, float w) {
    const int64_t group = col / layout_.group_cols;
    const auto number = [&](int i) {
      return f16_to_float(static_cast<uint16_t>(parameter(row, group, i)));
    };
    const float scale = number(0);
    const float offset = number(1);
    double nearest = 0;
    if (scale != 0) {
      const double steps =
          (static_cast<double>(w) - static_cast<double>(offset)) / static_cast<double>(scale);
      nearest = std::floor(std::clamp(steps, 0.0, static_cast<double>(count_ - 1)) + 0.5);
    }
    code(row, col) = static_cast<uint16_t>(nearest);
    return offset + scale * static_cast<float>(nearest);
  }

  // The rank of the nearest of ascending levels; a tie goes to the upper one.
  size_t nearest(const float* levels, float x) const {
    size_t rank = 0;
    size_t size = count_;
    while (size > 1) {
      const size_t half = size / 2;
      // In two halves, so that large levels do not overflow.
      const float midway = 0.5F * levels[rank + half - 1] + 0.5F * levels[rank + half];
      rank += x >= midway ? half : 0;
      size -= half;
    }
    return rank;
  }

  const TableCodec& codec_;
  Options options_;
  TableFormat format_;
  size_t count_;
  bool uniform_;
  std::vector<float> levels_;    // [groups][rows][codes], ascending; none of uniform levels
  std::vector<uint16_t> codes_;  // the code of each
};

}  // namespace

GroupedLayout TableCodec::layout(const MatrixShape& shape, const TableFormat& format) const {
  const CodePlanes planes =
      format.base == 2 && !format.planes
          ? CodePlanes::of_bits(info().id, shape, format.digits)
          : CodePlanes::of_digits(info().id, shape, format.base, format.digits);
  return GroupedLayout(planes, format.group, 0,
                       std::vector<int>(static_cast<size_t>(format.parameters), 2));
}

uint64_t TableCodec::encoded_bytes(const MatrixShape& shape, const Options& options) const {
  return static_cast<uint64_t>(layout(shape, format(options)).total_bytes);
}

std::unique_ptr<Encoder> TableCodec::encoder(const MatrixShape& shape,
                                             const Options& options) const {
  return std::make_unique<TableEncoder>(layout(shape, format(options)), *this, options);
}

void TableCodec::decode(const MatrixShape& shape, const Options& options,
                        std::span<const std::byte> bytes, int64_t row_begin, int64_t row_count,
                        float* out) const {
  const TableFormat meaning = format(options);
  const GroupedLayout grouped = layout(shape, meaning);
  BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(grouped.total_bytes));
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  std::vector<uint16_t> codes(static_cast<size_t>(shape.cols));
  std::vector<float> parameters(static_cast<size_t>(meaning.parameters));
  std::vector<float> levels(static_cast<size_t>(meaning.codes()));
  for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
    grouped.codes.unpack_row(in + grouped.codes_offset, row, codes.data());
    for (int64_t group = 0; group < grouped.groups; ++group) {
      for (int i = 0; i < meaning.parameters; ++i) {
        const uint32_t pattern = grouped.read_parameter(in, row, group, i);
        parameters[static_cast<size_t>(i)] = f16_to_float(static_cast<uint16_t>(pattern));
      }
      expand(options, parameters, levels);
      const int64_t begin = group * grouped.group_cols;
      for (int64_t c = begin; c < begin + grouped.columns_of(group); ++c) {
        *out++ = levels[codes[static_cast<size_t>(c)]];
      }
    }
  }
}

}  // namespace bitsmith

// What codecs that code several columns of a row as one have in common.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "codecs/grouped.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {

// The layout of grouped.h on the matrix of blocks: its columns are the blocks of `dim` columns of
// the tensor, the last filled up with zeros, and `group` columns (0: all) are group / dim of them.
inline GroupedLayout block_layout(std::string_view owner, const MatrixShape& shape, int64_t dim,
                                  int bits, int64_t group, int64_t header,
                                  std::vector<int> parameters) {
  if (group % dim != 0) {
    fail(ErrorCode::kInvalidArgument,
         "codec '{}': groups of {} columns do not consist of blocks of {}", owner, group, dim);
  }
  const MatrixShape blocks{shape.rows, shape.cols / dim + (shape.cols % dim != 0 ? 1 : 0)};
  return GroupedLayout(CodePlanes::of_bits(owner, blocks, bits), group / dim, header,
                       std::move(parameters));
}

// Decodes rows of such a codec: value(row, group, code, point) writes the `dim` numbers of a block,
// of which those beyond the last column are dropped.
template <class Code, class Value>
void decode_blocks(const GroupedLayout& layout, const MatrixShape& shape, int64_t dim,
                   std::span<const std::byte> bytes, int64_t row_begin, int64_t row_count,
                   float* out, const Value& value) {
  BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout.total_bytes));
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  std::vector<Code> codes(static_cast<size_t>(layout.shape().cols));
  std::vector<float> point(static_cast<size_t>(dim));
  for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
    layout.codes.unpack_row(in + layout.codes_offset, row, codes.data());
    for (int64_t block = 0; block < layout.shape().cols; ++block) {
      value(row, block / layout.group_cols, codes[static_cast<size_t>(block)], point.data());
      out = std::copy_n(point.begin(), std::min(dim, shape.cols - block * dim), out);
    }
  }
}

// Parameter `index` of a group, a binary16.
inline float half_parameter(const GroupedLayout& layout, std::span<const std::byte> bytes,
                            int64_t row, int64_t group, int index) {
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  return f16_to_float(static_cast<uint16_t>(layout.read_parameter(in, row, group, index)));
}

// The encoder of such a codec. Columns beyond the last are zeros and do not count.
template <class Code>
class BlockEncoderOf : public GroupedEncoderOf<Code> {
 public:
  BlockEncoderOf(const GroupedLayout& layout, const MatrixShape& shape, int64_t dim)
      : GroupedEncoderOf<Code>(layout), shape_(shape), dim_(dim) {}
  int64_t group_cols() const override {
    return std::max<int64_t>(this->layout_.group_cols, 1) * dim_;
  }
  int64_t block_cols() const override { return dim_; }

 protected:
  // Columns of the tensor in a group.
  int64_t columns_in_group(int64_t group) const {
    return std::min(group_cols(), shape_.cols - group * group_cols());
  }

  // One row of a column-major panel that starts at column `col`, filled with zeros to whole blocks.
  void gather_blocks(const float* w, int64_t col, int64_t cols, int64_t stride,
                     std::vector<float>& row) const {
    row.assign(static_cast<size_t>(ceil_div(cols, dim_) * dim_), 0.0F);
    gather_row(w, std::min(cols, shape_.cols - col), stride, row.data());
  }

  // Writes the columns of a decoded block that exist.
  void scatter_block(const float* block, int64_t col, int64_t stride, float* q) const {
    const int64_t cols = std::min(dim_, shape_.cols - col);
    for (int64_t c = 0; c < cols; ++c) q[c * stride] = block[c];
  }

  MatrixShape shape_;
  int64_t dim_;
};

}  // namespace bitsmith

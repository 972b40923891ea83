// What codecs with parameters per group of a row share: layout, storage, finishing.
#pragma once

#include <cstring>
#include <vector>

#include "codecs/code_planes.h"
#include "codecs/codec.h"

namespace bitsmith {

// The tensor's bytes are three sections, each of which starts at a multiple of 64 bytes:
//     header      what the whole tensor shares; absent if it has no bytes
//     codes       for each panel: its planes (code_planes.h)
//     parameters  for each panel, for each group, for each parameter: 16 numbers, one per row of
//                 the panel
// and are filled with zero bytes to a multiple of 64.
struct GroupedLayout {
  // `group` as in the options: 0 means the whole row. parameter_bytes: 1, 2 or 4 for each.
  GroupedLayout(const CodePlanes& planes, int64_t group, int64_t header_size,
                std::vector<int> parameter_bytes);

  CodePlanes codes;
  int64_t group_cols;  // at most cols
  int64_t groups;      // per row
  int64_t header_bytes;
  std::vector<int> parameter_bytes;
  int64_t group_bytes = 0;  // parameters of one group of one row
  int64_t codes_offset = 0;
  int64_t parameters_offset = 0;
  int64_t total_bytes = 0;

  const MatrixShape& shape() const { return codes.shape; }
  int parameter_count() const { return static_cast<int>(parameter_bytes.size()); }
  int64_t columns_of(int64_t group) const {
    return std::min(group_cols, shape().cols - group * group_cols);
  }
  // Where parameter `index` of a row's group lies.
  int64_t parameter_offset(int64_t row, int64_t group, int index) const;
  uint32_t read_parameter(const uint8_t* in, int64_t row, int64_t group, int index) const;
};

// Stores codes and parameters until they are written. Subclasses choose them.
template <class Code>
class GroupedEncoderOf : public Encoder {
 public:
  explicit GroupedEncoderOf(const GroupedLayout& layout);
  int64_t group_cols() const override { return std::max<int64_t>(layout_.group_cols, 1); }
  void finish(std::span<std::byte> bytes) const override;

 protected:
  Code& code(int64_t row, int64_t col) {
    return codes_[static_cast<size_t>(col * layout_.shape().rows + row)];
  }
  uint32_t& parameter(int64_t row, int64_t group, int index) {
    return parameters_[static_cast<size_t>((index * layout_.groups + group) * layout_.shape().rows +
                                           row)];
  }
  // Where a row's group is in arrays of one value for each, [groups][rows].
  size_t group_index(int64_t row, int64_t group) const {
    return static_cast<size_t>(group * layout_.shape().rows + row);
  }
  template <class Number>
  void set_header(size_t offset, const Number& value) {
    std::memcpy(header_.data() + offset, &value, sizeof(value));
  }

  GroupedLayout layout_;

 private:
  std::vector<Code> codes_;           // [cols][rows]
  std::vector<uint32_t> parameters_;  // [parameters][groups][rows]
  std::vector<std::byte> header_;
};

using GroupedEncoder = GroupedEncoderOf<uint16_t>;

// One row of a column-major panel, w[c * stride] for c in [0, cols), as consecutive numbers.
inline void gather_row(const float* w, int64_t cols, int64_t stride, float* row) {
  for (int64_t c = 0; c < cols; ++c) row[c] = w[c * stride];
}

// The importance of columns as a group's fit uses it: nullptr if it is absent or all zero.
const float* usable_importance(const float* importance, int64_t cols);

// "g64", or "row" for the group 0.
std::string group_label(int64_t group);
OptionSpec group_option(int64_t default_group);

}  // namespace bitsmith

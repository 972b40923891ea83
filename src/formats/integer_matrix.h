// Matrices of integer codes in plain order, between the codec `int` and the formats of other
// engines.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codecs/codec.h"

namespace bitsmith {

// w = scale * (code - zero), a scale and a zero point for each group of columns of a row.
struct IntegerMatrix {
  MatrixShape shape;
  int bits = 4;
  int64_t group = 0;  // columns of a group; 0: a row
  // [cols]: the group of each column, all of `group` columns but the last; empty: one after the
  // other.
  std::vector<int32_t> group_of;
  bool symmetric = false;

  std::vector<uint8_t> codes;    // [rows, cols], below 2^bits
  std::vector<uint16_t> scales;  // [rows, groups], binary16
  std::vector<uint8_t> zeros;    // [rows, groups], below 2^bits; of symmetric ones 2^(bits - 1)

  int64_t group_cols() const { return group == 0 ? shape.cols : group; }
  int64_t groups() const { return ceil_div(shape.cols, group_cols()); }
};

// Whether a tensor holds such numbers: of the codec `int`, alone or `ordered`, or of ggml's Q4_0
// and Q8_0.
bool is_integer_matrix(const CodedTensor& tensor);
IntegerMatrix integer_form(const CodedTensor& tensor);    // without codes, scales and zeros
IntegerMatrix integer_matrix(const CodedTensor& tensor);  // all of it

// Sets m.group_of to what a file says, unless groups lie one after the other; kUnsupported if they
// are not all of m.group columns, the last of the rest.
void set_group_of(IntegerMatrix& m, std::vector<int32_t> group_of, const std::string& tensor);

// The tensor of the codec `int`, `ordered` where groups are, that holds the same numbers; its bytes
// are appended to `buffers`.
using ByteBuffers = std::vector<std::shared_ptr<const std::vector<std::byte>>>;
CodedTensor coded_tensor(std::string name, Shape shape, const IntegerMatrix& matrix,
                         ByteBuffers& buffers);

// The codec of ggml's blocks that holds the same numbers, "q4_0" or "q8_0" (symmetric codes of 4 or
// 8 bits in whole groups of 32), and those blocks; empty if there is none.
std::string_view block_codec(const CodedTensor& tensor);
std::vector<std::byte> integer_blocks(const CodedTensor& tensor);

}  // namespace bitsmith

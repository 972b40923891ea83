// Matrices of 8- and 4-bit floating-point codes in plain order, between our codecs, ggml's blocks
// and the formats of other engines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/integer_matrix.h"

namespace bitsmith {

enum class FloatKind : uint8_t {
  kFp8,    // E4M3, any float32 as scale of a group of columns
  kMxfp4,  // E2M1, E8M0 scales of 32 columns
  kMxfp8,  // E4M3, E8M0 scales of 32 columns
  kNvfp4,  // E2M1, E4M3 scales of 16 columns times one float32 of the tensor
};

// w = scale * number of the code; of kNvfp4 (scale * tensor_scale) * number. Every product is
// rounded to float32.
struct FloatMatrix {
  FloatKind kind = FloatKind::kFp8;
  MatrixShape shape;
  int64_t group = 0;            // columns of a group; 0: a row
  std::vector<uint8_t> codes;   // [rows, cols], with the sign in bit 7 or 3
  std::vector<uint8_t> scales;  // [rows, groups], E8M0 or E4M3; of kFp8 none
  std::vector<float> factors;   // [rows, groups], of kFp8
  float tensor_scale = 1;       // of kNvfp4

  int64_t group_cols() const { return group == 0 ? shape.cols : group; }
  int64_t groups() const { return ceil_div(shape.cols, group_cols()); }
};

// Of tensors of `minifloat` with E4M3, `nvfp4`, `mxfp` with E2M1 or E4M3, and of ggml's MXFP4 and
// NVFP4; nothing for others.
std::optional<FloatKind> float_kind(const CodedTensor& tensor);
FloatMatrix float_form(const CodedTensor& tensor);    // without codes and scales
FloatMatrix float_matrix(const CodedTensor& tensor);  // all of it

float nvfp4_tensor_scale(const CodedTensor& tensor);

// The tensor of our codecs that holds the same numbers; its bytes are appended to `buffers`. Scales
// of kFp8 are binary16 if all are, else one binary32 of the tensor, else binary32.
CodedTensor coded_tensor(std::string name, Shape shape, const FloatMatrix& matrix,
                         ByteBuffers& buffers);

// The codec of ggml's blocks that holds the same numbers, and those blocks; nothing if there is
// none: FP4 in whole blocks of our codecs.
std::optional<Scheme> fp4_block_scheme(const CodedTensor& tensor);
std::vector<std::byte> fp4_blocks(const CodedTensor& tensor);

}  // namespace bitsmith

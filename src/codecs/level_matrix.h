// Coded matrices as kernels read them: weights that are a scale times a level of a table.
#pragma once

#include <optional>
#include <vector>

#include "codecs/grouped.h"
#include "codecs/scales.h"

namespace bitsmith {

// w = scale of the row's group * level of the code.
struct LevelMatrix {
  GroupedLayout layout;  // codes of `bits` <= 8 bits
  int bits = 0;
  // [tables][2^bits] by code: one table for the tensor, or one for each row, of kMaxRowBits at
  // most.
  static constexpr int kMaxRowBits = 4;
  std::vector<std::vector<float>> tables = {};
  bool table_per_row = false;
  bool is_scaled = false;  // parameter 0 of a group is its scale; otherwise the scale is 1
  ScaleFormat scale = ScaleFormat::kF16;
  float tensor_scale = 1.0F;  // 1 for formats without
};

// Implemented by codecs beside Codec.
class LevelCodec {
 public:
  virtual ~LevelCodec() = default;
  // What the tensor's bytes, of the right size but perhaps hostile, mean; nothing for options under
  // which weights are not of that form.
  virtual std::optional<LevelMatrix> level_matrix(const MatrixShape& shape, const Options& options,
                                                  std::span<const std::byte> bytes) const = 0;
};

}  // namespace bitsmith

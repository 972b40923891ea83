// Coded matrices as kernels read them: blocks of a row that are sums of entries of codebooks.
#pragma once

#include <optional>
#include <vector>

#include "codecs/grouped.h"

namespace bitsmith {

// The weights of a block of `dim` columns are the scale of the row's group (parameter 0, binary16,
// if there are parameters; else 1) times the sum of one entry of each stage's codebook. Stage s has
// bits [s * bits, (s + 1) * bits) of the block's code.
struct VectorMatrix {
  GroupedLayout layout;  // of the matrix of blocks
  int64_t dim = 0;
  int bits = 0;
  // [stages][2^bits * dim]
  std::vector<std::vector<float>> codebooks = {};
};

// Implemented by codecs beside Codec.
class BlockCodec {
 public:
  virtual ~BlockCodec() = default;
  // What the tensor's bytes, of the right size but perhaps hostile, mean; nothing for options under
  // which weights are not of that form.
  virtual std::optional<VectorMatrix> vector_matrix(const MatrixShape& shape,
                                                    const Options& options,
                                                    std::span<const std::byte> bytes) const = 0;
};

}  // namespace bitsmith

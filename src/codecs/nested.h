// Tensors that hold coarser ones: what can be read from them at fewer bits, without the original.
#pragma once

#include <vector>

#include "codecs/codec.h"

namespace bitsmith {

// Implemented by codecs beside Codec.
class NestedCodec {
 public:
  virtual ~NestedCodec() = default;
  // What tensors with these options can be read as, beside themselves: finest first, each smaller
  // than the one before. Empty for options under which there is nothing.
  virtual std::vector<Scheme> readings(const Options& options) const = 0;
  // The tensor's bytes under one of the readings.
  //   bytes of encoded_bytes(shape, options), perhaps hostile; out of encoded_bytes() of `reading`
  virtual void read_as(const MatrixShape& shape, const Options& options,
                       std::span<const std::byte> bytes, const Scheme& reading,
                       std::span<std::byte> out) const = 0;
};

}  // namespace bitsmith

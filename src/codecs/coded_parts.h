// Matrices of other codecs that lie one after the other in a tensor's bytes.
#pragma once

#include <vector>

#include "codecs/codec.h"

namespace bitsmith {

struct CodedPart {
  Scheme scheme;
  MatrixShape shape;
  uint64_t offset_bytes;  // in the tensor
  uint64_t size_bytes;
};

// The parts lie without gaps between them, after `own_bytes` of the codec itself. Streams of
// symbols: the codec's own bytes, if it has any; then those of each part.
class CodedParts {
 public:
  explicit CodedParts(uint64_t own_bytes) : own_bytes_(own_bytes), total_bytes_(own_bytes) {}

  void add(Scheme scheme, const MatrixShape& shape);
  const std::vector<CodedPart>& parts() const { return parts_; }
  uint64_t total_bytes() const { return total_bytes_; }

  // Rows [row_begin, row_begin + row_count) of a part, [row_count, columns of the part].
  void decode(const CodedPart& part, std::span<const std::byte> bytes, int64_t row_begin,
              int64_t row_count, float* out) const;
  static std::span<std::byte> bytes_of(const CodedPart& part, std::span<std::byte> bytes) {
    return bytes.subspan(part.offset_bytes, part.size_bytes);
  }

  // As those of Codec.
  std::vector<SymbolStream> symbol_streams() const;
  void split_symbols(std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const;
  void join_symbols(size_t stream, int64_t begin, std::span<const uint8_t> symbols,
                    std::span<std::byte> bytes) const;

 private:
  // The part that a stream belongs to, and its number there; nullptr: the codec's own bytes.
  std::pair<const CodedPart*, size_t> part_of(size_t stream) const;

  uint64_t own_bytes_;
  uint64_t total_bytes_;
  std::vector<CodedPart> parts_;
};

// What a weight costs that is in any one of the parts, at most.
ProductCost largest_cost(const std::vector<Scheme>& schemes);

// Fits all groups of some rows of an encoder's matrix.
//   w column-major [cols][stride];  cols: of the encoder's matrix
//   fit.importance [cols] or nullptr
void fit_all_groups(Encoder& encoder, int64_t cols, int64_t row_begin, int64_t row_count,
                    const float* w, int64_t stride, const FitOptions& fit);

}  // namespace bitsmith

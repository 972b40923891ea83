// What the codecs f32, f16 and bf16 share: numbers as they are, row after row.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "codecs/codec.h"

namespace bitsmith {

// Bytes of plain numbers; kInvalidArgument if that does not fit 63 bits.
inline uint64_t plain_bytes(std::string_view id, const MatrixShape& shape, size_t number_bytes) {
  const auto numbers = element_count(std::vector<int64_t>{shape.rows, shape.cols});
  if (!numbers || *numbers > std::numeric_limits<int64_t>::max() / 8) {
    fail(ErrorCode::kInvalidArgument, "codec '{}': a matrix of {} x {} is too large", id,
         shape.rows, shape.cols);
  }
  return static_cast<uint64_t>(*numbers) * number_bytes;
}

// `Number` has a type Bits, to_bits(float), to_float(Bits), the largest finite value kLargest,
// info(), and kByteExponent: whether its exponent has 8 bits.
template <class Number>
class PlainEncoder final : public Encoder {
 public:
  explicit PlainEncoder(const MatrixShape& shape)
      : shape_(shape), numbers_(static_cast<size_t>(shape.rows * shape.cols)) {}

  int64_t group_cols() const override { return std::max<int64_t>(shape_.cols, 1); }

  void fit_group(int64_t, int64_t, int64_t, const float*, int64_t, const FitOptions&) override {}

  // Rounds to nearest, ties to even; numbers beyond the largest finite one become that one.
  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    for (int64_t r = 0; r < row_count; ++r) {
      const float clamped = std::clamp(w[r], -Number::kLargest, Number::kLargest);
      const auto bits = Number::to_bits(clamped);
      numbers_[static_cast<size_t>((row_begin + r) * shape_.cols + col)] = bits;
      q[r] = Number::to_float(bits);
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    BITSMITH_ASSERT(bytes.size() == numbers_.size() * sizeof(numbers_[0]));
    if (!bytes.empty()) std::memcpy(bytes.data(), numbers_.data(), bytes.size());
  }

 private:
  MatrixShape shape_;
  std::vector<typename Number::Bits> numbers_;  // [rows, cols]
};

template <class Number>
class PlainCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options&) const override {
    return plain_bytes(info_.id, shape, sizeof(typename Number::Bits));
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape, const Options&) const override {
    plain_bytes(info_.id, shape, sizeof(typename Number::Bits));
    return std::make_unique<PlainEncoder<Number>>(shape);
  }

  void decode(const MatrixShape& shape, const Options&, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    BITSMITH_ASSERT((row_begin + row_count) * shape.cols * static_cast<int64_t>(sizeof(Bits)) <=
                    static_cast<int64_t>(bytes.size()));
    const std::byte* in =
        bytes.data() + row_begin * shape.cols * static_cast<int64_t>(sizeof(Bits));
    for (int64_t i = 0; i < row_count * shape.cols; ++i) {
      Bits bits;
      std::memcpy(&bits, in + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
      out[i] = Number::to_float(bits);
    }
  }

  // A stream for each byte of a number, the highest first. An exponent of 8 bits is made a byte of
  // its own by moving the sign below the mantissa, as in DFloat11 (Zhang et al. 2025,
  // arXiv:2504.11651) and ZipNN (Hershcovitch et al. 2024, arXiv:2411.05239): only exponents have
  // much redundancy.
  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options&) const override {
    return std::vector<SymbolStream>(sizeof(Bits), {8, shape.rows * shape.cols});
  }

  void split_symbols(const MatrixShape&, const Options&, std::span<const std::byte> bytes,
                     size_t stream, int64_t begin, std::span<uint8_t> symbols) const override {
    const std::byte* in = bytes.data() + begin * static_cast<int64_t>(sizeof(Bits));
    const int shift = shift_of(stream);
    for (size_t i = 0; i < symbols.size(); ++i) {
      Bits bits;
      std::memcpy(&bits, in + i * sizeof(Bits), sizeof(Bits));
      if constexpr (Number::kByteExponent) bits = std::rotl(bits, 1);
      symbols[i] = static_cast<uint8_t>(bits >> shift);
    }
  }

  void join_symbols(const MatrixShape&, const Options&, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    std::byte* out = bytes.data() + begin * static_cast<int64_t>(sizeof(Bits));
    const int shift = shift_of(stream);
    for (size_t i = 0; i < symbols.size(); ++i) {
      auto set = static_cast<Bits>(static_cast<Bits>(symbols[i]) << shift);
      if constexpr (Number::kByteExponent) set = std::rotr(set, 1);
      Bits bits;
      std::memcpy(&bits, out + i * sizeof(Bits), sizeof(Bits));
      bits = static_cast<Bits>(bits | set);
      std::memcpy(out + i * sizeof(Bits), &bits, sizeof(Bits));
    }
  }

  ProductCost product_cost(const Options&) const override {
    return {.bits = static_cast<int>(8 * sizeof(Bits))};
  }

  std::string label(const Options&) const override { return info_.id; }

 private:
  using Bits = typename Number::Bits;
  static int shift_of(size_t stream) { return static_cast<int>(8 * (sizeof(Bits) - 1 - stream)); }

  PartInfo info_ = Number::info();
};

}  // namespace bitsmith

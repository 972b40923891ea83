// The block formats of ggml (GGUF files): what they share, and what each must say of itself.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "codecs/codec.h"

namespace bitsmith {

// A row is cut into BLOCKS of 32, 64 or 256 columns that lie one after the other, row after row; a
// row must be whole blocks. A block is cut into SUB-BLOCKS of 16, 32, 64 or 256 columns. The weight
// in column c of sub-block j is
//     w = scale_j * level[code_c] + offset_j
// Every product of scales and codes is exact in float32, so a fused multiply-add gives the same.
inline constexpr int kMaxBlockCols = 256;
inline constexpr int kMaxSubBlocks = 16;

// What lies in a block, unpacked.
struct GgmlHeader {
  uint16_t d = 0;                              // binary16
  uint16_t m = 0;                              // binary16
  std::array<int16_t, kMaxSubBlocks> scale{};  // of each sub-block: a factor of d, or bits
  std::array<uint8_t, kMaxSubBlocks> min{};    // of each sub-block: a factor of m
};
using GgmlCodes = std::array<uint8_t, kMaxBlockCols>;

enum class GgmlScale {
  kHalf,             // scale = d
  kHalfTimesFactor,  // scale = d * scale[j]
  kE8M0,             // scale = 2^(scale[j] - 128); the levels are twice the usual ones
  kE4M3              // scale = tensor_scale * the FP8 number with bits scale[j]
};
enum class GgmlOffset {
  kNone,
  kHalf,              // offset = m
  kMinusHalfTimesMin  // offset = -(m * min[j])
};

struct GgmlFormat {
  std::string id = {};     // "q4_k"
  std::string label = {};  // ggml's name, "Q4_K"
  std::string summary = {};
  int64_t block_cols = 0;
  int64_t block_bytes = 0;
  int64_t sub_cols = 0;
  std::vector<float> levels = {};  // by code: what a decoder knows
  int first_code = 0;              // an encoder uses codes [first_code, first_code + used_codes)
  int used_codes = 0;
  GgmlScale scales = GgmlScale::kHalf;
  int least_factor = 1;  // bounds of scale[j] if it is a factor
  int largest_factor = 1;
  GgmlOffset offsets = GgmlOffset::kNone;
  int largest_min = 0;
  // Between bytes [block_bytes] and the unpacked block; `unpack` accepts any bytes.
  void (*pack)(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) = nullptr;
  void (*unpack)(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) = nullptr;

  int64_t sub_blocks() const { return block_cols / sub_cols; }
};

// The effective scale and offset of sub-block j. tensor_scale: kE4M3 only.
float ggml_scale(const GgmlFormat& format, const GgmlHeader& header, int64_t j, float tensor_scale);
float ggml_offset(const GgmlFormat& format, const GgmlHeader& header, int64_t j);

// FP8 E4M3 without its sign, as ggml reads scales: 0x7f is 0 and 0xff is 480.
float e4m3_to_float(uint8_t bits);

// -zero, 1 - zero, ..: the levels of `count` uniform codes.
std::vector<float> uniform_levels(int count, int zero);

class GgmlCodec : public Codec {
 public:
  explicit GgmlCodec(GgmlFormat format);
  const PartInfo& info() const override { return info_; }
  const GgmlFormat& format() const { return format_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override;
  std::unique_ptr<Encoder> encoder(const MatrixShape& shape, const Options& options) const override;
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override;
  std::string label(const Options&) const override { return format_.label; }

 private:
  float tensor_scale(const Options& options) const;
  GgmlFormat format_;
  PartInfo info_;
};

// A codec of one format: `const Registration<Codec, GgmlCodecOf<q4_0>> kQ4_0;`
template <GgmlFormat (*make_format)()>
class GgmlCodecOf final : public GgmlCodec {
 public:
  GgmlCodecOf() : GgmlCodec(make_format()) {}
};

}  // namespace bitsmith

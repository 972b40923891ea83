#include "codecs/ggml_block.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "codecs/ggml_fit.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

constexpr const char* kTensorScale = "tensor_scale";

PartInfo info_of(const GgmlFormat& format) {
  PartInfo info{.id = format.id,
                .summary = format.summary,
                .source = "ggml, ggml-common.h and ggml-quants.c (MIT)"};
  if (format.scales == GgmlScale::kE4M3) {
    // 2^-10 puts blocks with a largest weight of 0.0001 to 2.6 into the range in which E4M3 is
    // equally precise.
    info.options = {{kTensorScale, 0x1p-10, "multiplies all weights; GGUF keeps it as NAME.scale",
                     0x1p-60, 0x1p60}};
  }
  return info;
}

class GgmlEncoder final : public Encoder {
 public:
  GgmlEncoder(const GgmlFormat& format, const MatrixShape& shape, float tensor_scale)
      : format_(format), shape_(shape), tensor_scale_(tensor_scale), grid_(format) {
    const auto rows = static_cast<size_t>(shape.rows);
    const auto cols = static_cast<size_t>(shape.cols);
    const size_t subs = cols / static_cast<size_t>(format.sub_cols) * rows;
    headers_.resize(cols / static_cast<size_t>(format.block_cols) * rows);
    scales_.resize(subs);
    inverses_.resize(subs);
    offsets_.resize(subs);
    codes_.resize(cols * rows);
  }

  int64_t group_cols() const override { return format_.block_cols; }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    std::vector<Lanes> tile(static_cast<size_t>(format_.block_cols));
    for (int64_t begin = 0; begin < row_count; begin += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, row_count - begin);
      for (int64_t c = 0; c < format_.block_cols; ++c) {
        std::copy_n(w + c * stride + begin, lanes, tile[static_cast<size_t>(c)].begin());
      }
      const auto headers = fit_ggml_tile(format_, grid_, tensor_scale_, tile.data(), fit);
      for (int64_t r = 0; r < lanes; ++r) {
        set_header(group, row_begin + begin + r, headers[static_cast<size_t>(r)]);
      }
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    const int64_t first = col / format_.sub_cols * shape_.rows + row_begin;
    const float* scale = scales_.data() + first;
    const float* inverse = inverses_.data() + first;
    const float* offset = offsets_.data() + first;
    uint8_t* code = codes_.data() + col * shape_.rows + row_begin;
    const bool has_offset = format_.offsets != GgmlOffset::kNone;
    for (int64_t r = 0; r < row_count; ++r) {
      const LevelGrid::Choice choice = grid_.nearest(w[r] - offset[r], scale[r], inverse[r]);
      code[r] = choice.code;
      // As in decode(): adding a zero would change the sign of -0.
      const float product = scale[r] * choice.level;
      q[r] = has_offset ? product + offset[r] : product;
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    const int64_t blocks = shape_.cols / format_.block_cols;
    BITSMITH_ASSERT(bytes.size() ==
                    static_cast<size_t>(shape_.rows * blocks * format_.block_bytes));
    auto* out = reinterpret_cast<uint8_t*>(bytes.data());
    GgmlCodes codes{};
    for (int64_t row = 0; row < shape_.rows; ++row) {
      for (int64_t block = 0; block < blocks; ++block) {
        for (int64_t c = 0; c < format_.block_cols; ++c) {
          const int64_t col = block * format_.block_cols + c;
          codes[static_cast<size_t>(c)] = codes_[static_cast<size_t>(col * shape_.rows + row)];
        }
        format_.pack(headers_[static_cast<size_t>(block * shape_.rows + row)], codes, out);
        out += format_.block_bytes;
      }
    }
  }

 private:
  void set_header(int64_t block, int64_t row, const GgmlHeader& header) {
    headers_[static_cast<size_t>(block * shape_.rows + row)] = header;
    for (int64_t j = 0; j < format_.sub_blocks(); ++j) {
      const auto at = static_cast<size_t>((block * format_.sub_blocks() + j) * shape_.rows + row);
      scales_[at] = ggml_scale(format_, header, j, tensor_scale_);
      inverses_[at] = inverse_scale(scales_[at]);
      offsets_[at] = ggml_offset(format_, header, j);
    }
  }

  const GgmlFormat& format_;
  MatrixShape shape_;
  float tensor_scale_;
  LevelGrid grid_;
  std::vector<GgmlHeader> headers_;  // [blocks][rows]
  std::vector<float> scales_;        // [sub-blocks][rows], as are the next two
  std::vector<float> inverses_;
  std::vector<float> offsets_;
  std::vector<uint8_t> codes_;  // [cols][rows]
};

}  // namespace

float e4m3_to_float(uint8_t bits) {
  if (bits == 0x7f) return 0.0F;
  const int exponent = bits >> 3 & 15;
  const int mantissa = bits & 7;
  if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-9F;
  return std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

std::vector<float> uniform_levels(int count, int zero) {
  std::vector<float> levels;
  for (int code = 0; code < count; ++code) levels.push_back(static_cast<float>(code - zero));
  return levels;
}

float ggml_scale(const GgmlFormat& format, const GgmlHeader& header, int64_t j,
                 float tensor_scale) {
  const int bits = header.scale[static_cast<size_t>(j)];
  switch (format.scales) {
    case GgmlScale::kHalf:
      return f16_to_float(header.d);
    case GgmlScale::kHalfTimesFactor:
      return f16_to_float(header.d) * static_cast<float>(bits);
    case GgmlScale::kE8M0:
      return std::ldexp(1.0F, bits - 128);
    case GgmlScale::kE4M3:
      return tensor_scale * e4m3_to_float(static_cast<uint8_t>(bits));
  }
  return 0.0F;
}

float ggml_offset(const GgmlFormat& format, const GgmlHeader& header, int64_t j) {
  switch (format.offsets) {
    case GgmlOffset::kNone:
      return 0.0F;
    case GgmlOffset::kHalf:
      return f16_to_float(header.m);
    case GgmlOffset::kMinusHalfTimesMin:
      return -(f16_to_float(header.m) * static_cast<float>(header.min[static_cast<size_t>(j)]));
  }
  return 0.0F;
}

GgmlCodec::GgmlCodec(GgmlFormat format) : format_(std::move(format)), info_(info_of(format_)) {}

float GgmlCodec::tensor_scale(const Options& options) const {
  if (format_.scales != GgmlScale::kE4M3) return 1.0F;
  return static_cast<float>(options.number(kTensorScale));
}

uint64_t GgmlCodec::encoded_bytes(const MatrixShape& shape, const Options&) const {
  if (shape.cols % format_.block_cols != 0) {
    fail(ErrorCode::kInvalidArgument,
         "codec '{}' codes rows in blocks of {}; {} columns are no multiple of that (take a codec "
         "with smaller blocks for this matrix)",
         format_.id, format_.block_cols, shape.cols);
  }
  const auto weights = element_count(std::vector<int64_t>{shape.rows, shape.cols});
  if (!weights || *weights > std::numeric_limits<int64_t>::max() / 8) {
    fail(ErrorCode::kInvalidArgument, "codec '{}': a matrix of {} x {} is too large", format_.id,
         shape.rows, shape.cols);
  }
  return static_cast<uint64_t>(*weights / format_.block_cols * format_.block_bytes);
}

std::unique_ptr<Encoder> GgmlCodec::encoder(const MatrixShape& shape,
                                            const Options& options) const {
  encoded_bytes(shape, options);
  return std::make_unique<GgmlEncoder>(format_, shape, tensor_scale(options));
}

void GgmlCodec::decode(const MatrixShape& shape, const Options& options,
                       std::span<const std::byte> bytes, int64_t row_begin, int64_t row_count,
                       float* out) const {
  BITSMITH_ASSERT(bytes.size() == encoded_bytes(shape, options));
  const float multiplier = tensor_scale(options);
  const int64_t blocks = shape.cols / format_.block_cols;
  const auto* in =
      reinterpret_cast<const uint8_t*>(bytes.data()) + row_begin * blocks * format_.block_bytes;
  const bool has_offset = format_.offsets != GgmlOffset::kNone;
  GgmlHeader header;
  GgmlCodes codes{};
  for (int64_t block = 0; block < row_count * blocks; ++block) {
    format_.unpack(in, header, codes);
    in += format_.block_bytes;
    const uint8_t* code = codes.data();
    for (int64_t j = 0; j < format_.sub_blocks(); ++j) {
      const float scale = ggml_scale(format_, header, j, multiplier);
      const float offset = ggml_offset(format_, header, j);
      for (int64_t c = 0; c < format_.sub_cols; ++c) {
        const float product = scale * format_.levels[*code++];
        *out++ = has_offset ? product + offset : product;
      }
    }
  }
}

}  // namespace bitsmith

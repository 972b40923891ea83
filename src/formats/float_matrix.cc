#include "formats/float_matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "codecs/level_matrix.h"
#include "core/error.h"
#include "tensor/dtype.h"
#include "tensor/minifloat.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// Levels of the codec `minifloat` are E4M3 / 256, so that its scales are those of E4M3 times 256.
constexpr float kFp8Unit = 256;

bool is_ggml(const CodedTensor& tensor) {
  return tensor.scheme.codec->info().id.ends_with("_ggml");
}

bool is_fp4(FloatKind kind) { return kind == FloatKind::kMxfp4 || kind == FloatKind::kNvfp4; }

// A block of ggml: scales of 32 columns (MXFP4) or of 4 times 16 (NVFP4), then for each scale the
// codes of its columns, byte i of n holding code i below code n + i.
struct BlockForm {
  int64_t cols;
  int64_t scales;
  int64_t half() const { return cols / scales / 2; }
  int64_t bytes() const { return scales + cols / 2; }
};

BlockForm block_form(FloatKind kind) {
  return kind == FloatKind::kNvfp4 ? BlockForm{64, 4} : BlockForm{32, 1};
}

void read_blocks(std::span<const std::byte> bytes, FloatMatrix& m) {
  const BlockForm form = block_form(m.kind);
  m.codes.resize(static_cast<size_t>(m.shape.rows * m.shape.cols));
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  auto* codes = m.codes.data();
  for (size_t block = 0; block < m.codes.size() / static_cast<size_t>(form.cols); ++block) {
    m.scales.insert(m.scales.end(), in, in + form.scales);
    in += form.scales;
    for (int64_t s = 0; s < form.scales; ++s, codes += 2 * form.half()) {
      for (int64_t i = 0; i < form.half(); ++i, ++in) {
        codes[i] = *in & 15;
        codes[i + form.half()] = *in >> 4;
      }
    }
  }
}

LevelMatrix levels_of(const MatrixShape& shape, const Scheme& scheme,
                      std::span<const std::byte> bytes) {
  const auto* codec = dynamic_cast<const LevelCodec*>(scheme.codec);
  BITSMITH_ASSERT(codec != nullptr);
  auto matrix = codec->level_matrix(shape, scheme.options, bytes);
  BITSMITH_ASSERT(matrix.has_value());
  return std::move(*matrix);
}

// The scheme of our codecs for a matrix, and of kFp8 its scales' patterns and unit.
struct OwnForm {
  Scheme scheme;
  float unit = 1;
  std::vector<uint32_t> patterns;  // [rows, groups]
};

OwnForm own_form(const FloatMatrix& m) {
  const std::vector<uint32_t> scales(m.scales.begin(), m.scales.end());
  if (m.kind == FloatKind::kNvfp4)
    return {Scheme("nvfp4", {{"rule", "amax"}}), m.tensor_scale, scales};
  if (m.kind != FloatKind::kFp8) {
    const char* element = m.kind == FloatKind::kMxfp4 ? "e2m1" : "e4m3";
    return {Scheme("mxfp", {{"element", element}}), 1, scales};
  }
  std::vector<uint32_t> halves;
  std::vector<uint32_t> singles;
  bool is_half = true;
  bool is_one = true;
  for (const float factor : m.factors) {
    const float scale = factor * kFp8Unit;
    halves.push_back(float_to_f16(scale));
    singles.push_back(std::bit_cast<uint32_t>(scale));
    is_half = is_half && f16_to_float(static_cast<uint16_t>(halves.back())) == scale;
    is_one = is_one && factor == m.factors.front();
  }
  const auto scheme = [&](const char* scale) {
    return Scheme("minifloat", {{"exponent", 4},
                                {"mantissa", 3},
                                {"reserved", "nan"},
                                {"group", m.group},
                                {"scale", scale}});
  };
  if (is_half) return {scheme("f16"), 1, std::move(halves)};
  if (!is_one) return {scheme("f32"), 1, std::move(singles)};
  std::ranges::fill(halves, uint32_t{kUE4M3.encode(1)});
  return {scheme("e4m3"), m.factors.front() * kFp8Unit, std::move(halves)};
}

}  // namespace

std::optional<FloatKind> float_kind(const CodedTensor& tensor) {
  const std::string& codec = tensor.scheme.codec->info().id;
  const Options& options = tensor.scheme.options;
  if (codec == "nvfp4" || codec == "nvfp4_ggml") return FloatKind::kNvfp4;
  if (codec == "mxfp4_ggml") return FloatKind::kMxfp4;
  if (codec == "mxfp") {
    if (options.text("element") == "e2m1") return FloatKind::kMxfp4;
    if (options.text("element") == "e4m3") return FloatKind::kMxfp8;
  }
  if (codec == "minifloat" && options.integer("exponent") == 4 &&
      options.integer("mantissa") == 3 && options.text("reserved") == "nan") {
    return FloatKind::kFp8;
  }
  return std::nullopt;
}

FloatMatrix float_form(const CodedTensor& tensor) {
  FloatMatrix m;
  m.kind = float_kind(tensor).value();
  m.shape = tensor.matrix();
  m.group = m.kind == FloatKind::kNvfp4 ? 16 : 32;
  if (m.kind == FloatKind::kFp8) m.group = tensor.scheme.options.integer("group");
  if (m.kind == FloatKind::kFp8 && m.group >= m.shape.cols) m.group = 0;
  return m;
}

float nvfp4_tensor_scale(const CodedTensor& tensor) {
  if (is_ggml(tensor)) return static_cast<float>(tensor.scheme.options.number("tensor_scale"));
  return levels_of(tensor.matrix(), tensor.scheme, tensor.bytes).tensor_scale;
}

FloatMatrix float_matrix(const CodedTensor& tensor) {
  FloatMatrix m = float_form(tensor);
  if (m.kind == FloatKind::kNvfp4) m.tensor_scale = nvfp4_tensor_scale(tensor);
  if (is_ggml(tensor)) {
    read_blocks(tensor.bytes, m);
    return m;
  }
  const LevelMatrix levels = levels_of(m.shape, tensor.scheme, tensor.bytes);
  const GroupedLayout& layout = levels.layout;
  const auto* in = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  std::vector<uint16_t> row_codes(static_cast<size_t>(m.shape.cols));
  for (int64_t row = 0; row < m.shape.rows; ++row) {
    layout.codes.unpack_row(in + layout.codes_offset, row, row_codes.data());
    m.codes.insert(m.codes.end(), row_codes.begin(), row_codes.end());
    for (int64_t group = 0; group < layout.groups; ++group) {
      const uint32_t pattern = layout.read_parameter(in, row, group, 0);
      if (m.kind == FloatKind::kFp8) {
        m.factors.push_back(decode_scale(levels.scale, pattern, levels.tensor_scale) / kFp8Unit);
      } else {
        m.scales.push_back(static_cast<uint8_t>(pattern));
      }
    }
  }
  return m;
}

CodedTensor coded_tensor(std::string name, Shape shape, const FloatMatrix& m,
                         ByteBuffers& buffers) {
  OwnForm own = own_form(m);
  const auto [rows, cols] = std::pair(m.shape.rows, m.shape.cols);
  auto bytes = std::make_shared<std::vector<std::byte>>(
      own.scheme.codec->encoded_bytes(m.shape, own.scheme.options));
  const GroupedLayout layout = levels_of(m.shape, own.scheme, *bytes).layout;
  BITSMITH_ASSERT(layout.groups == m.groups());
  std::vector<uint16_t> columns(m.codes.size());  // [cols][rows]
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      columns[static_cast<size_t>(col * rows + row)] =
          m.codes[static_cast<size_t>(row * cols + col)];
    }
  }
  auto* const out = reinterpret_cast<uint8_t*>(bytes->data());
  if (layout.header_bytes > 0) std::memcpy(out, &own.unit, sizeof(own.unit));
  layout.codes.pack(columns.data(), out + layout.codes_offset);
  const uint32_t* pattern = own.patterns.data();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < layout.groups; ++group, ++pattern) {
      // Numbers are little-endian in files and, as everywhere here, in memory.
      std::memcpy(out + layout.parameter_offset(row, group, 0), pattern,
                  static_cast<size_t>(layout.parameter_bytes[0]));
    }
  }
  CodedTensor tensor{std::move(name), std::move(shape), std::move(own.scheme), *bytes};
  buffers.push_back(std::move(bytes));
  return tensor;
}

std::optional<Scheme> fp4_block_scheme(const CodedTensor& tensor) {
  const auto kind = float_kind(tensor);
  if (!kind || is_ggml(tensor) || !is_fp4(*kind)) return std::nullopt;
  const MatrixShape shape = tensor.matrix();
  if (shape.cols % block_form(*kind).cols != 0) return std::nullopt;
  if (*kind == FloatKind::kMxfp4) return Scheme("mxfp4_ggml", json::object());
  const float unit = nvfp4_tensor_scale(tensor);
  if (!(unit >= 0x1p-60F && unit <= 0x1p60F)) return std::nullopt;
  return Scheme("nvfp4_ggml", {{"tensor_scale", unit}});
}

std::vector<std::byte> fp4_blocks(const CodedTensor& tensor) {
  const FloatMatrix m = float_matrix(tensor);
  const BlockForm form = block_form(m.kind);
  std::vector<std::byte> bytes(m.codes.size() / static_cast<size_t>(form.cols) *
                               static_cast<size_t>(form.bytes()));
  auto* out = reinterpret_cast<uint8_t*>(bytes.data());
  const uint8_t* codes = m.codes.data();
  const uint8_t* scales = m.scales.data();
  const uint8_t* const end = scales + m.scales.size();
  for (; scales != end; scales += form.scales) {
    out = std::copy_n(scales, form.scales, out);
    for (int64_t s = 0; s < form.scales; ++s, codes += 2 * form.half()) {
      for (int64_t i = 0; i < form.half(); ++i) {
        *out++ = static_cast<uint8_t>(codes[i] | codes[i + form.half()] << 4);
      }
    }
  }
  return bytes;
}

}  // namespace bitsmith

#include "formats/integer_matrix.h"

#include <cstring>

#include "codecs/int_layout.h"
#include "core/error.h"

namespace bitsmith {
namespace {

IntLayout layout_of(const IntegerMatrix& m) {
  return IntLayout(m.shape, m.bits, m.group, m.symmetric);
}

// Blocks of ggml: 32 columns of a row behind their binary16 scale. Q4_0 (4 bits): byte i has
// columns i and 16 + i. Q8_0: signed bytes.
constexpr int64_t kBlockCols = 32;

int64_t block_bytes(int bits) { return 2 + kBlockCols * bits / 8; }

int bits_of_blocks(const CodedTensor& tensor) {
  const std::string& codec = tensor.scheme.codec->info().id;
  return codec == "q4_0" ? 4 : codec == "q8_0" ? 8 : 0;
}

void read_blocks(std::span<const std::byte> bytes, IntegerMatrix& m) {
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  m.codes.resize(static_cast<size_t>(m.shape.rows * m.shape.cols));
  for (size_t first = 0; first < m.codes.size(); first += kBlockCols) {
    uint16_t scale = 0;
    std::memcpy(&scale, in, sizeof(scale));
    m.scales.push_back(scale);
    m.zeros.push_back(static_cast<uint8_t>(1 << (m.bits - 1)));
    uint8_t* const codes = m.codes.data() + first;
    for (size_t i = 0; i < kBlockCols; ++i) {
      codes[i] = m.bits == 8 ? static_cast<uint8_t>(in[2 + i] ^ 128)
                             : static_cast<uint8_t>(in[2 + i % 16] >> (i / 16 * 4) & 15);
    }
    in += block_bytes(m.bits);
  }
}

}  // namespace

bool is_integer_matrix(const CodedTensor& tensor) {
  return tensor.scheme.codec->info().id == "int" || bits_of_blocks(tensor) > 0;
}

IntegerMatrix integer_form(const CodedTensor& tensor) {
  BITSMITH_ASSERT(is_integer_matrix(tensor));
  IntegerMatrix m;
  m.shape = tensor.matrix();
  if (const int bits = bits_of_blocks(tensor); bits > 0) {
    m.bits = bits;
    m.group = kBlockCols;
    m.symmetric = true;
  } else {
    const Options& options = tensor.scheme.options;
    m.bits = static_cast<int>(options.integer("bits"));
    m.group = options.integer("group");
    m.symmetric = options.flag("symmetric");
  }
  if (m.group >= m.shape.cols) m.group = 0;
  return m;
}

IntegerMatrix integer_matrix(const CodedTensor& tensor) {
  IntegerMatrix m = integer_form(tensor);
  if (bits_of_blocks(tensor) > 0) {
    read_blocks(tensor.bytes, m);
    return m;
  }
  const IntLayout layout = layout_of(m);
  const auto* in = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  BITSMITH_ASSERT(tensor.bytes.size() == static_cast<size_t>(layout.total_bytes));
  m.codes.resize(static_cast<size_t>(m.shape.rows * m.shape.cols));
  for (int64_t row = 0; row < m.shape.rows; ++row) {
    layout.unpack_row(in, row, m.codes.data() + row * m.shape.cols);
    for (int64_t group = 0; group < layout.groups; ++group) {
      m.scales.push_back(layout.scale_bits(in, row, group));
      m.zeros.push_back(static_cast<uint8_t>(layout.zero(in, row, group)));
    }
  }
  return m;
}

std::string_view block_codec(const CodedTensor& tensor) {
  if (tensor.scheme.codec->info().id != "int") return "";
  const IntegerMatrix form = integer_form(tensor);
  if (!form.symmetric || form.group_cols() != kBlockCols || form.shape.cols % kBlockCols != 0) {
    return "";
  }
  return form.bits == 4 ? "q4_0" : form.bits == 8 ? "q8_0" : "";
}

std::vector<std::byte> integer_blocks(const CodedTensor& tensor) {
  BITSMITH_ASSERT(!block_codec(tensor).empty());
  const IntegerMatrix m = integer_matrix(tensor);
  std::vector<std::byte> bytes(m.scales.size() * static_cast<size_t>(block_bytes(m.bits)));
  auto* out = reinterpret_cast<uint8_t*>(bytes.data());
  const uint8_t* codes = m.codes.data();
  for (const uint16_t scale : m.scales) {
    std::memcpy(out, &scale, sizeof(scale));
    for (size_t i = 0; i < kBlockCols * static_cast<size_t>(m.bits) / 8; ++i) {
      out[2 + i] =
          static_cast<uint8_t>(m.bits == 8 ? codes[i] ^ 128 : codes[i] | codes[i + 16] << 4);
    }
    out += block_bytes(m.bits);
    codes += kBlockCols;
  }
  return bytes;
}

CodedTensor coded_tensor(std::string name, Shape shape, const IntegerMatrix& m,
                         ByteBuffers& buffers) {
  const IntLayout layout = layout_of(m);
  const int64_t rows = m.shape.rows;
  const int64_t cols = m.shape.cols;
  std::vector<uint8_t> columns(m.codes.size());  // [cols][rows]
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      columns[static_cast<size_t>(col * rows + row)] =
          m.codes[static_cast<size_t>(row * cols + col)];
    }
  }
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(layout.total_bytes));
  auto* const out = reinterpret_cast<uint8_t*>(bytes->data());
  layout.pack(columns.data(), out);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < layout.groups; ++group) {
      const auto at = static_cast<size_t>(row * layout.groups + group);
      layout.set_parameters(row, group, m.scales[at], m.zeros[at], out);
    }
  }
  CodedTensor tensor{
      std::move(name), std::move(shape),
      Scheme("int", {{"bits", m.bits}, {"group", m.group}, {"symmetric", m.symmetric}}), *bytes};
  buffers.push_back(std::move(bytes));
  return tensor;
}

}  // namespace bitsmith

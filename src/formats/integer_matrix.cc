#include "formats/integer_matrix.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "codecs/column_order.h"
#include "codecs/inner_scheme.h"
#include "codecs/int_layout.h"
#include "core/error.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

IntLayout layout_of(const IntegerMatrix& m) {
  return IntLayout(m.shape, m.bits, m.group, m.symmetric);
}

// The codec `int` with scales that those who ask here know.
bool is_int(const Scheme& scheme) {
  return scheme.codec->info().id == "int" && scheme.options.text("scale") == "f16";
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

// The matrix of the codec `int` in the bytes of `ordered`, whose order is a permutation.
CodedTensor inner_of(const CodedTensor& tensor) {
  const Scheme inner = parse_inner_scheme("ordered", tensor.scheme.options.text("inner"));
  return {tensor.name, tensor.shape, inner, ordered_bytes(tensor.matrix().cols, tensor.bytes)};
}

bool is_ordered(const CodedTensor& tensor) {
  if (tensor.scheme.codec->info().id != "ordered" ||
      !is_int(inner_of(tensor).scheme)) {
    return false;
  }
  std::vector<uint32_t> order = column_order(tensor.matrix().cols, tensor.bytes);
  std::ranges::sort(order);
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != i) return false;
  }
  return true;
}

}  // namespace

bool is_integer_matrix(const CodedTensor& tensor) {
  return is_int(tensor.scheme) || bits_of_blocks(tensor) > 0 || is_ordered(tensor);
}

IntegerMatrix integer_form(const CodedTensor& tensor) {
  BITSMITH_ASSERT(is_integer_matrix(tensor));
  IntegerMatrix m;
  m.shape = tensor.matrix();
  if (is_ordered(tensor)) {
    m = integer_form(inner_of(tensor));
    const std::vector<uint32_t> order = column_order(m.shape.cols, tensor.bytes);
    m.group_of.resize(order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      m.group_of[order[i]] = static_cast<int32_t>(static_cast<int64_t>(i) / m.group_cols());
    }
    return m;
  }
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
  if (is_ordered(tensor)) {
    IntegerMatrix inner = integer_matrix(inner_of(tensor));
    const auto order = column_order(m.shape.cols, tensor.bytes);
    m.codes.resize(inner.codes.size());
    for (size_t row = 0; row < m.codes.size(); row += order.size()) {
      for (size_t i = 0; i < order.size(); ++i) m.codes[row + order[i]] = inner.codes[row + i];
    }
    m.scales = std::move(inner.scales);
    m.zeros = std::move(inner.zeros);
    return m;
  }
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
      m.scales.push_back(static_cast<uint16_t>(layout.scale_pattern(in, row, group)));
      m.zeros.push_back(static_cast<uint8_t>(layout.zero(in, row, group)));
    }
  }
  return m;
}

std::string_view block_codec(const CodedTensor& tensor) {
  if (!is_int(tensor.scheme)) return "";
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

void set_group_of(IntegerMatrix& m, std::vector<int32_t> group_of, const std::string& tensor) {
  BITSMITH_ASSERT(static_cast<int64_t>(group_of.size()) == m.shape.cols);
  std::vector<int64_t> counts(static_cast<size_t>(m.groups()));
  for (const int32_t group : group_of) {
    if (group < 0 || group >= m.groups()) {
      fail(ErrorCode::kCorrupt, "tensor {} names the group {} of {}", quoted_name(tensor), group,
           m.groups());
    }
    ++counts[static_cast<size_t>(group)];
  }
  for (size_t group = 0; group + 1 < counts.size(); ++group) {
    if (counts[group] == m.group_cols()) continue;
    fail(ErrorCode::kUnsupported, "tensor {}: group {} has {} inputs, not {} like the others",
         quoted_name(tensor), group, counts[group], m.group_cols());
  }
  if (!std::ranges::is_sorted(group_of)) m.group_of = std::move(group_of);
}

CodedTensor coded_tensor(std::string name, Shape shape, const IntegerMatrix& m,
                         ByteBuffers& buffers) {
  const IntLayout layout = layout_of(m);
  const int64_t rows = m.shape.rows;
  const int64_t cols = m.shape.cols;
  std::vector<uint32_t> order(static_cast<size_t>(cols));
  std::iota(order.begin(), order.end(), uint32_t{0});
  const bool ordered = !m.group_of.empty();
  if (ordered) std::ranges::stable_sort(order, {}, [&](uint32_t c) { return m.group_of[c]; });
  std::vector<uint8_t> columns(m.codes.size());  // [cols][rows]
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t col = 0; col < cols; ++col) {
      columns[static_cast<size_t>(col * rows + row)] =
          m.codes[static_cast<size_t>(row * cols + order[static_cast<size_t>(col)])];
    }
  }
  Scheme scheme("int", {{"bits", m.bits}, {"group", m.group}, {"symmetric", m.symmetric}});
  if (ordered) scheme = Scheme("ordered", {{"inner", scheme.to_json().dump()}});
  auto bytes = std::make_shared<std::vector<std::byte>>(
      scheme.codec->encoded_bytes(m.shape, scheme.options));
  if (ordered) write_column_order(order, *bytes);
  auto* const out = reinterpret_cast<uint8_t*>(bytes->data()) +
                    (bytes->size() - static_cast<size_t>(layout.total_bytes));
  layout.pack(columns.data(), out);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < layout.groups; ++group) {
      const auto at = static_cast<size_t>(row * layout.groups + group);
      layout.set_parameters(row, group, m.scales[at], m.zeros[at], out);
    }
  }
  CodedTensor tensor{std::move(name), std::move(shape), std::move(scheme), *bytes};
  buffers.push_back(std::move(bytes));
  return tensor;
}

}  // namespace bitsmith

#include "formats/integer_matrix.h"

#include "codecs/int_layout.h"
#include "core/error.h"

namespace bitsmith {
namespace {

IntLayout layout_of(const IntegerMatrix& m) {
  return IntLayout(m.shape, m.bits, m.group, m.symmetric);
}

}  // namespace

bool is_integer_matrix(const CodedTensor& tensor) {
  return tensor.scheme.codec->info().id == "int";
}

IntegerMatrix integer_form(const CodedTensor& tensor) {
  BITSMITH_ASSERT(is_integer_matrix(tensor));
  const Options& options = tensor.scheme.options;
  IntegerMatrix m;
  m.shape = tensor.matrix();
  m.bits = static_cast<int>(options.integer("bits"));
  m.group = options.integer("group");
  if (m.group >= m.shape.cols) m.group = 0;
  m.symmetric = options.flag("symmetric");
  return m;
}

IntegerMatrix integer_matrix(const CodedTensor& tensor) {
  IntegerMatrix m = integer_form(tensor);
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

#include "formats/onnx_file.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/protobuf.h"

namespace bitsmith::onnx {
namespace {

struct TypeRow {
  ElementType type;
  const char* name;
  size_t bytes;
  bool integer;
};
constexpr std::array<TypeRow, 17> kTypes = {{{kFloat, "float", 4, false},
                                             {kUint8, "uint8", 1, true},
                                             {kInt8, "int8", 1, true},
                                             {kUint16, "uint16", 2, true},
                                             {kInt16, "int16", 2, true},
                                             {kInt32, "int32", 4, true},
                                             {kInt64, "int64", 8, true},
                                             {kString, "string", 0, false},
                                             {kBool, "bool", 1, true},
                                             {kFloat16, "float16", 2, false},
                                             {kDouble, "double", 8, false},
                                             {kUint32, "uint32", 4, true},
                                             {kUint64, "uint64", 8, true},
                                             {kBfloat16, "bfloat16", 2, false},
                                             {kUint4, "uint4", 0, true},
                                             {kInt4, "int4", 0, true},
                                             {kUndefined, "undefined", 0, false}}};

const TypeRow* find_type(ElementType type) {
  const auto row = std::ranges::find(kTypes, type, &TypeRow::type);
  return row == kTypes.end() ? nullptr : &*row;
}

constexpr size_t kMaxRank = 64;  // of tensors in the file; the graph takes fewer

class Reader {
 public:
  explicit Reader(std::string_view what)
      : file_(what), what_(fmt::format("{}: no ONNX model", what)) {}

  ProtobufFields fields(std::string_view message) const { return {message, what_}; }

  File file(std::string_view message) const;
  Tensor tensor(std::string_view message) const;

 private:
  template <class... Args>
  [[noreturn]] void corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kCorrupt, "{}: {}", file_, fmt::format(format, std::forward<Args>(args)...));
  }

  void check_elements(Tensor& tensor, const std::vector<int64_t>& integers, bool typed) const;
  void unpack_nibbles(Tensor& tensor, const std::vector<int64_t>& integers, bool typed) const;
  Attribute attribute(std::string_view message) const;
  FileNode node(std::string_view message) const;
  void shape(std::string_view message, ValueInfo& info) const;
  ValueInfo value_info(std::string_view message) const;
  FileGraph graph(std::string_view message) const;

  std::string_view file_;
  std::string what_;
};

std::pair<std::string, std::string> string_entry(ProtobufFields f) {
  std::pair<std::string, std::string> entry;
  while (f.next()) {
    if (f.number == 1) entry.first = f.as_bytes();
    if (f.number == 2) entry.second = f.as_bytes();
  }
  return entry;
}

// Writes integers of the typed fields as elements of `type`; 16-bit floats lie there as their bits.
std::vector<char> pack_integers(const std::vector<int64_t>& integers, size_t bytes) {
  std::vector<char> packed(integers.size() * bytes);
  for (size_t i = 0; i < integers.size(); ++i) {
    for (size_t b = 0; b < bytes; ++b) {
      packed[i * bytes + b] = static_cast<char>(static_cast<uint64_t>(integers[i]) >> (8 * b));
    }
  }
  return packed;
}

// Elements of 4 bits as bytes: two in a byte of the file, the first one in the low bits.
void Reader::unpack_nibbles(Tensor& tensor, const std::vector<int64_t>& integers,
                            bool typed) const {
  const std::vector<char> packed =
      typed ? pack_integers(integers, 1) : std::vector<char>(tensor.raw.begin(), tensor.raw.end());
  const auto count = static_cast<size_t>(tensor.count());
  if (packed.size() != (count + 1) / 2) {
    corrupt("tensor '{}' of {} {} needs {} bytes, it has {}", tensor.name,
            element_type_name(tensor.type), to_string(tensor.shape), (count + 1) / 2,
            packed.size());
  }
  const bool is_signed = tensor.type == kInt4;
  tensor.type = is_signed ? kInt8 : kUint8;
  tensor.raw = {};
  tensor.typed.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const int nibble = static_cast<unsigned char>(packed[i / 2]) >> (i % 2 == 0 ? 0 : 4) & 15;
    tensor.typed[i] = static_cast<char>(is_signed && nibble > 7 ? nibble - 16 : nibble);
  }
}

// Checks the extents and that there are as many elements as they ask for.
void Reader::check_elements(Tensor& tensor, const std::vector<int64_t>& integers,
                            bool typed) const {
  if (!is_possible(tensor.shape) || tensor.shape.size() > kMaxRank) {
    corrupt("tensor '{}' has the impossible shape {}", tensor.name, to_string(tensor.shape));
  }
  if (!tensor.is_external && (tensor.type == kUint4 || tensor.type == kInt4)) {
    return unpack_nibbles(tensor, integers, typed);
  }
  const size_t bytes = element_bytes(tensor.type);
  if (tensor.is_external || bytes == 0) return;
  if (typed) tensor.typed = pack_integers(integers, bytes);
  const size_t needed = static_cast<size_t>(tensor.count()) * bytes;
  if (tensor.bytes().size() != needed) {
    corrupt("tensor '{}' of {} {} needs {} bytes, it has {}", tensor.name,
            element_type_name(tensor.type), to_string(tensor.shape), needed, tensor.bytes().size());
  }
}

Tensor Reader::tensor(std::string_view message) const {
  Tensor tensor;
  std::vector<int64_t> integers;
  bool has_integers = false;
  // Elements of 4 or 8 bytes: in one packed field they lie as in raw_data; else they are joined.
  const auto add_numbers = [&](ProtobufFields& f, ProtobufFields::WireType one, size_t bytes) {
    char single[8];
    std::string_view part = f.bytes;
    if (f.number != 9 && part.data() == nullptr) {
      f.expect(one);
      for (size_t b = 0; b < bytes; ++b) single[b] = static_cast<char>(f.value >> (8 * b));
      part = std::string_view(single, bytes);
    } else if (tensor.raw.empty() && tensor.typed.empty()) {
      tensor.raw = part;
      return;
    }
    if (tensor.typed.empty()) tensor.typed.assign(tensor.raw.begin(), tensor.raw.end());
    tensor.typed.insert(tensor.typed.end(), part.begin(), part.end());
  };
  for (ProtobufFields f = fields(message); f.next();) {
    switch (f.number) {
      case 1:
        f.append_integers(tensor.shape);
        break;
      case 2:
        tensor.type = static_cast<ElementType>(f.as_integer());
        break;
      case 3:
        corrupt("tensor '{}' is stored in segments, which are not supported", tensor.name);
      case 4:
        add_numbers(f, ProtobufFields::kFourBytes, 4);
        break;
      case 10:
        add_numbers(f, ProtobufFields::kEightBytes, 8);
        break;
      case 5:
      case 7:
      case 11:
        f.append_integers(integers);
        has_integers = true;
        break;
      case 8:
        tensor.name = f.as_bytes();
        break;
      case 9:
        tensor.raw = f.as_bytes();
        break;
      case 13:
        tensor.external.insert(string_entry(fields(f.as_bytes())));
        break;
      case 14:
        tensor.is_external = f.as_integer() == 1;
        break;
    }
  }
  check_elements(tensor, integers, has_integers);
  return tensor;
}

Attribute Reader::attribute(std::string_view message) const {
  Attribute attribute;
  for (ProtobufFields f = fields(message); f.next();) {
    switch (f.number) {
      case 1:
        attribute.name = f.as_bytes();
        break;
      case 2:
        attribute.number = f.as_float();
        break;
      case 3:
        attribute.integer = f.as_integer();
        break;
      case 4:
        attribute.text = f.as_bytes();
        break;
      case 5:
        attribute.tensor = tensor(f.as_bytes());
        break;
      case 7:
        f.append_floats(attribute.numbers);
        break;
      case 8:
        f.append_integers(attribute.integers);
        break;
      case 9:
        attribute.texts.push_back(f.as_bytes());
        break;
      case 20:
        attribute.type = f.as_integer();
        break;
    }
  }
  return attribute;
}

FileNode Reader::node(std::string_view message) const {
  FileNode node;
  for (ProtobufFields f = fields(message); f.next();) {
    switch (f.number) {
      case 1:
        node.inputs.push_back(f.as_bytes());
        break;
      case 2:
        node.outputs.push_back(f.as_bytes());
        break;
      case 3:
        node.name = f.as_bytes();
        break;
      case 4:
        node.op = f.as_bytes();
        break;
      case 5:
        node.attributes.push_back(attribute(f.as_bytes()));
        break;
      case 7:
        node.domain = f.as_bytes();
        break;
    }
  }
  if (node.domain == "ai.onnx") node.domain = "";
  return node;
}

void Reader::shape(std::string_view message, ValueInfo& info) const {
  info.has_shape = true;
  for (ProtobufFields f = fields(message); f.next();) {
    if (f.number != 1) continue;
    int64_t extent = -1;
    std::string_view symbol;
    for (ProtobufFields dimension = fields(f.as_bytes()); dimension.next();) {
      if (dimension.number == 1) extent = dimension.as_integer();
      if (dimension.number == 2) symbol = dimension.as_bytes();
    }
    info.shape.push_back(extent);
    info.symbols.push_back(symbol);
    if (info.shape.size() > kMaxRank) corrupt("value '{}' has too many extents", info.name);
  }
}

ValueInfo Reader::value_info(std::string_view message) const {
  ValueInfo info;
  for (ProtobufFields f = fields(message); f.next();) {
    if (f.number == 1) info.name = f.as_bytes();
    if (f.number != 2) continue;
    for (ProtobufFields type = fields(f.as_bytes()); type.next();) {
      if (type.number != 1) continue;  // sequences, maps, ...
      info.is_tensor = true;
      for (ProtobufFields tensor = fields(type.as_bytes()); tensor.next();) {
        if (tensor.number == 1) info.type = static_cast<ElementType>(tensor.as_integer());
        if (tensor.number == 2) shape(tensor.as_bytes(), info);
      }
    }
  }
  return info;
}

FileGraph Reader::graph(std::string_view message) const {
  FileGraph graph;
  for (ProtobufFields f = fields(message); f.next();) {
    switch (f.number) {
      case 1:
        graph.nodes.push_back(node(f.as_bytes()));
        break;
      case 2:
        graph.name = f.as_bytes();
        break;
      case 5:
        graph.initializers.push_back(tensor(f.as_bytes()));
        break;
      case 11:
        graph.inputs.push_back(value_info(f.as_bytes()));
        break;
      case 12:
        graph.outputs.push_back(value_info(f.as_bytes()));
        break;
      case 15:
        corrupt("it has sparse initializers, which are not supported");
    }
  }
  return graph;
}

File Reader::file(std::string_view message) const {
  File file;
  bool has_graph = false;
  for (ProtobufFields f = fields(message); f.next();) {
    switch (f.number) {
      case 1:
        file.ir_version = f.as_integer();
        break;
      case 2:
        file.producer = f.as_bytes();
        break;
      case 7:
        if (has_graph) corrupt("it has two graphs");
        has_graph = true;
        file.graph = graph(f.as_bytes());
        break;
      case 8: {
        std::string domain;
        int64_t version = 0;
        for (ProtobufFields opset = fields(f.as_bytes()); opset.next();) {
          if (opset.number == 1) domain = opset.as_bytes();
          if (opset.number == 2) version = opset.as_integer();
        }
        file.opsets[domain == "ai.onnx" ? "" : domain] = version;
        break;
      }
      case 14:
        file.metadata.insert(string_entry(fields(f.as_bytes())));
        break;
    }
  }
  if (!has_graph) corrupt("no ONNX model: it has no graph");
  return file;
}

}  // namespace

size_t element_bytes(ElementType type) {
  const TypeRow* row = find_type(type);
  return row == nullptr ? 0 : row->bytes;
}

bool is_integer(ElementType type) {
  const TypeRow* row = find_type(type);
  return row != nullptr && row->integer;
}

std::string element_type_name(ElementType type) {
  const TypeRow* row = find_type(type);
  return row == nullptr ? fmt::format("type {}", static_cast<int32_t>(type)) : row->name;
}

bool is_possible(std::span<const int64_t> shape) {
  constexpr int64_t kMaxElements = int64_t{1} << 60;
  int64_t product = 1;
  for (const int64_t extent : shape) {
    if (extent < 0 || extent > kMaxElements / product) return false;
    if (extent > 0) product *= extent;
  }
  return true;
}

File read_file(std::span<const std::byte> bytes, std::string_view what) {
  return Reader(what).file({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Tensor read_tensor(std::string_view message, std::string_view what) {
  return Reader(what).tensor(message);
}

bool looks_like_onnx(std::span<const std::byte> start) {
  // ir_version (field 1) comes first, then another field of ModelProto: producer_name 2,
  // producer_version 3, domain 4, model_version 5, doc_string 6, graph 7 or opset_import 8.
  if (start.size() < 3) return false;
  const auto byte = [&](size_t i) { return std::to_integer<unsigned>(start[i]); };
  const unsigned field = byte(2) >> 3;
  const unsigned wire_type = byte(2) & 7;
  return byte(0) == 0x08 && byte(1) >= 1 && byte(1) < 64 && field >= 2 && field <= 8 &&
         wire_type == (field == 5 ? 0u : 2u);
}

}  // namespace bitsmith::onnx

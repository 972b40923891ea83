// The messages of an ONNX file (onnx.proto) that bitsmith reads, as views into the file's bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/shape.h"

namespace bitsmith::onnx {

// TensorProto.DataType, the numbers of the file.
enum ElementType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kBfloat16 = 16,
  kUint4 = 21,  // two in a byte; read as kUint8 and kInt8
  kInt4 = 22
};
size_t element_bytes(ElementType type);  // 0 for strings and types that bitsmith does not read
bool is_integer(ElementType type);       // bool included
std::string element_type_name(ElementType type);

// Whether the extents that are not 0 have a product of at most 2^60: then counts, strides and sums
// of extents fit int64_t in any order of the axes, of an empty tensor too.
bool is_possible(std::span<const int64_t> shape);

// TensorProto.
struct Tensor {
  std::string_view name;
  ElementType type = kUndefined;
  Shape shape;  // is_possible()
  bool is_external = false;
  std::map<std::string, std::string, std::less<>> external;  // "location", "offset", "length"
  std::string_view raw;     // the elements where they lie in the file, or
  std::vector<char> typed;  // made from typed fields

  int64_t count() const { return *element_count(shape); }
  // The elements, row-major and little-endian: count() * element_bytes(type) bytes. Nothing if the
  // tensor is external.
  std::string_view bytes() const {
    return typed.empty() ? raw : std::string_view(typed.data(), typed.size());
  }
};

struct Attribute {
  std::string_view name;
  int64_t type =
      0;  // AttributeProto.AttributeType: 1 FLOAT, 2 INT, 3 STRING, 4 TENSOR, 5 GRAPH, ...
  float number = 0;
  int64_t integer = 0;
  std::string_view text;
  std::vector<float> numbers;
  std::vector<int64_t> integers;
  std::vector<std::string_view> texts;
  Tensor tensor;
};

struct FileNode {
  std::string_view op;
  std::string_view domain;               // "" is ONNX's own
  std::string_view name;                 // may be empty
  std::vector<std::string_view> inputs;  // "" is an optional one that is not given
  std::vector<std::string_view> outputs;
  std::vector<Attribute> attributes;
};

// ValueInfoProto of a tensor. A dimension of unknown extent is < 0; its symbol, if it has one, is
// in `symbols`.
struct ValueInfo {
  std::string_view name;
  ElementType type = kUndefined;
  bool is_tensor = false;
  bool has_shape = false;
  Shape shape;
  std::vector<std::string_view> symbols;
};

struct FileGraph {
  std::string_view name;
  std::vector<FileNode> nodes;
  std::vector<Tensor> initializers;
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
};

// What bitsmith adds to a file's metadata, as JSON under "bitsmith.<name>": how images become
// inputs, and which label is class 0; names as in checkpoints.
inline constexpr std::array<std::string_view, 2> kMetadataNames = {"preprocessing", "label_offset"};
inline constexpr std::string_view kMetadataPrefix = "bitsmith.";

struct File {
  int64_t ir_version = 0;
  std::string_view producer;
  std::map<std::string, int64_t, std::less<>> opsets;  // by domain; "ai.onnx" is ""
  std::map<std::string, std::string, std::less<>> metadata;
  FileGraph graph;
};

// `what` names the file in messages. The views live as long as `bytes`.
File read_file(std::span<const std::byte> bytes, std::string_view what);
Tensor read_tensor(std::string_view message, std::string_view what);  // a TensorProto alone

// Whether the bytes begin like an ONNX model; of a file that is not one, hardly ever true.
bool looks_like_onnx(std::span<const std::byte> start);

}  // namespace bitsmith::onnx

// Writes ONNX files: the messages of onnx.proto, and the file they make.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/protobuf_writer.h"
#include "formats/onnx_file.h"

namespace bitsmith::onnx {

// AttributeProto.
ProtobufMessage attribute(std::string_view name, int64_t value);
ProtobufMessage attribute(std::string_view name, float value);
ProtobufMessage attribute(std::string_view name, std::string_view value);
ProtobufMessage attribute(std::string_view name, const std::vector<int64_t>& values);

// NodeProto. An input "" is an optional one that is not given.
ProtobufMessage node_message(std::string_view op, std::string_view name,
                             const std::vector<std::string>& inputs,
                             const std::vector<std::string>& outputs,
                             const std::vector<ProtobufMessage>& attributes = {});

// ValueInfoProto of a tensor; an extent below 0 is open and named "N".
ProtobufMessage value_info(std::string_view name, ElementType type, std::span<const int64_t> shape);

// TensorProto without its elements, which follow as field 9 (raw_data).
ProtobufMessage tensor_header(std::string_view name, ElementType type,
                              std::span<const int64_t> shape);

// A file in memory, its parts in any order of the calls but nodes in an order that can be run.
class FileWriter {
 public:
  void node(const ProtobufMessage& node) { nodes_.message(1, node); }
  // A constant. `elements` row-major, little-endian; of 4-bit types two in a byte, the first one in
  // the low bits. Throws kUnsupported where the file would exceed protobuf's 2 GB.
  void tensor(std::string_view name, ElementType type, std::span<const int64_t> shape,
              std::span<const std::byte> elements);
  void input(const ProtobufMessage& value_info) { values_.message(11, value_info); }
  void output(const ProtobufMessage& value_info) { values_.message(12, value_info); }
  void metadata(std::string_view key, std::string_view value) {  // ModelProto.metadata_props
    metadata_.message(14, ProtobufMessage().text(1, key).text(2, value));
  }

  // The file appears whole or not at all. Returns its size in bytes.
  uint64_t write(const std::filesystem::path& path, int64_t opset) const;

 private:
  ProtobufMessage nodes_;  // fields of GraphProto, as are the next two
  std::string tensors_;
  ProtobufMessage values_;
  ProtobufMessage metadata_;  // fields of ModelProto
};

}  // namespace bitsmith::onnx

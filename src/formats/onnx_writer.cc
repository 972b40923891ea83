#include "formats/onnx_writer.h"

#include "core/error.h"
#include "core/output_file.h"

namespace bitsmith::onnx {
namespace {

constexpr uint64_t kLimitBytes = (uint64_t{1} << 31) - 1;  // of a message of protobuf

// AttributeProto.AttributeType
constexpr int64_t kFloatAttribute = 1;
constexpr int64_t kIntAttribute = 2;
constexpr int64_t kStringAttribute = 3;
constexpr int64_t kIntsAttribute = 7;

// The version of onnx.proto (IR) that came with an opset; readers refuse newer ones than theirs.
int64_t ir_version_of(int64_t opset) {
  if (opset >= 21) return 10;
  if (opset >= 19) return 9;
  return opset >= 15 ? 8 : 7;
}

}  // namespace

ProtobufMessage attribute(std::string_view name, int64_t value) {
  return ProtobufMessage().text(1, name).integer(3, value).integer(20, kIntAttribute);
}

ProtobufMessage attribute(std::string_view name, float value) {
  return ProtobufMessage().text(1, name).number(2, value).integer(20, kFloatAttribute);
}

ProtobufMessage attribute(std::string_view name, std::string_view value) {
  return ProtobufMessage().text(1, name).text(4, value).integer(20, kStringAttribute);
}

ProtobufMessage attribute(std::string_view name, const std::vector<int64_t>& values) {
  ProtobufMessage message;
  message.text(1, name);
  for (const int64_t value : values) message.integer(8, value);
  return message.integer(20, kIntsAttribute);
}

ProtobufMessage node_message(std::string_view op, std::string_view name,
                             const std::vector<std::string>& inputs,
                             const std::vector<std::string>& outputs,
                             const std::vector<ProtobufMessage>& attributes) {
  ProtobufMessage message;
  for (const std::string& input : inputs) message.text(1, input);
  for (const std::string& output : outputs) message.text(2, output);
  message.text(3, name).text(4, op);
  for (const ProtobufMessage& a : attributes) message.message(5, a);
  return message;
}

ProtobufMessage value_info(std::string_view name, ElementType type,
                           std::span<const int64_t> shape) {
  ProtobufMessage extents;
  for (const int64_t extent : shape) {
    ProtobufMessage dimension;
    if (extent < 0) {
      dimension.text(2, "N");
    } else {
      dimension.integer(1, extent);
    }
    extents.message(1, dimension);
  }
  const ProtobufMessage tensor_type = ProtobufMessage().integer(1, type).message(2, extents);
  return ProtobufMessage().text(1, name).message(2, ProtobufMessage().message(1, tensor_type));
}

ProtobufMessage tensor_header(std::string_view name, ElementType type,
                              std::span<const int64_t> shape) {
  ProtobufMessage message;
  for (const int64_t extent : shape) message.integer(1, extent);
  return message.integer(2, type).text(8, name);
}

void FileWriter::tensor(std::string_view name, ElementType type, std::span<const int64_t> shape,
                        std::span<const std::byte> elements) {
  ProtobufMessage header = tensor_header(name, type, shape);
  header.begin(9, elements.size());
  const uint64_t size = header.bytes().size() + elements.size();
  const uint64_t before = nodes_.bytes().size() + tensors_.size() + values_.bytes().size();
  if (size > kLimitBytes || before + size > kLimitBytes) {
    fail(
        ErrorCode::kUnsupported,
        "onnx: with tensor '{}' of {} bytes the file would exceed protobuf's limit of 2 GB; export "
        "fewer bits per weight",
        name, elements.size());
  }
  tensors_ += ProtobufMessage().begin(5, size).bytes();
  tensors_ += header.bytes();
  tensors_.append(reinterpret_cast<const char*>(elements.data()), elements.size());
}

uint64_t FileWriter::write(const std::filesystem::path& path, int64_t opset) const {
  const std::string name = ProtobufMessage().text(2, "bitsmith").bytes();
  const uint64_t graph_bytes =
      nodes_.bytes().size() + name.size() + tensors_.size() + values_.bytes().size();
  ProtobufMessage start;
  start.integer(1, ir_version_of(opset)).text(2, "bitsmith").begin(7, graph_bytes);
  ProtobufMessage end;
  end.message(8, ProtobufMessage().text(1, "").integer(2, opset));
  const uint64_t total =
      start.bytes().size() + graph_bytes + end.bytes().size() + metadata_.bytes().size();
  if (total > kLimitBytes) {
    fail(ErrorCode::kUnsupported, "onnx: the file would have {} bytes, protobuf's limit is 2 GB",
         total);
  }
  OutputFile file(path);
  file.write(start.bytes());
  file.write(nodes_.bytes());
  file.write(name);
  file.write(tensors_);
  file.write(values_.bytes());
  file.write(end.bytes());
  file.write(metadata_.bytes());
  file.commit();
  return total;
}

}  // namespace bitsmith::onnx

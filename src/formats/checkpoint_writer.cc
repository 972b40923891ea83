// Writes checkpoints.
#include <algorithm>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_metadata.h"
#include "formats/json_text.h"
#include "formats/safetensors.h"

namespace bitsmith {
namespace {

using namespace checkpoint;

// One entry of the container, with where its bytes come from.
struct Part {
  SafetensorsWriter::Entry entry;
  std::span<const std::byte> bytes;
  const CodedTensor* parameter = nullptr;  // nullptr: a file
};

void check_parameter(const Value& value, const CodedTensor& tensor) {
  const auto refuse = [&](const std::string& reason) {
    fail(ErrorCode::kInvalidArgument, "checkpoint: tensor {}: {}", quoted_name(value.name), reason);
  };
  if (tensor.scheme.codec == nullptr) refuse("it has no codec");
  if (tensor.shape != value.shape) {
    refuse(fmt::format("its shape is {}, the graph's {}", to_string(tensor.shape),
                       to_string(value.shape)));
  }
  const std::optional<int64_t> count = element_count(tensor.shape);
  if (!count || *count == 0 || *count > kMaxElements) {
    refuse(fmt::format("the shape {} has no weights or too many", to_string(tensor.shape)));
  }
  const uint64_t expected =
      tensor.scheme.codec->encoded_bytes(tensor.matrix(), tensor.scheme.options);
  if (tensor.bytes.size() != expected) {
    refuse(fmt::format("it has {} bytes, '{}' of shape {} needs {}", tensor.bytes.size(),
                       tensor.scheme.label(), to_string(tensor.shape), expected));
  }
  if (value.name.starts_with(kFilePrefix)) refuse("the name is reserved for files");
}

// In the graph's order.
std::vector<Part> parameter_parts(const CheckpointContents& contents) {
  std::vector<Part> parts;
  for (const ValueId id : contents.graph.parameters()) {
    const Value& value = contents.graph.value(id);
    const auto found = contents.parameters.find(value.name);
    if (found == contents.parameters.end()) {
      fail(ErrorCode::kInvalidArgument, "checkpoint: the graph's parameter {} is missing",
           quoted_name(value.name));
    }
    const CodedTensor& tensor = found->second;
    check_parameter(value, tensor);
    const std::optional<DType> plain = plain_dtype(tensor.scheme.codec->info().id);
    Shape stored = plain ? tensor.shape : Shape{static_cast<int64_t>(tensor.bytes.size())};
    parts.push_back(
        {{value.name, plain.value_or(DType::kU8), std::move(stored)}, tensor.bytes, &tensor});
  }
  if (parts.size() != contents.parameters.size()) {
    std::set<std::string> names;
    for (const Part& part : parts) names.insert(part.entry.name);
    for (const auto& [name, tensor] : contents.parameters) {
      if (!names.contains(name)) {
        fail(ErrorCode::kInvalidArgument, "checkpoint: {} is no parameter of the graph",
             quoted_name(name));
      }
    }
  }
  return parts;
}

std::vector<Part> file_parts(const CheckpointContents& contents) {
  std::vector<Part> parts;
  for (const auto& [name, content] : contents.tokenizer_files) {
    if (!is_plain_file_name(name)) {
      fail(ErrorCode::kInvalidArgument, "checkpoint: {} is no name for a file", quoted_name(name));
    }
    parts.push_back(
        {{std::string(kFilePrefix) + name, DType::kU8, {static_cast<int64_t>(content.size())}},
         std::as_bytes(std::span(content)),
         nullptr});
  }
  return parts;
}

// Every part whose size is a multiple of 64 bytes comes first and hence starts at one; the others
// follow by falling element size, so that each starts at a multiple of its element's size.
void sort_for_alignment(std::vector<Part>& parts) {
  const auto rank = [](const Part& part) {
    const bool aligned = part.bytes.size() % SafetensorsWriter::kAlignment == 0;
    return aligned ? int64_t{-64} : -size_bytes(part.entry.dtype);
  };
  std::ranges::stable_sort(parts, {}, rank);
}

std::map<std::string, std::string> make_metadata(const CheckpointContents& contents,
                                                 const std::vector<Part>& parts) {
  std::map<std::string, std::string> metadata;
  const auto put = [&](std::string_view key, const nlohmann::json& json) {
    metadata[std::string(key)] = dump_json_text(json, fmt::format("checkpoint: '{}'", key));
  };
  if (!contents.metadata.is_object() && !contents.metadata.is_null()) {
    fail(ErrorCode::kInvalidArgument, "checkpoint: the metadata must be an object");
  }
  for (const auto& [name, json] : contents.metadata.items()) {
    const std::string key = std::string(kPrefix) + name;
    if (is_reserved(key)) {
      fail(ErrorCode::kInvalidArgument, "checkpoint: metadata cannot be named '{}'", name);
    }
    put(key, json);
  }
  nlohmann::json tensors = nlohmann::json::object();
  nlohmann::json files = nlohmann::json::object();
  for (const Part& part : parts) {
    check_interrupt();
    if (part.parameter != nullptr) {
      tensors[part.entry.name] = {{"shape", part.parameter->shape},
                                  {"scheme", part.parameter->scheme.to_json()},
                                  {"checksum", checksum(part.bytes)}};
      if (contents.after_read) contents.after_read(*part.parameter);
    } else {
      files[part.entry.name.substr(kFilePrefix.size())] = {{"checksum", checksum(part.bytes)}};
    }
  }
  metadata["format"] = kFormat;
  metadata[std::string(kVersion)] = std::to_string(kCheckpointVersion);
  put(kGraph, contents.graph.to_json());
  put(kConfig, contents.config);
  put(kTensors, tensors);
  put(kFiles, files);
  metadata[std::string(kChecksum)] = metadata_checksum(metadata);
  return metadata;
}

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const CheckpointContents& contents) {
  std::vector<Part> parts = parameter_parts(contents);
  std::ranges::move(file_parts(contents), std::back_inserter(parts));
  sort_for_alignment(parts);
  const std::map<std::string, std::string> metadata = make_metadata(contents, parts);

  std::vector<SafetensorsWriter::Entry> entries;
  for (const Part& part : parts) entries.push_back(part.entry);
  SafetensorsWriter writer(path, std::move(entries), metadata);
  for (const Part& part : parts) {
    check_interrupt();
    writer.append(part.entry.name, part.bytes);
    if (part.parameter != nullptr && contents.after_read) contents.after_read(*part.parameter);
  }
  writer.commit();
}

}  // namespace bitsmith

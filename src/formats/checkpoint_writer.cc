// Writes checkpoints.
#include <algorithm>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/thread_pool.h"
#include "encoding/coded_storage.h"
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
  bool coded = false;                      // `bytes` are entropy-coded in the file
  std::string checksum = {};               // of what the file holds
  std::string packed_checksum = {};        // of `bytes`, if coded
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
  if (value.name == kPackedMetadata) refuse("the name is reserved for metadata");
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
    const bool aligned = part.entry.size_bytes() % SafetensorsWriter::kAlignment == 0;
    return aligned ? int64_t{-64} : -size_bytes(part.entry.dtype);
  };
  std::ranges::stable_sort(parts, {}, rank);
}

// Decides which parameters are entropy-coded, and finds all checksums.
void measure_parts(const CheckpointContents& contents, ThreadPool& pool, std::vector<Part>& parts) {
  for (Part& part : parts) {
    check_interrupt();
    part.checksum = checksum(part.bytes);
    if (part.parameter != nullptr && contents.entropy_coder != nullptr) {
      const auto coded = encode_storage(*part.parameter, *contents.entropy_coder, pool);
      if (coded.size() < part.bytes.size()) {
        part.coded = true;
        part.packed_checksum = part.checksum;
        part.checksum = checksum(coded);
        part.entry.dtype = DType::kU8;
        part.entry.shape = {static_cast<int64_t>(coded.size())};
      }
    }
    if (part.parameter != nullptr && contents.after_read) contents.after_read(*part.parameter);
  }
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
  int version = kFirstVersion;
  for (const Part& part : parts) {
    if (part.parameter == nullptr) {
      files[part.entry.name.substr(kFilePrefix.size())] = {{"checksum", part.checksum}};
      continue;
    }
    nlohmann::json& tensor = tensors[part.entry.name];
    tensor = {{"shape", part.parameter->shape},
              {"scheme", part.parameter->scheme.to_json()},
              {"checksum", part.checksum}};
    if (!part.coded) continue;
    tensor["entropy"] = {{"coder", contents.entropy_coder->info().id},
                         {"checksum", part.packed_checksum}};
    version = kEntropyVersion;
  }
  metadata["format"] = kFormat;
  metadata[std::string(kVersion)] = std::to_string(version);
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
  ThreadPool pool(contents.entropy_coder != nullptr ? contents.threads : 1);
  measure_parts(contents, pool, parts);
  sort_for_alignment(parts);
  std::map<std::string, std::string> metadata = make_metadata(contents, parts);
  std::vector<std::byte> packed;
  if (std::ranges::any_of(parts, &Part::coded)) {
    packed = pack_metadata(metadata);
    std::erase_if(metadata, [](const auto& entry) { return !stays_in_header(entry.first); });
    parts.push_back(
        {{std::string(kPackedMetadata), DType::kU8, {static_cast<int64_t>(packed.size())}},
         packed});
    sort_for_alignment(parts);
  }

  std::vector<SafetensorsWriter::Entry> entries;
  for (const Part& part : parts) entries.push_back(part.entry);
  SafetensorsWriter writer(path, std::move(entries), metadata);
  for (const Part& part : parts) {
    check_interrupt();
    if (part.coded) {
      writer.append(part.entry.name,
                    encode_storage(*part.parameter, *contents.entropy_coder, pool));
    } else {
      writer.append(part.entry.name, part.bytes);
    }
    if (part.parameter != nullptr && contents.after_read) contents.after_read(*part.parameter);
  }
  writer.commit();
}

}  // namespace bitsmith

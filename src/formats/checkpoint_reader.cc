// Opens and verifies checkpoints.
#include <charconv>
#include <vector>

#include "core/error_context.h"
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
using nlohmann::json;

constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;

class Reader {
 public:
  explicit Reader(Safetensors container) : container_(std::move(container)) {
    if (check_version() < kEntropyVersion) return;
    const auto packed = container_.tensors.find(kPackedMetadata);
    if (packed == container_.tensors.end() || packed->second.dtype != "U8") {
      corrupt(fmt::format("tensor '{}' is missing or not of bytes", kPackedMetadata));
    }
    unpack_metadata(packed->second.bytes, container_.file, container_.metadata);
    container_.tensors.erase(packed);
  }

  Model read() {
    check_metadata_checksum();
    Model model;
    model.path = container_.file;
    model.format = kFormat;
    model.config = parse(kConfig);
    model.graph = read_graph();
    read_parameters(model);
    decode_parameters(model);
    read_files(model);
    for (const auto& [name, tensor] : container_.tensors) {
      if (!model.parameters.contains(name) && !name.starts_with(kFilePrefix)) {
        corrupt(fmt::format("tensor {} is not in {}", quoted_name(name), kTensors));
      }
    }
    read_free_metadata(model);
    return model;
  }

  // The checksum that the file promises for each parameter.
  std::map<std::string, std::string> parameter_checksums() const {
    std::map<std::string, std::string> result;
    const json tensors = parse(kTensors);
    for (const auto& [name, entry] : tensors.items()) {
      result[name] = text_member(entry, "checksum", name);
    }
    return result;
  }

 private:
  [[noreturn]] void corrupt(const std::string& reason) const {
    fail(ErrorCode::kCorrupt, "'{}': {}", container_.file, reason);
  }

  const std::string& metadata(std::string_view key) const {
    const auto found = container_.metadata.find(std::string(key));
    if (found == container_.metadata.end()) corrupt(fmt::format("metadata '{}' is missing", key));
    return found->second;
  }

  json parse(std::string_view key) const {
    return parse_json_text(metadata(key), fmt::format("'{}': metadata '{}'", container_.file, key),
                           kMaxJsonBytes);
  }

  int check_version() const {
    const auto format = container_.metadata.find("format");
    if (format == container_.metadata.end() || format->second != kFormat) {
      corrupt("it is no bitsmith checkpoint: metadata 'format' is not 'bitsmith'");
    }
    const std::string& text = metadata(kVersion);
    int version = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
    if (error != std::errc() || end != text.data() + text.size() || version < 1) {
      corrupt(fmt::format("{} is no version of the format", quoted_name(text)));
    }
    if (version > kCheckpointVersion) {
      fail(ErrorCode::kUnsupported,
           "'{}' is of version {} of the format; this bitsmith reads up to {}: use a newer one",
           container_.file, version, kCheckpointVersion);
    }
    return version;
  }

  void check_metadata_checksum() const {
    const std::string actual = metadata_checksum(container_.metadata);
    if (metadata(kChecksum) != actual) {
      corrupt(fmt::format("the metadata has the checksum {}, expected {} (damaged file)", actual,
                          quoted_name(metadata(kChecksum))));
    }
  }

  Graph read_graph() const {
    const json source = parse(kGraph);
    return with_context(container_.file, [&] { return Graph::from_json(source); });
  }

  const json& member(const json& object, const char* key, const std::string& owner) const {
    if (!object.is_object() || !object.contains(key)) {
      corrupt(fmt::format("metadata of {} lacks '{}'", quoted_name(owner), key));
    }
    return object[key];
  }

  const std::string& text_member(const json& object, const char* key,
                                 const std::string& owner) const {
    const json& value = member(object, key, owner);
    if (!value.is_string()) {
      corrupt(fmt::format("metadata of {}: '{}' must be a string", quoted_name(owner), key));
    }
    return value.get_ref<const std::string&>();
  }

  Shape read_shape(const std::string& name, const json& entry) const {
    Shape shape;
    const json& extents = member(entry, "shape", name);
    bool good = extents.is_array() && extents.size() <= 64;
    for (size_t i = 0; good && i < extents.size(); ++i) {
      good = extents[i].is_number_unsigned() && extents[i].get<uint64_t>() <= kMaxElements;
      if (good) shape.push_back(extents[i].get<int64_t>());
    }
    const std::optional<int64_t> count = good ? element_count(shape) : std::nullopt;
    if (!count || *count == 0 || *count > kMaxElements) {
      corrupt(fmt::format("tensor {}: {} is no shape of a parameter", quoted_name(name),
                          extents.dump().substr(0, 200)));
    }
    return shape;
  }

  Scheme read_scheme(const std::string& name, const json& entry) const {
    const json& source = member(entry, "scheme", name);
    try {
      return Scheme::from_json(source);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCorrupt) corrupt(error.what());
      fail(ErrorCode::kUnsupported, "'{}': tensor {}: {}; a newer bitsmith may read it",
           container_.file, quoted_name(name), error.what());
    }
  }

  CodedTensor read_parameter(const std::string& name, const json& entry) const {
    const auto found = container_.tensors.find(name);
    if (found == container_.tensors.end()) {
      corrupt(fmt::format("tensor {} is missing", quoted_name(name)));
    }
    const SafetensorsTensor& stored = found->second;
    CodedTensor tensor{name, read_shape(name, entry), read_scheme(name, entry), stored.bytes};
    const bool coded = entry.contains("entropy");
    if (coded) {
      tensor.entropy_coder = text_member(entry["entropy"], "coder", name);
      tensor.coded_bytes = stored.bytes;
      tensor.bytes = {};  // until decode_parameters()
    }
    const std::optional<DType> plain =
        coded ? std::nullopt : plain_dtype(tensor.scheme.codec->info().id);
    const Shape stored_shape =
        plain ? tensor.shape : Shape{static_cast<int64_t>(stored.bytes.size())};
    const std::string_view dtype = to_string(plain.value_or(DType::kU8));
    if (stored.dtype != dtype || stored.shape != stored_shape) {
      corrupt(fmt::format("tensor {} lies in the file as {} {}, expected {} {}", quoted_name(name),
                          stored.dtype, to_string(stored.shape), dtype, to_string(stored_shape)));
    }
    const uint64_t expected = encoded_bytes(tensor);
    if (!coded && stored.bytes.size() != expected) {
      corrupt(fmt::format("tensor {} has {} bytes; '{}' of shape {} needs {}", quoted_name(name),
                          stored.bytes.size(), tensor.scheme.label(), to_string(tensor.shape),
                          expected));
    }
    if (coded && expected / kLargestExpansion > stored.bytes.size()) {
      corrupt(fmt::format("tensor {} cannot hold {} bytes in {}: at most {} times as many",
                          quoted_name(name), expected, stored.bytes.size(), kLargestExpansion));
    }
    return tensor;
  }

  const EntropyCoder& entropy_coder(const CodedTensor& tensor) const {
    const EntropyCoder* coder = Registry<EntropyCoder>::instance().find(tensor.entropy_coder);
    if (coder == nullptr) {
      fail(ErrorCode::kUnsupported,
           "'{}': tensor {} is coded by the entropy coder {}; a newer bitsmith may read it",
           container_.file, quoted_name(tensor.name), quoted_name(tensor.entropy_coder));
    }
    return *coder;
  }

  // Entropy-coded parameters, one after the other, into memory that the model owns.
  void decode_parameters(Model& model) const {
    constexpr uint64_t kAlignment = 64;
    uint64_t total = 0;  // cannot overflow: at most kLargestExpansion times the file
    for (const auto& [name, tensor] : model.parameters) {
      if (tensor.entropy_coder.empty()) continue;
      entropy_coder(tensor);
      total += (encoded_bytes(tensor) + kAlignment - 1) / kAlignment * kAlignment;
    }
    if (total == 0) return;
    model.decoded = std::make_shared<MemoryFile>(total);
    const json tensors = parse(kTensors);
    constexpr uint64_t kWorthThreads = uint64_t{4} << 20;  // starting them takes a millisecond
    ThreadPool pool(total < kWorthThreads ? 1 : 0);
    uint64_t at = 0;
    for (auto& [name, tensor] : model.parameters) {
      if (tensor.entropy_coder.empty()) continue;
      check_interrupt();
      const auto bytes = model.decoded->bytes().subspan(at, encoded_bytes(tensor));
      try {
        decode_storage(tensor, tensor.coded_bytes, entropy_coder(tensor), pool, bytes);
      } catch (const Error& error) {
        fail(error.code(), "'{}': tensor {}: {}", container_.file, quoted_name(name), error.what());
      }
      tensor.bytes = bytes;
      release_pages(tensor.coded_bytes);
      const std::string actual = checksum(bytes);
      if (text_member(tensors[name]["entropy"], "checksum", name) != actual) {
        corrupt(
            fmt::format("tensor {} decodes to bytes with the checksum {}, which is not the "
                        "expected one (damaged file)",
                        quoted_name(name), actual));
      }
      at += (bytes.size() + kAlignment - 1) / kAlignment * kAlignment;
    }
  }

  uint64_t encoded_bytes(const CodedTensor& tensor) const {
    try {
      return tensor.scheme.codec->encoded_bytes(tensor.matrix(), tensor.scheme.options);
    } catch (const Error& error) {
      corrupt(fmt::format("tensor {}: {}", quoted_name(tensor.name), error.what()));
    }
  }

  void read_parameters(Model& model) const {
    const json tensors = parse(kTensors);
    if (!tensors.is_object()) corrupt(fmt::format("metadata '{}' must be an object", kTensors));
    for (const auto& [name, entry] : tensors.items()) {
      model.parameters.emplace(name, read_parameter(name, entry));
    }
    size_t used = 0;
    for (const ValueId id : model.graph.parameters()) {
      const Value& value = model.graph.value(id);
      const auto found = model.parameters.find(value.name);
      if (found == model.parameters.end()) {
        corrupt(fmt::format("the graph's parameter {} is missing", quoted_name(value.name)));
      }
      if (found->second.shape != value.shape) {
        corrupt(fmt::format("tensor {} has shape {}, the graph's parameter {}",
                            quoted_name(value.name), to_string(found->second.shape),
                            to_string(value.shape)));
      }
      ++used;
    }
    if (used != model.parameters.size()) {
      corrupt(
          fmt::format("{} tensors are no parameters of the graph", model.parameters.size() - used));
    }
  }

  void read_files(Model& model) const {
    const json files = parse(kFiles);
    if (!files.is_object()) corrupt(fmt::format("metadata '{}' must be an object", kFiles));
    for (const auto& [name, tensor] : container_.tensors) {
      if (!name.starts_with(kFilePrefix) || model.parameters.contains(name)) continue;
      const std::string file = name.substr(kFilePrefix.size());
      if (!is_plain_file_name(file) || tensor.dtype != "U8" || tensor.shape.size() != 1) {
        corrupt(fmt::format("{} is no entry for a file", quoted_name(name)));
      }
      const std::string actual = checksum(tensor.bytes);
      if (text_member(member(files, file.c_str(), std::string(kFiles)), "checksum", name) !=
          actual) {
        corrupt(
            fmt::format("the file {} has the checksum {}, which is not the expected one "
                        "(damaged file)",
                        quoted_name(file), actual));
      }
      model.tokenizer_files[file].assign(reinterpret_cast<const char*>(tensor.bytes.data()),
                                         tensor.bytes.size());
    }
    if (files.size() != model.tokenizer_files.size()) {
      corrupt(fmt::format("it holds {} of the {} files that metadata '{}' lists",
                          model.tokenizer_files.size(), files.size(), kFiles));
    }
  }

  void read_free_metadata(Model& model) const {
    model.metadata = json::object();
    for (const auto& [key, text] : container_.metadata) {
      if (!key.starts_with(kPrefix) || is_reserved(key)) continue;
      model.metadata[key.substr(kPrefix.size())] = parse(key);
    }
  }

  Safetensors container_;
};

}  // namespace

Model read_checkpoint(std::span<const std::byte> bytes, const std::string& file) {
  return Reader(read_safetensors(bytes, file)).read();
}

Model open_checkpoint(const std::filesystem::path& path) {
  const auto file = std::make_shared<MappedFile>(path);
  Model model = read_checkpoint(file->bytes(), path.string());
  model.path = path;
  model.files.push_back(file);
  return model;
}

void verify_checkpoint(const Model& model, Progress& progress) {
  BITSMITH_ASSERT(model.format == kFormat && model.files.size() == 1);
  const std::string file = model.path.string();
  const Reader reader(read_safetensors(model.files.front()->bytes(), file));
  const auto expected = reader.parameter_checksums();
  progress.begin("Verifying", static_cast<double>(model.parameter_bytes()));
  double done = 0;
  for (const auto& [name, tensor] : model.parameters) {
    check_interrupt();
    const std::string actual = checksum(tensor.stored_bytes());
    if (expected.at(name) != actual) {
      fail(ErrorCode::kCorrupt, "'{}': tensor {} has the checksum {}, expected {} (damaged file)",
           file, quoted_name(name), actual, quoted_name(expected.at(name)));
    }
    release_pages(tensor.stored_bytes());
    done += static_cast<double>(tensor.stored_bytes().size());
    progress.update(done, name);
  }
  progress.end();
}

}  // namespace bitsmith

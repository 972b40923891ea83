#include "formats/onnx_external.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"

namespace bitsmith::onnx {
namespace {

namespace fs = std::filesystem;

// A decimal number among the entries; `otherwise` if there is none.
uint64_t number_entry(const std::string& file, const Tensor& tensor, const char* key,
                      uint64_t otherwise) {
  const auto it = tensor.external.find(key);
  if (it == tensor.external.end()) return otherwise;
  const std::string& text = it->second;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}': external '{}' is '{}', no number", file,
         tensor.name, key, text);
  }
  return value;
}

}  // namespace

const MappedFile& ExternalData::open(const Tensor& tensor, const std::string& location) {
  auto& mapped = files_[location];
  if (mapped) return *mapped;
  const auto refuse = [&](const char* reason) {
    files_.erase(location);
    fail(ErrorCode::kUnsupported, "{}: tensor '{}' lies in '{}': {}", file_, tensor.name, location,
         reason);
  };
  if (folder_.empty()) refuse("files beside the network are not read here");
  const fs::path relative(location);
  const bool climbs = std::ranges::any_of(relative, [](const fs::path& p) { return p == ".."; });
  if (location.empty() || location.find('\0') != location.npos || relative.is_absolute() ||
      climbs) {
    refuse("it must be a path inside the network's folder");
  }
  std::error_code error;
  const fs::path inside = fs::canonical(folder_, error);
  const fs::path path = error ? fs::path() : fs::canonical(inside / relative, error);
  if (error) refuse("the file is not there (incomplete download?)");
  const auto [end, rest] = std::mismatch(inside.begin(), inside.end(), path.begin(), path.end());
  if (end != inside.end()) refuse("it must be a path inside the network's folder");
  mapped = std::make_shared<MappedFile>(path);
  return *mapped;
}

std::string_view ExternalData::bytes(const Tensor& tensor) {
  const auto location = tensor.external.find("location");
  if (location == tensor.external.end()) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' is external, but no location is given", file_,
         tensor.name);
  }
  const std::span<const std::byte> all = open(tensor, location->second).bytes();
  const uint64_t needed = static_cast<uint64_t>(tensor.count()) * element_bytes(tensor.type);
  const uint64_t offset = number_entry(file_, tensor, "offset", 0);
  const uint64_t length = number_entry(file_, tensor, "length", needed);
  if (length != needed || offset > all.size() || length > all.size() - offset) {
    fail(ErrorCode::kCorrupt,
         "{}: tensor '{}' of {} bytes should lie at [{}, {} + {}) of '{}', which has {} bytes",
         file_, tensor.name, needed, offset, offset, length, location->second, all.size());
  }
  return {reinterpret_cast<const char*>(all.data()) + offset, length};
}

uint64_t ExternalData::mapped_bytes() const {
  uint64_t total = 0;
  for (const auto& [location, file] : files_) total += file->bytes().size();
  return total;
}

std::vector<std::shared_ptr<MappedFile>> ExternalData::files() const {
  std::vector<std::shared_ptr<MappedFile>> files;
  for (const auto& [location, file] : files_) files.push_back(file);
  return files;
}

}  // namespace bitsmith::onnx

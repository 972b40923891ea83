#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/error.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation
constexpr size_t kMaxRank = 64;                    // far above any tensor

struct OtherType {
  std::string_view name;
  uint64_t bits;
};

// Legal in safetensors, but bitsmith does not compute with them.
constexpr std::array<OtherType, 8> kOtherTypes = {{{"C64", 64},
                                                   {"F8_E5M2", 8},
                                                   {"F8_E8M0", 8},
                                                   {"F8_E4M3FNUZ", 8},
                                                   {"F8_E5M2FNUZ", 8},
                                                   {"F6_E2M3", 6},
                                                   {"F6_E3M2", 6},
                                                   {"F4", 4}}};

std::optional<uint64_t> element_bits(std::string_view dtype) {
  DType known;
  if (parse_dtype(dtype, known)) return static_cast<uint64_t>(8 * size_bytes(known));
  const auto* other = std::ranges::find(kOtherTypes, dtype, &OtherType::name);
  if (other == kOtherTypes.end()) return std::nullopt;
  return other->bits;
}

// What the header says of one tensor.
struct Entry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<Shape> shape;
  std::optional<size_t> offset_count;  // numbers in data_offsets
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Receives the header's JSON piece by piece. A parsed document would have lost the duplicate keys.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(std::string_view file) : file_(file) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("true or false"); }
  bool number_float(double, const string_t&) override { refuse("a number with a fraction"); }
  bool binary(binary_t&) override { refuse("bytes"); }
  bool number_integer(number_integer_t) override { refuse("a negative number"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) {
      Shape& shape = *entries.back().shape;
      if (value > uint64_t{INT64_MAX}) refuse("an extent that does not fit 63 bits");
      if (shape.size() == kMaxRank) refuse("more than 64 extents");
      shape.push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::kOffsets) {
      Entry& entry = entries.back();
      if (*entry.offset_count == 2) refuse("more than two numbers");
      (*entry.offset_count == 0 ? entry.begin : entry.end) = value;
      ++*entry.offset_count;
    } else {
      refuse("a number");
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      metadata[key_] = std::move(value);
    } else if (place_ == Place::kTensor && key_ == "dtype") {
      entries.back().dtype = std::move(value);
    } else {
      refuse("a string");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kOutside) {
      place_ = Place::kHeader;
    } else if (place_ == Place::kHeader && key_ == "__metadata__") {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kHeader) {
      place_ = Place::kTensor;
      entries.emplace_back().name = key_;
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(string_t& value) override {
    key_ = std::move(value);
    if (place_ == Place::kHeader) {
      if (!names_.insert(key_).second) {
        fail(ErrorCode::kCorrupt, "'{}': the header names {} twice", file_, quoted_name(key_));
      }
    } else if (place_ == Place::kMetadata) {
      if (metadata.contains(key_)) {
        fail(ErrorCode::kCorrupt, "'{}': __metadata__ holds {} twice", file_, quoted_name(key_));
      }
    } else {
      check_tensor_key();
    }
    return true;
  }

  bool end_object() override {
    place_ = place_ == Place::kHeader ? Place::kOutside : Place::kHeader;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kTensor && key_ == "shape") {
      entries.back().shape.emplace();
      place_ = Place::kShape;
    } else if (place_ == Place::kTensor && key_ == "data_offsets") {
      entries.back().offset_count = 0;
      place_ = Place::kOffsets;
    } else {
      refuse("an array");
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    fail(ErrorCode::kCorrupt, "'{}': the header is not valid JSON (at its byte {})", file_,
         position);
  }

 private:
  enum class Place { kOutside, kHeader, kMetadata, kTensor, kShape, kOffsets };

  void check_tensor_key() const {
    const Entry& entry = entries.back();
    const bool twice = (key_ == "dtype" && entry.dtype) || (key_ == "shape" && entry.shape) ||
                       (key_ == "data_offsets" && entry.offset_count);
    if (twice) {
      fail(ErrorCode::kCorrupt, "'{}': tensor {} has {} twice", file_, quoted_name(entry.name),
           quoted_name(key_));
    }
    if (key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") {
      fail(ErrorCode::kCorrupt,
           "'{}': tensor {} has {}; expected only dtype, shape and data_offsets", file_,
           quoted_name(entry.name), quoted_name(key_));
    }
  }

  [[noreturn]] void refuse(std::string_view what) const {
    switch (place_) {
      case Place::kMetadata:
        fail(ErrorCode::kCorrupt, "'{}': __metadata__ {} should be a string, got {}", file_,
             quoted_name(key_), what);
      case Place::kTensor:
      case Place::kShape:
      case Place::kOffsets:
        fail(ErrorCode::kCorrupt, "'{}': tensor {}: {} cannot be {}", file_,
             quoted_name(entries.back().name), key_, what);
      default:
        fail(ErrorCode::kCorrupt, "'{}': header entry {} should be an object, got {}", file_,
             quoted_name(key_), what);
    }
  }

  std::string_view file_;
  Place place_ = Place::kOutside;
  std::string key_;
  std::set<std::string, std::less<>> names_;
};

// The bytes that dtype and shape ask for.
uint64_t expected_bytes(const Entry& entry, std::string_view file) {
  const std::optional<uint64_t> bits = element_bits(*entry.dtype);
  if (!bits) {
    fail(ErrorCode::kUnsupported, "'{}': tensor {} is of type {}, which bitsmith does not know",
         file, quoted_name(entry.name), quoted_name(*entry.dtype));
  }
  const std::optional<int64_t> count = element_count(*entry.shape);
  const auto total = count ? checked_multiply(static_cast<uint64_t>(*count), *bits) : std::nullopt;
  if (!total || *total % 8 != 0) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {} of type {} and shape {} has no size in bytes", file,
         quoted_name(entry.name), *entry.dtype, to_string(*entry.shape));
  }
  return *total / 8;
}

void check_complete(const Entry& entry, std::string_view file) {
  const char* missing = !entry.dtype          ? "dtype"
                        : !entry.shape        ? "shape"
                        : !entry.offset_count ? "data_offsets"
                                              : nullptr;
  if (missing != nullptr) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {} has no {}", file, quoted_name(entry.name), missing);
  }
  if (*entry.offset_count != 2) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {}: data_offsets should be two numbers, got {}", file,
         quoted_name(entry.name), *entry.offset_count);
  }
}

// Where the header lies, after the checks that come before any allocation.
std::string_view header_text(std::span<const std::byte> bytes, std::string_view file) {
  if (bytes.size() < 8) {
    fail(ErrorCode::kCorrupt,
         "'{}' has {} bytes; a safetensors file has at least 8 (truncated download?)", file,
         bytes.size());
  }
  uint64_t size = 0;
  for (size_t i = 0; i < 8; ++i) size |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  if (size > kMaxHeaderBytes) {
    fail(ErrorCode::kCorrupt,
         "'{}' is not a safetensors file: its header would have {} bytes; at most {} are allowed",
         file, size, kMaxHeaderBytes);
  }
  if (size > bytes.size() - 8) {
    fail(ErrorCode::kCorrupt,
         "'{}': the header needs {} bytes, the file ends after {} of them "
         "(truncated download?)",
         file, size, bytes.size() - 8);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, size);
  if (text.empty() || text.front() != '{') {
    fail(ErrorCode::kCorrupt, "'{}' is not a safetensors file: its header does not start with '{{'",
         file);
  }
  return text;
}

}  // namespace

Safetensors read_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  const std::string_view text = header_text(bytes, file);
  HeaderHandler handler(file);
  nlohmann::json::sax_parse(text, &handler);

  std::vector<Entry>& entries = handler.entries;
  for (const Entry& entry : entries) check_complete(entry, file);
  std::ranges::sort(
      entries, {}, [](const Entry& entry) { return std::tie(entry.begin, entry.end, entry.name); });

  Safetensors result{std::string(file), std::move(handler.metadata), {}};
  const std::span<const std::byte> data = bytes.subspan(8 + text.size());
  uint64_t position = 0;
  for (Entry& entry : entries) {
    const auto [begin, end] = std::pair(entry.begin, entry.end);
    if (begin != position || end < begin) {
      fail(ErrorCode::kCorrupt,
           "'{}': tensor {} has data_offsets [{}, {}]; expected it to begin "
           "at {}, without hole or overlap",
           file, quoted_name(entry.name), begin, end, position);
    }
    const uint64_t expected = expected_bytes(entry, file);
    if (end - begin != expected) {
      fail(ErrorCode::kCorrupt,
           "'{}': tensor {} of type {} and shape {} needs {} bytes, "
           "data_offsets give it {}",
           file, quoted_name(entry.name), *entry.dtype, to_string(*entry.shape), expected,
           end - begin);
    }
    if (end > data.size()) {
      fail(ErrorCode::kCorrupt,
           "'{}': tensor {} needs bytes {} to {} of the data, which ends at {} "
           "(truncated download?)",
           file, quoted_name(entry.name), begin, end, data.size());
    }
    result.tensors.emplace(std::move(entry.name),
                           SafetensorsTensor{std::move(*entry.dtype), std::move(*entry.shape),
                                             data.subspan(begin, end - begin)});
    position = end;
  }
  if (position != data.size()) {
    fail(ErrorCode::kCorrupt, "'{}': {} bytes follow the last tensor", file,
         data.size() - position);
  }
  return result;
}

uint64_t SafetensorsWriter::Entry::size_bytes() const {
  const std::optional<int64_t> count = element_count(shape);
  const auto total = count ? checked_multiply(static_cast<uint64_t>(*count),
                                              static_cast<uint64_t>(bitsmith::size_bytes(dtype)))
                           : std::nullopt;
  if (!total) {
    fail(ErrorCode::kInvalidArgument, "tensor {} of shape {} is too large to write",
         quoted_name(name), to_string(shape));
  }
  return *total;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path), entries_(std::move(entries)) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::set<std::string_view> names = {"__metadata__"};
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t position = 0;
  for (const Entry& entry : entries_) {
    if (!names.insert(entry.name).second) {
      fail(ErrorCode::kInvalidArgument, "'{}': cannot write two tensors named {}", path.string(),
           quoted_name(entry.name));
    }
    const auto end = checked_add(position, entry.size_bytes());
    BITSMITH_ASSERT(end.has_value());
    header.push_back({entry.name,
                      {{"dtype", to_string(entry.dtype)},
                       {"shape", entry.shape},
                       {"data_offsets", {position, *end}}}});
    position = *end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorCode::kInvalidArgument, "'{}': a name or metadata is not UTF-8", path.string());
  }
  text.append((kAlignment - (8 + text.size()) % kAlignment) % kAlignment, ' ');
  if (text.size() > kMaxHeaderBytes) {
    fail(ErrorCode::kInvalidArgument, "'{}': the header has {} bytes; at most {} are allowed",
         path.string(), text.size(), kMaxHeaderBytes);
  }
  std::array<std::byte, 8> size{};
  for (size_t i = 0; i < 8; ++i) size[i] = static_cast<std::byte>(text.size() >> (8 * i));
  file_.write(size);
  file_.write(text);
  skip_complete();
}

void SafetensorsWriter::skip_complete() {
  while (next_ < entries_.size() && next_written_ == entries_[next_].size_bytes()) {
    ++next_;
    next_written_ = 0;
  }
}

void SafetensorsWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  BITSMITH_ASSERT(next_ < entries_.size() && entries_[next_].name == name);
  BITSMITH_ASSERT(bytes.size() <= entries_[next_].size_bytes() - next_written_);
  file_.write(bytes);
  next_written_ += bytes.size();
  skip_complete();
}

void SafetensorsWriter::commit() {
  BITSMITH_ASSERT(next_ == entries_.size());
  file_.commit();
}

}  // namespace bitsmith

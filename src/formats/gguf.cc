#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "core/error.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kMaxParts = 65535;  // split.count is a u16
// The fewest bytes of an entry: an empty key, its type and a byte; an empty name, no extents.
constexpr uint64_t kLeastValueBytes = 8 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 4 + 4 + 8;

template <class T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

double number_at(GgufType type, const std::byte* bytes) {
  switch (type) {
    case GgufType::kF32:
      return static_cast<double>(load<float>(bytes));
    case GgufType::kF64:
      return load<double>(bytes);
    case GgufType::kU64:
      return static_cast<double>(load<uint64_t>(bytes));
    case GgufType::kI64:
      return static_cast<double>(load<int64_t>(bytes));
    case GgufType::kU32:
      return load<uint32_t>(bytes);
    case GgufType::kI32:
      return load<int32_t>(bytes);
    case GgufType::kU16:
      return load<uint16_t>(bytes);
    case GgufType::kI16:
      return load<int16_t>(bytes);
    case GgufType::kU8:
      return load<uint8_t>(bytes);
    case GgufType::kI8:
      return load<int8_t>(bytes);
    case GgufType::kBool:
      return load<uint8_t>(bytes) != 0 ? 1 : 0;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

// Reads a file from front to back; every step is checked against its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > remaining()) {
      fail(ErrorCode::kCorrupt,
           "'{}': {} needs {} bytes at {}, the file ends at {} (truncated download?)", file_, what,
           size, position_, bytes_.size());
    }
    const auto part = bytes_.subspan(position_, size);
    position_ += size;
    return part;
  }

  template <class T>
  T number(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }

  std::string_view text(std::string_view what) {
    const auto size = number<uint64_t>(what);
    const auto part = take(size, what);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  // A number of things of which each takes at least `least_bytes`.
  uint64_t count(uint64_t least_bytes, std::string_view what) {
    const auto count = number<uint64_t>(what);
    if (count > remaining() / least_bytes) {
      fail(ErrorCode::kCorrupt, "'{}' would have {} {}, more than its {} bytes can hold", file_,
           count, what, bytes_.size());
    }
    return count;
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view file_;
  uint64_t position_ = 0;
};

GgufType value_type(uint32_t id, std::string_view key, std::string_view file) {
  if (id > static_cast<uint32_t>(GgufType::kF64)) {
    fail(ErrorCode::kCorrupt, "'{}': {} has the type {}, which GGUF does not have", file,
         quoted_name(key), id);
  }
  return static_cast<GgufType>(id);
}

GgufArray read_array(Cursor& cursor, std::string_view key, std::string_view file) {
  GgufArray array;
  array.type = value_type(cursor.number<uint32_t>("an array"), key, file);
  if (array.type == GgufType::kArray) {
    fail(ErrorCode::kUnsupported, "'{}': {} is an array of arrays", file, quoted_name(key));
  }
  if (array.type == GgufType::kString) {
    array.count = cursor.count(8, "strings");
    array.strings.reserve(array.count);
    for (uint64_t i = 0; i < array.count; ++i) array.strings.push_back(cursor.text("a string"));
    return array;
  }
  const auto size = static_cast<uint64_t>(size_bytes(array.type));
  array.count = cursor.count(size, "numbers");
  array.bytes = cursor.take(array.count * size, "an array");
  return array;
}

GgufValue read_value(Cursor& cursor, std::string_view key, std::string_view file) {
  GgufValue value;
  value.type = value_type(cursor.number<uint32_t>("a value"), key, file);
  switch (value.type) {
    case GgufType::kArray:
      value.value = read_array(cursor, key, file);
      break;
    case GgufType::kString:
      value.value = cursor.text("a string");
      break;
    case GgufType::kBool: {
      const auto byte = cursor.number<uint8_t>("a bool");
      if (byte > 1) {
        fail(ErrorCode::kCorrupt, "'{}': the bool {} is {}", file, quoted_name(key), byte);
      }
      value.value = byte == 1;
      break;
    }
    case GgufType::kU8:
      value.value = uint64_t{cursor.number<uint8_t>("a u8")};
      break;
    case GgufType::kU16:
      value.value = uint64_t{cursor.number<uint16_t>("a u16")};
      break;
    case GgufType::kU32:
      value.value = uint64_t{cursor.number<uint32_t>("a u32")};
      break;
    case GgufType::kU64:
      value.value = cursor.number<uint64_t>("a u64");
      break;
    case GgufType::kI8:
      value.value = int64_t{cursor.number<int8_t>("an i8")};
      break;
    case GgufType::kI16:
      value.value = int64_t{cursor.number<int16_t>("an i16")};
      break;
    case GgufType::kI32:
      value.value = int64_t{cursor.number<int32_t>("an i32")};
      break;
    case GgufType::kI64:
      value.value = cursor.number<int64_t>("an i64");
      break;
    case GgufType::kF32:
      value.value = static_cast<double>(cursor.number<float>("an f32"));
      break;
    case GgufType::kF64:
      value.value = cursor.number<double>("an f64");
      break;
  }
  return value;
}

// A tensor of the head, not yet located.
struct Entry {
  std::string name;
  GgufTensor tensor;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

void set_size(Entry& entry, std::string_view file) {
  const GgmlType& type = *entry.tensor.type;
  const int64_t cols = entry.tensor.shape.back();
  if (cols % type.block_cols != 0) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {} of type {} has rows of {}, no multiple of {}", file,
         quoted_name(entry.name), type.name, cols, type.block_cols);
  }
  const auto count = element_count(entry.tensor.shape);
  const auto bytes = count ? checked_multiply(static_cast<uint64_t>(*count / type.block_cols),
                                              static_cast<uint64_t>(type.block_bytes))
                           : std::nullopt;
  if (!bytes || *count > std::numeric_limits<int64_t>::max() / 16) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {} of shape {} is too large", file,
         quoted_name(entry.name), to_string(entry.tensor.shape));
  }
  entry.bytes = *bytes;
}

Entry read_entry(Cursor& cursor, std::string_view file) {
  Entry entry;
  entry.name = cursor.text("a tensor's name");
  const auto dimensions = cursor.number<uint32_t>("a tensor");
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {} has {} dimensions, expected 1 to {}", file,
         quoted_name(entry.name), dimensions, kMaxDimensions);
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto extent = cursor.number<uint64_t>("a tensor");
    if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      fail(ErrorCode::kCorrupt, "'{}': tensor {} has an extent of {}", file,
           quoted_name(entry.name), extent);
    }
    entry.tensor.shape.insert(entry.tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  const auto type = cursor.number<uint32_t>("a tensor");
  entry.tensor.type = find_ggml_type(type);
  if (entry.tensor.type == nullptr) {
    fail(ErrorCode::kUnsupported,
         "'{}': tensor {} is of ggml type {}, which bitsmith does not know", file,
         quoted_name(entry.name), type);
  }
  entry.offset = cursor.number<uint64_t>("a tensor");
  set_size(entry, file);
  return entry;
}

void check_head(Cursor& cursor, std::string_view file) {
  const auto magic = cursor.take(4, "the head");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    fail(ErrorCode::kCorrupt, "'{}' is not a GGUF file", file);
  }
  const auto version = cursor.number<uint32_t>("the head");
  if (version == 2 || version == 3) return;
  const bool swapped = version == 0x02000000 || version == 0x03000000;
  fail(ErrorCode::kUnsupported, "'{}' is GGUF {}; supported are versions 2 and 3, little-endian",
       file, swapped ? "for big-endian machines" : fmt::format("version {}", version));
}

uint64_t alignment_of(const Gguf& gguf) {
  const auto alignment = gguf.integer("general.alignment");
  if (!alignment) return kDefaultAlignment;
  const auto value = static_cast<uint64_t>(*alignment);
  if (*alignment < 1 || value > kMaxAlignment || !std::has_single_bit(value)) {
    fail(ErrorCode::kCorrupt, "'{}': general.alignment should be a power of two, it is {}",
         gguf.file, *alignment);
  }
  return value;
}

// Gives every tensor its bytes. `data` may be shorter than the first alignment asks for, if there
// are no tensors.
void locate(std::vector<Entry>& entries, std::span<const std::byte> bytes, uint64_t head_end,
            Gguf& gguf) {
  const uint64_t alignment = alignment_of(gguf);
  const uint64_t start = (head_end + alignment - 1) / alignment * alignment;
  const auto data = start <= bytes.size() ? bytes.subspan(start) : std::span<const std::byte>();
  std::ranges::sort(entries, {},
                    [](const Entry& e) { return std::tie(e.offset, e.bytes, e.name); });
  uint64_t free_from = 0;
  for (Entry& entry : entries) {
    const auto end = checked_add(entry.offset, entry.bytes);
    if (entry.offset % alignment != 0 || entry.offset < free_from) {
      fail(ErrorCode::kCorrupt,
           "'{}': tensor {} has the offset {}, expected a multiple of {} from {} on", gguf.file,
           quoted_name(entry.name), entry.offset, alignment, free_from);
    }
    if (!end || *end > data.size() || start > bytes.size()) {
      fail(ErrorCode::kCorrupt,
           "'{}': tensor {} needs {} bytes at offset {} of the data, which has {} (truncated "
           "download?)",
           gguf.file, quoted_name(entry.name), entry.bytes, entry.offset, data.size());
    }
    entry.tensor.bytes = data.subspan(entry.offset, entry.bytes);
    free_from = *end;
    const auto [other, added] = gguf.tensors.emplace(entry.name, entry.tensor);
    if (!added) {
      fail(ErrorCode::kCorrupt, "'{}' has two tensors named {}", gguf.file,
           quoted_name(other->first));
    }
  }
}

[[noreturn]] void wrong_type(const Gguf& gguf, std::string_view key, const GgufValue& value,
                             std::string_view expected) {
  fail(ErrorCode::kCorrupt, "'{}': {} should be {}, it is of type {}", gguf.file, quoted_name(key),
       expected, to_string(value.type));
}

// The number of parts of a split file, 1 if it is not split.
int64_t part_count(const Gguf& gguf) {
  const int64_t count = gguf.integer("split.count").value_or(1);
  if (count < 1 || count > static_cast<int64_t>(kMaxParts)) {
    fail(ErrorCode::kCorrupt, "'{}': split.count is {}", gguf.file, count);
  }
  return count;
}

std::filesystem::path part_path(const std::filesystem::path& path, int64_t part, int64_t count) {
  const std::string name = path.filename().string();
  const std::string tail = fmt::format("-of-{:05}.gguf", count);
  const size_t tail_at = name.size() - std::min(name.size(), tail.size());
  if (!name.ends_with(tail) || tail_at < 6 || name[tail_at - 6] != '-') {
    fail(ErrorCode::kCorrupt, "'{}' is a part of {} and should be called NAME-00001{}",
         path.string(), count, tail);
  }
  return path.parent_path() / fmt::format("{}-{:05}{}", name.substr(0, tail_at - 6), part, tail);
}

}  // namespace

double GgufArray::number(uint64_t i) const {
  return number_at(type, bytes.data() + i * static_cast<uint64_t>(size_bytes(type)));
}

int64_t GgufArray::integer(uint64_t i) const {
  BITSMITH_ASSERT(type != GgufType::kF32 && type != GgufType::kF64);
  const std::byte* at = bytes.data() + i * static_cast<uint64_t>(size_bytes(type));
  if (type == GgufType::kI64 || type == GgufType::kU64) return load<int64_t>(at);
  return static_cast<int64_t>(number_at(type, at));
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

std::optional<std::string> Gguf::text(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* text = std::get_if<std::string_view>(&value->value);
  if (text == nullptr) wrong_type(*this, key, *value, "a string");
  return std::string(*text);
}

std::optional<int64_t> Gguf::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(&value->value)) return *number;
  const auto* number = std::get_if<uint64_t>(&value->value);
  if (number == nullptr) wrong_type(*this, key, *value, "a whole number");
  if (*number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    fail(ErrorCode::kCorrupt, "'{}': {} is {}", file, quoted_name(key), *number);
  }
  return static_cast<int64_t>(*number);
}

std::optional<double> Gguf::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(&value->value)) return *number;
  if (const auto whole = integer(key)) return static_cast<double>(*whole);
  wrong_type(*this, key, *value, "a number");
}

std::optional<bool> Gguf::flag(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* flag = std::get_if<bool>(&value->value);
  if (flag == nullptr) wrong_type(*this, key, *value, "a bool");
  return *flag;
}

const GgufArray* Gguf::array(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return nullptr;
  const auto* array = std::get_if<GgufArray>(&value->value);
  if (array == nullptr) wrong_type(*this, key, *value, "an array");
  return array;
}

Gguf read_gguf(std::span<const std::byte> bytes, std::string_view file) {
  Cursor cursor(bytes, file);
  check_head(cursor, file);
  Gguf gguf{std::string(file), {}, {}};
  const uint64_t tensor_count = cursor.count(kLeastTensorBytes, "tensors");
  const uint64_t value_count = cursor.count(kLeastValueBytes, "values");
  for (uint64_t i = 0; i < value_count; ++i) {
    const std::string_view key = cursor.text("a key");
    if (!gguf.metadata.emplace(key, read_value(cursor, key, file)).second) {
      fail(ErrorCode::kCorrupt, "'{}' has two values of {}", file, quoted_name(key));
    }
  }
  std::vector<Entry> entries;
  for (uint64_t i = 0; i < tensor_count; ++i) entries.push_back(read_entry(cursor, file));
  locate(entries, bytes, cursor.position(), gguf);
  return gguf;
}

GgufFiles open_gguf_files(const std::filesystem::path& path) {
  const auto open = [](const std::filesystem::path& part, GgufFiles& all) {
    all.files.push_back(std::make_shared<MappedFile>(part));
    return read_gguf(all.files.back()->bytes(), part.string());
  };
  GgufFiles result;
  result.gguf = open(path, result);
  const int64_t count = part_count(result.gguf);
  if (count == 1) return result;

  result = {};
  for (int64_t part = 1; part <= count; ++part) {
    const std::filesystem::path name = part_path(path, part, count);
    if (!std::filesystem::exists(name)) {
      fail(ErrorCode::kNotFound,
           "'{}' is one of {} parts; '{}' is not there (incomplete download?)", path.string(),
           count, name.string());
    }
    Gguf gguf = open(name, result);
    if (part_count(gguf) != count || gguf.integer("split.no").value_or(-1) != part - 1) {
      fail(ErrorCode::kCorrupt, "'{}' should be part {} of {}, it says {} of {}", name.string(),
           part, count, gguf.integer("split.no").value_or(-1) + 1, part_count(gguf));
    }
    if (part == 1) {
      result.gguf = std::move(gguf);
      continue;
    }
    for (auto& [tensor_name, tensor] : gguf.tensors) {
      if (!result.gguf.tensors.emplace(tensor_name, std::move(tensor)).second) {
        fail(ErrorCode::kCorrupt, "tensor {} is in two parts of '{}'", quoted_name(tensor_name),
             path.string());
      }
    }
  }
  const auto total = result.gguf.integer("split.tensors.count");
  if (total && *total != static_cast<int64_t>(result.gguf.tensors.size())) {
    fail(ErrorCode::kCorrupt, "the {} parts of '{}' have {} tensors, split.tensors.count says {}",
         count, path.string(), result.gguf.tensors.size(), *total);
  }
  return result;
}

}  // namespace bitsmith

#include "formats/gguf_writer.h"

#include <bit>
#include <set>
#include <type_traits>

#include "core/error.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kMaxNameBytes = 63;

// The head, piece by piece.
class Head {
 public:
  template <class T>
  void number(T value) {
    using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
    const auto bits = std::bit_cast<Bits>(value);
    for (size_t i = 0; i < sizeof(T); ++i) text += static_cast<char>(bits >> (8 * i));
  }
  void string(std::string_view value) {
    number(uint64_t{value.size()});
    text += value;
  }
  void type(GgufType value) { number(static_cast<uint32_t>(value)); }

  void value(uint32_t v) { type(GgufType::kU32), number(v); }
  void value(uint64_t v) { type(GgufType::kU64), number(v); }
  void value(float v) { type(GgufType::kF32), number(v); }
  void value(bool v) { type(GgufType::kBool), text += static_cast<char>(v ? 1 : 0); }
  void value(const std::string& v) { type(GgufType::kString), string(v); }
  void value(const std::vector<std::string>& list) {
    array(GgufType::kString, list.size());
    for (const std::string& v : list) string(v);
  }
  void value(const std::vector<float>& list) {
    array(GgufType::kF32, list.size());
    for (const float v : list) number(v);
  }
  void value(const std::vector<int32_t>& list) {
    array(GgufType::kI32, list.size());
    for (const int32_t v : list) number(v);
  }

  std::string text;

 private:
  void array(GgufType elements, size_t count) {
    type(GgufType::kArray);
    type(elements);
    number(uint64_t{count});
  }
};

}  // namespace

uint64_t GgufWriter::Entry::size_bytes() const {
  BITSMITH_ASSERT(type != nullptr && !shape.empty());
  const auto count = element_count(shape);
  const auto size = count ? checked_multiply(static_cast<uint64_t>(*count / type->block_cols),
                                             static_cast<uint64_t>(type->block_bytes))
                          : std::nullopt;
  if (!size || shape.size() > 4 || shape.back() % type->block_cols != 0 ||
      name.size() > kMaxNameBytes) {
    fail(ErrorCode::kInvalidArgument, "GGUF cannot hold a tensor {} of shape {} and type {}",
         quoted_name(name), to_string(shape), type->name);
  }
  return *size;
}

namespace {

std::string head_of(const GgufMetadata& metadata, const std::vector<GgufWriter::Entry>& entries) {
  Head head;
  head.text = "GGUF";
  head.number(kVersion);
  head.number(uint64_t{entries.size()});
  head.number(uint64_t{metadata.size()});
  for (const auto& [key, value] : metadata) {
    head.string(key);
    std::visit([&](const auto& v) { head.value(v); }, value);
  }
  uint64_t offset = 0;
  std::set<std::string_view> names;
  for (const GgufWriter::Entry& entry : entries) {
    if (!names.insert(entry.name).second) {
      fail(ErrorCode::kInvalidArgument, "GGUF cannot hold two tensors named {}",
           quoted_name(entry.name));
    }
    const uint64_t size = entry.size_bytes();
    head.string(entry.name);
    head.number(static_cast<uint32_t>(entry.shape.size()));
    for (auto extent = entry.shape.rbegin(); extent != entry.shape.rend(); ++extent) {
      head.number(static_cast<uint64_t>(*extent));
    }
    head.number(entry.type->id);
    head.number(offset);
    offset = gguf_aligned(offset + size);
  }
  head.text.resize(gguf_aligned(head.text.size()), '\0');
  return head.text;
}

}  // namespace

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
                       std::vector<Entry> entries)
    : file_(path), entries_(std::move(entries)) {
  file_.write(head_of(metadata, entries_));
  finish_complete();
}

uint64_t GgufWriter::head_bytes(const GgufMetadata& metadata, const std::vector<Entry>& entries) {
  return head_of(metadata, entries).size();
}

void GgufWriter::finish_complete() {
  while (next_ < entries_.size() && next_written_ == entries_[next_].size_bytes()) {
    const uint64_t position = file_.written();
    file_.write(std::string(gguf_aligned(position) - position, '\0'));
    ++next_;
    next_written_ = 0;
  }
}

void GgufWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  BITSMITH_ASSERT(next_ < entries_.size() && entries_[next_].name == name);
  BITSMITH_ASSERT(bytes.size() <= entries_[next_].size_bytes() - next_written_);
  file_.write(bytes);
  next_written_ += bytes.size();
  finish_complete();
}

void GgufWriter::commit() {
  BITSMITH_ASSERT(next_ == entries_.size());
  file_.commit();
}

}  // namespace bitsmith

// Little-endian numbers in coded bytes, written at the end and read with checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/error.h"

namespace bitsmith {

template <class Number>
void append_number(std::vector<std::byte>& out, Number value) {
  for (size_t i = 0; i < sizeof(Number); ++i)
    out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

template <class Number>
Number load_number(const std::byte* bytes) {
  Number value;
  std::memcpy(&value, bytes, sizeof(Number));
  return value;
}

// Reads from the front of hostile bytes; kCorrupt, naming `owner`, if they end too early.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string_view owner)
      : bytes_(bytes), owner_(owner) {}

  std::span<const std::byte> take(uint64_t count) {
    if (count > bytes_.size()) {
      fail(ErrorCode::kCorrupt, "{}: {} bytes are expected where {} are left (damaged file)",
           owner_, count, bytes_.size());
    }
    const auto result = bytes_.first(static_cast<size_t>(count));
    bytes_ = bytes_.subspan(static_cast<size_t>(count));
    return result;
  }
  template <class Number>
  Number number() {
    return load_number<Number>(take(sizeof(Number)).data());
  }
  std::span<const std::byte> rest() { return take(bytes_.size()); }
  size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  std::string_view owner_;
};

}  // namespace bitsmith

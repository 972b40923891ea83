// The table between bytes and visible characters.
#include "text/byte_level.h"

#include <array>

#include "text/unicode.h"

namespace bitsmith::text {
namespace {

struct Table {
  std::array<std::string, 256> visible;
  std::array<int, 0x144> byte_of;  // by code point; -1: none

  Table() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char32_t c = printable ? byte : next++;
      append_utf8(visible[byte], c);
      byte_of[c] = static_cast<int>(byte);
    }
  }
};

const Table& table() {
  static const Table kTable;
  return kTable;
}

}  // namespace

std::string bytes_to_visible(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) out += table().visible[static_cast<unsigned char>(byte)];
  return out;
}

std::optional<std::string> visible_to_bytes(std::string_view visible) {
  std::string out;
  for (size_t at = 0; at < visible.size();) {
    const CodePoint c = read_code_point(visible, at);
    if (c.value >= table().byte_of.size() || table().byte_of[c.value] < 0) return std::nullopt;
    out.push_back(static_cast<char>(table().byte_of[c.value]));
    at += c.bytes;
  }
  return out;
}

}  // namespace bitsmith::text

// GPT-2's way to write any byte as a printable character.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace bitsmith::text {

// Each byte becomes one code point, in UTF-8: the 188 printable bytes of Latin-1 (0x21..0x7E,
// 0xA1..0xAC, 0xAE..0xFF) stand for themselves, the k-th of the other 68 becomes U+0100+k.
std::string bytes_to_visible(std::string_view bytes);

// The inverse; nothing when the text has a character that stands for no byte.
std::optional<std::string> visible_to_bytes(std::string_view visible);

}  // namespace bitsmith::text

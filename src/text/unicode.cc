// UTF-8 by hand (the rules for broken input matter), properties and normal forms by utf8proc.
#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "core/error.h"

namespace bitsmith::text {
namespace {

// What may follow a lead byte. Only the second byte's range depends on the lead byte:
//   lead      second  more      excluded by the range of the second
//   C2..DF    80..BF  -         (C0, C1: overlong, no lead bytes)
//   E0        A0..BF  1         overlong
//   E1..EF    80..BF  1
//   ED        80..9F  1         surrogates
//   F0        90..BF  2         overlong
//   F1..F3    80..BF  2
//   F4        80..8F  2         beyond U+10FFFF
struct Lead {
  size_t length = 0;  // 0: no lead byte
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_ascii_only(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

}  // namespace

CodePoint read_code_point(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const Lead lead = lead_of(byte(0));
  if (lead.length == 1) return {byte(0), 1, true, false};
  if (lead.length == 0) return {kReplacement, 1, false, false};
  const size_t available = text.size() - position;
  char32_t value = byte(0) & (0x7Fu >> lead.length);
  for (size_t i = 1; i < lead.length; ++i) {
    if (i >= available) return {kReplacement, i, false, true};
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte(i) < low || byte(i) > high) return {kReplacement, i, false, false};
    value = (value << 6) | (byte(i) & 0x3Fu);
  }
  return {value, lead.length, true, false};
}

CodePoint code_point_before(std::string_view text, size_t position) {
  size_t start = position - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return read_code_point(text, start);
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::string repair_utf8(std::string_view text) {
  Utf8Repairer repairer(false);
  std::string out = repairer.feed(text);
  out += repairer.finish();
  return out;
}

std::optional<size_t> find_broken_utf8(std::string_view text) {
  constexpr size_t kMostContinuations = 3;
  const auto continues = [&](size_t i) {
    return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
  };
  size_t at = 0;
  while (at < std::min(text.size(), kMostContinuations) && continues(at)) ++at;
  while (at < text.size()) {
    const CodePoint c = read_code_point(text, at);
    if (!c.valid && !c.incomplete) return at;
    at += c.bytes;
  }
  return std::nullopt;
}

size_t count_code_points(std::string_view valid_utf8) {
  return static_cast<size_t>(std::count_if(valid_utf8.begin(), valid_utf8.end(),
                                           [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string Utf8Repairer::feed(std::string_view bytes) {
  std::string joined;
  if (!held_.empty()) {
    joined = std::move(held_);
    held_.clear();
    joined += bytes;
    bytes = joined;
  }
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const CodePoint c = read_code_point(bytes, at);
    if (c.valid) {
      out.append(bytes, at, c.bytes);
    } else if (c.incomplete) {
      held_ = bytes.substr(at);
    } else {
      replace(out, c.bytes);
    }
    at += c.bytes;
  }
  return out;
}

std::string Utf8Repairer::finish() {
  std::string out;
  if (!held_.empty()) replace(out, held_.size());
  held_.clear();
  return out;
}

void Utf8Repairer::replace(std::string& out, size_t broken_bytes) const {
  for (size_t i = 0; i < (per_byte_ ? broken_bytes : 1); ++i) out += kReplacementUtf8;
}

bool is_letter(char32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_number(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > 0x20 && c < 0x7F && !is_letter(c) && !is_number(c);
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
  if (c < 0x80) return is_letter(c) || is_number(c) || c == '_';
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      // Join controls, and the symbols that are alphabetic: circled and squared Latin letters.
      return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
             (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
             (c >= 0x1F170 && c <= 0x1F189);
  }
}

std::string normalize(std::string_view valid_utf8, UnicodeForm form) {
  if (is_ascii_only(valid_utf8)) return std::string(valid_utf8);
  static constexpr std::array kOptions = {
      UTF8PROC_STABLE | UTF8PROC_COMPOSE,
      UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
      UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
      UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
  };
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid_utf8.data()),
                   static_cast<utf8proc_ssize_t>(valid_utf8.size()), &result,
                   static_cast<utf8proc_option_t>(kOptions[static_cast<size_t>(form)]));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  if (size < 0) {
    fail(ErrorCode::kEnvironment, "text: Unicode normalisation of {} bytes failed: {}",
         valid_utf8.size(), utf8proc_errmsg(size));
  }
  return {reinterpret_cast<const char*>(result), static_cast<size_t>(size)};
}

}  // namespace bitsmith::text

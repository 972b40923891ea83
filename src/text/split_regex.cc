// Hand-written matchers, which follow the backtracking of the expressions exactly.
#include "text/split_regex.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

constexpr size_t kNoMatch = 0;  // no match ends at the start of the text

enum class Kind { kEnd, kLetter, kNumber, kSpace, kOther };

struct Character {
  char32_t value = 0;
  size_t bytes = 0;
  Kind kind = Kind::kEnd;
  bool is_newline() const { return value == '\r' || value == '\n'; }
};

Character read(std::string_view text, size_t at) {
  if (at >= text.size()) return {};
  const CodePoint c = read_code_point(text, at);
  const Kind kind = is_letter(c.value)   ? Kind::kLetter
                    : is_number(c.value) ? Kind::kNumber
                    : is_space(c.value)  ? Kind::kSpace
                                         : Kind::kOther;
  return {c.value, c.bytes, kind};
}

// The end of the longest run of `kind`, of at most `limit` characters.
size_t run_end(std::string_view text, size_t at, Kind kind, size_t limit = ~size_t{0}) {
  for (size_t i = 0; i < limit; ++i) {
    const Character c = read(text, at);
    if (c.kind != kind) break;
    at += c.bytes;
  }
  return at;
}

char32_t fold(char32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  return c == 0x17F ? U's' : c;  // the long s folds to s
}

size_t match_contraction(std::string_view text, size_t at, bool any_case) {
  if (text[at] != '\'') return kNoMatch;
  const auto letter = [&](Character c) { return any_case ? fold(c.value) : c.value; };
  const Character first = read(text, at + 1);
  const Character second = read(text, at + 1 + first.bytes);
  const char32_t a = letter(first), b = letter(second);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 1 + first.bytes;
  const bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
  return two ? at + 1 + first.bytes + second.bytes : kNoMatch;
}

// White space from `at`: "\s*[\r\n]+" if wanted, then "\s+(?!\S)", then "\s+".
size_t match_space(std::string_view text, size_t at, bool newlines_first) {
  size_t end = at, last_start = at, newline_end = kNoMatch;
  for (Character c = read(text, at); c.kind == Kind::kSpace; c = read(text, end)) {
    last_start = end;
    end += c.bytes;
    if (c.is_newline()) newline_end = end;
  }
  if (newlines_first && newline_end != kNoMatch) return newline_end;
  // Followed by something else, a run of several gives its last character back.
  return end < text.size() && last_start > at ? last_start : end;
}

// The first expression of a matcher is the usual one.
constexpr std::array<std::pair<std::string_view, SplitRegex>, 4> kKnown = {{
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", kGpt2Split},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
     R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
     kLlama3Split},
    // The same language written with possessive quantifiers (cl100k).
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
     R"(|\s*[\r\n]|\s+(?!\S)|\s+)",
     kLlama3Split},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
     R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
     kQwen2Split},
}};

}  // namespace

size_t SplitRegex::match_end(std::string_view text, size_t position) const {
  if (const size_t end = match_contraction(text, position, any_case_contractions)) return end;
  const Character first = read(text, position);
  const size_t after = position + first.bytes;
  const Character second = read(text, after);
  const bool space_before = first.value == ' ';

  // Letters.
  if (first.kind == Kind::kLetter) return run_end(text, after, Kind::kLetter);
  const bool may_precede =
      any_prefix_before_letters ? first.kind != Kind::kNumber && !first.is_newline() : space_before;
  if (may_precede && second.kind == Kind::kLetter) return run_end(text, after, Kind::kLetter);
  // Numbers.
  if (first.kind == Kind::kNumber) {
    return run_end(text, position, Kind::kNumber, max_digits == 0 ? ~size_t{0} : max_digits);
  }
  if (max_digits == 0 && space_before && second.kind == Kind::kNumber) {
    return run_end(text, after, Kind::kNumber);
  }
  // Symbols.
  if (first.kind == Kind::kOther || (space_before && second.kind == Kind::kOther)) {
    size_t end = run_end(text, after, Kind::kOther);
    while (keeps_newlines && read(text, end).is_newline()) ++end;
    return end;
  }
  return match_space(text, position, keeps_newlines);
}

std::optional<SplitRegex> find_split_regex(std::string_view expression) {
  const auto found = std::find_if(kKnown.begin(), kKnown.end(),
                                  [&](const auto& known) { return known.first == expression; });
  if (found == kKnown.end()) return std::nullopt;
  return found->second;
}

std::string_view expression_of(const SplitRegex& split) {
  const auto found = std::find_if(kKnown.begin(), kKnown.end(),
                                  [&](const auto& known) { return known.second == split; });
  BITSMITH_ASSERT(found != kKnown.end());
  return found->first;
}

}  // namespace bitsmith::text

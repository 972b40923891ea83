// Matching of added tokens, with the flags of Hugging Face's tokenizers.
#include "text/added_tokens.h"

#include "text/unicode.h"

namespace bitsmith::text {
namespace {

bool touches_word(std::string_view text, size_t start, size_t stop) {
  return (start > 0 && is_word(code_point_before(text, start).value)) ||
         (stop < text.size() && is_word(read_code_point(text, stop).value));
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string, int32_t>> entries;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    entries.emplace_back(tokens_[i].content, static_cast<int32_t>(i));
  }
  index_ = PrefixIndex(std::move(entries));
}

std::vector<Segment> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Segment> segments;
  size_t done = 0;  // everything before is in segments
  const auto put_text_until = [&](size_t end) {
    if (end > done) segments.push_back({text.substr(done, end - done), std::nullopt});
  };
  for (size_t at = 0; at < text.size() && !index_.empty();) {
    size_t length = 0;
    int32_t found = -1;
    index_.for_each_match(text, at, [&](size_t bytes, int32_t token) {
      length = bytes;
      found = token;
    });
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found)];
    size_t start = at, stop = at + length;
    at = stop;
    if (token.single_word && touches_word(text, start, stop)) continue;
    if (token.lstrip) {
      while (start > done) {
        const CodePoint c = code_point_before(text, start);
        if (!is_space(c.value)) break;
        start -= c.bytes;
      }
      start = std::max(start, done);
    }
    if (token.rstrip) {
      while (stop < text.size()) {
        const CodePoint c = read_code_point(text, stop);
        if (!is_space(c.value)) break;
        stop += c.bytes;
      }
      at = stop;
    }
    put_text_until(start);
    segments.push_back({text.substr(start, stop - start), token.id});
    done = stop;
  }
  put_text_until(text.size());
  return segments;
}

}  // namespace bitsmith::text

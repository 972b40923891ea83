// The pre-tokenizers of tokenizer.json.
#include "text/pre_tokenizer.h"

#include <functional>
#include <optional>
#include <set>

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/normalizer.h"
#include "text/split_regex.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kWhere = "tokenizer.json: pre_tokenizer";
constexpr int kMaxDepth = 16;  // of Sequence in Sequence

// What becomes of the delimiters that a pattern finds.
enum class Delimiter { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A part of a text, and whether the pattern matched it.
struct Span {
  size_t begin, end;
  bool match;
};

// Joins neighbouring spans as the behaviour asks and appends them to `words`.
void put_spans(const Word& word, const std::vector<Span>& spans, Delimiter behaviour,
               std::vector<Word>& words) {
  std::vector<Span> joined;
  const auto starts_new = [&](const Span& span, bool previous_match) {
    if (joined.empty()) return true;
    if (behaviour == Delimiter::kContiguous) return span.match != previous_match;
    return !(span.match && !previous_match);
  };
  bool previous_match = false;
  switch (behaviour) {
    case Delimiter::kRemoved:
    case Delimiter::kIsolated:
      joined = spans;
      break;
    case Delimiter::kContiguous:
    case Delimiter::kMergedWithPrevious:
      for (const Span& span : spans) {
        if (starts_new(span, previous_match)) {
          joined.push_back(span);
        } else {
          joined.back().end = span.end;
        }
        previous_match = span.match;
      }
      break;
    case Delimiter::kMergedWithNext:
      for (size_t i = spans.size(); i-- > 0;) {
        if (starts_new(spans[i], previous_match)) {
          joined.push_back(spans[i]);
        } else {
          joined.back().begin = spans[i].begin;
        }
        previous_match = spans[i].match;
      }
      std::reverse(joined.begin(), joined.end());
      break;
  }
  for (const Span& span : joined) {
    if (span.begin == span.end || (behaviour == Delimiter::kRemoved && span.match)) continue;
    words.push_back(
        {word.text.substr(span.begin, span.end - span.begin), word.at_start && span.begin == 0});
  }
}

// Spans of single characters that `is_match` holds for, and of what lies between them.
std::vector<Span> character_spans(std::string_view text,
                                  const std::function<bool(char32_t)>& is_match) {
  std::vector<Span> spans;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = read_code_point(text, at);
    const bool match = is_match(c.value);
    if (match || spans.empty() || spans.back().match) {
      spans.push_back({at, at + c.bytes, match});
    } else {
      spans.back().end = at + c.bytes;
    }
    at += c.bytes;
  }
  return spans;
}

// Spans of the occurrences of a string, and of what lies between them.
std::vector<Span> string_spans(std::string_view text, std::string_view pattern) {
  std::vector<Span> spans;
  size_t done = 0;
  while (!pattern.empty()) {
    const size_t at = text.find(pattern, done);
    if (at == std::string_view::npos) break;
    if (at > done) spans.push_back({done, at, false});
    done = at + pattern.size();
    spans.push_back({at, done, true});
  }
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return spans;
}

class SplitByString : public PreTokenizer {
 public:
  SplitByString(std::string pattern, Delimiter behaviour, bool invert)
      : pattern_(std::move(pattern)), behaviour_(behaviour), invert_(invert) {}
  void cut(Word word, std::vector<Word>& words) const override {
    std::vector<Span> spans = string_spans(word.text, pattern_);
    for (Span& span : spans) span.match ^= invert_;
    put_spans(word, spans, behaviour_, words);
  }

 private:
  std::string pattern_;
  Delimiter behaviour_;
  bool invert_;
};

// Every match is a word of its own; the known expressions leave nothing between matches.
class SplitByRegex : public PreTokenizer {
 public:
  explicit SplitByRegex(SplitRegex regex) : regex_(regex) {}
  void cut(Word word, std::vector<Word>& words) const override {
    for (size_t at = 0; at < word.text.size();) {
      const size_t end = regex_.match_end(word.text, at);
      words.push_back({word.text.substr(at, end - at), word.at_start && at == 0});
      at = end;
    }
  }

 private:
  SplitRegex regex_;
};

class SplitByCharacter : public PreTokenizer {
 public:
  SplitByCharacter(bool (*is_match)(char32_t), Delimiter behaviour)
      : is_match_(is_match), behaviour_(behaviour) {}
  void cut(Word word, std::vector<Word>& words) const override {
    put_spans(word, character_spans(word.text, is_match_), behaviour_, words);
  }

 private:
  bool (*is_match_)(char32_t);
  Delimiter behaviour_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex) {}
  void cut(Word word, std::vector<Word>& words) const override {
    if (add_prefix_space_ && !word.text.starts_with(' ')) word.text.insert(size_t{0}, 1, ' ');
    const size_t first = words.size();
    if (use_regex_) {
      SplitByRegex(kGpt2Split).cut(std::move(word), words);
    } else {
      words.push_back(std::move(word));
    }
    for (size_t i = first; i < words.size(); ++i) words[i].text = bytes_to_visible(words[i].text);
  }

 private:
  bool add_prefix_space_, use_regex_;
};

class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  void cut(Word word, std::vector<Word>& words) const override {
    replace_all(word.text, " ", replacement_);
    const bool wanted =
        prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && word.at_start);
    if (wanted && !word.text.starts_with(replacement_)) word.text.insert(0, replacement_);
    if (split_) {
      put_spans(word, string_spans(word.text, replacement_), Delimiter::kMergedWithNext, words);
    } else {
      words.push_back(std::move(word));
    }
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}
  void cut(Word word, std::vector<Word>& words) const override {
    std::vector<Word> current;
    current.push_back(std::move(word));
    for (const auto& part : parts_) {
      std::vector<Word> next;
      next.reserve(current.size());
      for (Word& one : current) part->cut(std::move(one), next);
      current = std::move(next);
    }
    words.insert(words.end(), std::make_move_iterator(current.begin()),
                 std::make_move_iterator(current.end()));
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

Delimiter delimiter_named(const std::string& name) {
  if (name == "Removed") return Delimiter::kRemoved;
  if (name == "Isolated") return Delimiter::kIsolated;
  if (name == "MergedWithPrevious") return Delimiter::kMergedWithPrevious;
  if (name == "MergedWithNext") return Delimiter::kMergedWithNext;
  if (name == "Contiguous") return Delimiter::kContiguous;
  fail(ErrorCode::kCorrupt, "{}: unknown 'behavior' {}", kWhere, shown_text(name));
}

std::unique_ptr<PreTokenizer> make_split(const Json& json) {
  const Delimiter behaviour = delimiter_named(string_field(json, "behavior", kWhere));
  const bool invert = bool_field(json, "invert", kWhere, false);
  const Json& pattern = field_or_null(json, "pattern", kWhere);
  if (!pattern.is_object()) wrong_type(pattern, "pattern", kWhere, "an object");
  if (!pattern.contains("Regex")) {
    return std::make_unique<SplitByString>(string_field(pattern, "String", kWhere), behaviour,
                                           invert);
  }
  const std::string& expression = string_field(pattern, "Regex", kWhere);
  const std::optional<SplitRegex> regex = find_split_regex(expression);
  // With no text between matches, keeping only the matches and isolating them is the same.
  const bool every_match_is_a_word =
      (behaviour == Delimiter::kIsolated) || (behaviour == Delimiter::kRemoved && invert);
  if (!regex || !every_match_is_a_word) {
    fail(ErrorCode::kUnsupported,
         "{}: Split with the regular expression {} is not supported; those of GPT-2, Llama 3 "
         "and Qwen 2 are, with behavior Isolated",
         kWhere, shown_text(expression));
  }
  return std::make_unique<SplitByRegex>(*regex);
}

std::unique_ptr<PreTokenizer> make_metaspace(const Json& json) {
  std::string replacement = string_field(json, "replacement", kWhere);
  if (count_code_points(replacement) != 1) {
    fail(ErrorCode::kCorrupt, "{}: Metaspace 'replacement' is {}, expected one character", kWhere,
         shown_text(replacement));
  }
  auto prepend = Metaspace::Prepend::kAlways;
  if (!field_or_null(json, "prepend_scheme", kWhere).is_null()) {
    const std::string& scheme = string_field(json, "prepend_scheme", kWhere);
    if (scheme == "first") {
      prepend = Metaspace::Prepend::kFirst;
    } else if (scheme == "never") {
      prepend = Metaspace::Prepend::kNever;
    } else if (scheme != "always") {
      fail(ErrorCode::kCorrupt, "{}: Metaspace has an unknown 'prepend_scheme' {}", kWhere,
           shown_text(scheme));
    }
  } else if (!bool_field(json, "add_prefix_space", kWhere, true)) {
    prepend = Metaspace::Prepend::kNever;
  }
  return std::make_unique<Metaspace>(std::move(replacement), prepend,
                                     bool_field(json, "split", kWhere, true));
}

// growing: the types so far that lengthen texts. One may add to every word, so that a chain of them
// with cuts between would double a text again and again: each may come once.
std::unique_ptr<PreTokenizer> make(const Json& json, int depth, std::set<std::string>& growing) {
  const std::string& type = string_field(json, "type", kWhere);
  if ((type == "ByteLevel" || type == "Metaspace") && !growing.insert(type).second) {
    fail(ErrorCode::kUnsupported, "{}: {} twice", kWhere, type);
  }
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevel>(bool_field(json, "add_prefix_space", kWhere, true),
                                       bool_field(json, "use_regex", kWhere, true));
  }
  if (type == "Metaspace") return make_metaspace(json);
  if (type == "Split") return make_split(json);
  if (type == "Digits") {
    const bool individual = bool_field(json, "individual_digits", kWhere, false);
    return std::make_unique<SplitByCharacter>(
        is_number, individual ? Delimiter::kIsolated : Delimiter::kContiguous);
  }
  if (type == "Punctuation") {
    const bool has_behaviour = !field_or_null(json, "behavior", kWhere).is_null();
    return std::make_unique<SplitByCharacter>(
        is_punctuation, has_behaviour ? delimiter_named(string_field(json, "behavior", kWhere))
                                      : Delimiter::kIsolated);
  }
  if (type == "WhitespaceSplit") {
    return std::make_unique<SplitByCharacter>(is_space, Delimiter::kRemoved);
  }
  if (type == "Sequence") {
    if (depth >= kMaxDepth) fail(ErrorCode::kCorrupt, "{}: nested too deep", kWhere);
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    for (const Json& part : array_field(json, "pretokenizers", kWhere)) {
      parts.push_back(make(part, depth + 1, growing));
    }
    return std::make_unique<Sequence>(std::move(parts));
  }
  fail(ErrorCode::kUnsupported,
       "{}: {} is not supported; Sequence, ByteLevel, Metaspace, Split, Digits, Punctuation and "
       "WhitespaceSplit are",
       kWhere, shown_text(type));
}

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& json) {
  if (json.is_null()) return nullptr;
  std::set<std::string> growing;
  return make(json, 0, growing);
}

}  // namespace bitsmith::text

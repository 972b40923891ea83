// What SentencePiece does between text and ids: normalizing, then BPE by piece score or Unigram.
#include "text/sentencepiece_model.h"

#include <algorithm>

#include "core/error.h"
#include "text/bpe_merge.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

using Piece = SentencePieceFile::Piece;

PrefixIndex index_user_defined(const std::vector<Piece>& pieces) {
  std::vector<std::pair<std::string, int32_t>> entries;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].type == PieceType::kUserDefined) {
      entries.emplace_back(pieces[id].text, static_cast<int32_t>(id));
    }
  }
  return PrefixIndex(std::move(entries));
}

// The longest entry at a position: its bytes and value; 0 bytes when there is none.
std::pair<size_t, int32_t> longest_match(const PrefixIndex& index, std::string_view text,
                                         size_t position) {
  std::pair<size_t, int32_t> longest{0, 0};
  index.for_each_match(text, position, [&](size_t bytes, int32_t value) {
    longest = {bytes, value};
  });
  return longest;
}

std::optional<TokenId> find_unknown(const std::vector<Piece>& pieces) {
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].type == PieceType::kUnknown) return static_cast<TokenId>(id);
  }
  fail(ErrorCode::kCorrupt, "tokenizer.model: none of its {} pieces is the unknown piece",
       pieces.size());
}

Vocabulary make_vocabulary(const std::vector<Piece>& pieces) {
  Vocabulary vocabulary("tokenizer.model");
  for (size_t id = 0; id < pieces.size(); ++id) {
    vocabulary.add(pieces[id].text, static_cast<int64_t>(id));
  }
  return vocabulary;
}

// BPE in which the score of the merged piece, not a list of pairs, says what is merged first.
// Unused pieces are never made; SentencePiece merges them and takes them apart again, which differs
// only when a used piece can be reached through an unused one alone.
class ScoredBpe : public Model {
 public:
  explicit ScoredBpe(const SentencePieceFile& file);
  void encode(std::string_view word, std::vector<TokenId>& ids) const override;

 private:
  void encode_part(std::string_view word, std::vector<TokenId>& ids) const;
  void append_unknown(std::string_view text, std::vector<TokenId>& ids) const;
  void allow_seams_inside(std::string_view piece);

  std::vector<int32_t> rank_;  // by id: number of higher distinct scores; -1: never merged into
  Seams seams_;
  std::vector<bool> atom_;  // by id: may stand for a single character
  std::optional<TokenId> unknown_;
  PrefixIndex user_defined_;  // never merged with anything
};

ScoredBpe::ScoredBpe(const SentencePieceFile& file)
    : Model(make_vocabulary(file.pieces)),
      rank_(file.pieces.size(), -1),
      atom_(file.pieces.size(), false),
      unknown_(find_unknown(file.pieces)),
      user_defined_(index_user_defined(file.pieces)) {
  byte_fallback_ = file.byte_fallback;
  if (byte_fallback_) bytes_ = ByteFallback(vocabulary_);
  std::vector<size_t> mergeable;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const PieceType type = file.pieces[id].type;
    if (type == PieceType::kNormal || type == PieceType::kUserDefined) {
      mergeable.push_back(id);
      allow_seams_inside(file.pieces[id].text);
    }
    atom_[id] =
        type == PieceType::kNormal || type == PieceType::kUserDefined || type == PieceType::kUnused;
  }
  std::stable_sort(mergeable.begin(), mergeable.end(),
                   [&](size_t a, size_t b) { return file.pieces[a].score > file.pieces[b].score; });
  int32_t rank = 0;
  for (size_t i = 0; i < mergeable.size(); ++i) {
    if (i > 0 && file.pieces[mergeable[i]].score != file.pieces[mergeable[i - 1]].score) ++rank;
    rank_[mergeable[i]] = rank;
  }
}

void ScoredBpe::allow_seams_inside(std::string_view piece) {
  char32_t previous = 0;
  for (size_t at = 0; at < piece.size();) {
    const CodePoint c = read_code_point(piece, at);
    if (at > 0) seams_.allow(previous, c.value);
    previous = c.value;
    at += c.bytes;
  }
}

void ScoredBpe::append_unknown(std::string_view text, std::vector<TokenId>& ids) const {
  if (byte_fallback_ && bytes_.append(text, ids)) return;
  ids.push_back(*unknown_);
}

void ScoredBpe::encode(std::string_view word, std::vector<TokenId>& ids) const {
  // Positions are 32-bit; a longer text is cut, far from anything a model was trained on.
  constexpr size_t kMaxPartBytes = size_t{1} << 30;
  while (!word.empty()) {
    size_t part = std::min(word.size(), kMaxPartBytes);
    while (part < word.size() && (static_cast<unsigned char>(word[part]) & 0xC0) == 0x80) --part;
    encode_part(word.substr(0, part), ids);
    word.remove_prefix(part);
  }
}

void ScoredBpe::encode_part(std::string_view word, std::vector<TokenId>& ids) const {
  constexpr TokenId kUnknownCharacter = -1;
  constexpr TokenId kFrozen = -2;  // a user-defined piece, looked up again at the end
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  const auto text_of = [&](const Symbol& symbol) {
    return word.substr(static_cast<size_t>(symbol.begin),
                       static_cast<size_t>(symbol.end - symbol.begin));
  };
  for (size_t at = 0; at < word.size();) {
    size_t bytes = longest_match(user_defined_, word, at).first;
    TokenId id = kFrozen;
    if (bytes == 0) {
      bytes = read_code_point(word, at).bytes;
      const auto found = vocabulary_.id_of(word.substr(at, bytes));
      id = found && atom_[static_cast<size_t>(*found)] ? *found : kUnknownCharacter;
    }
    symbols.push_back({id, static_cast<int32_t>(at), static_cast<int32_t>(at + bytes)});
    at += bytes;
  }
  const auto joinable = [&](const Symbol& left, const Symbol& right) {
    if (left.id == kFrozen || right.id == kFrozen) return false;
    return seams_.allowed(code_point_before(word, static_cast<size_t>(right.begin)).value,
                          read_code_point(word, static_cast<size_t>(right.begin)).value);
  };
  const auto find = [&](const Symbol& left, const Symbol& right) -> std::optional<Merge> {
    const auto id = vocabulary_.id_of(text_of({0, left.begin, right.end}));
    if (!id || rank_[static_cast<size_t>(*id)] < 0) return std::nullopt;
    return Merge{rank_[static_cast<size_t>(*id)], *id};
  };
  symbols = merge_symbols(std::move(symbols), joinable, find);
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].id == kFrozen) {
      ids.push_back(*vocabulary_.id_of(text_of(symbols[i])));
    } else if (symbols[i].id != kUnknownCharacter) {
      ids.push_back(symbols[i].id);
    } else {
      Symbol run = symbols[i];  // neighbouring unknown characters become one token
      while (i + 1 < symbols.size() && symbols[i + 1].id == kUnknownCharacter) {
        run.end = symbols[++i].end;
      }
      append_unknown(text_of(run), ids);
    }
  }
}

std::unique_ptr<Model> make_unigram(const SentencePieceFile& file) {
  UnigramPieces pieces;
  double lowest = 0, highest = 0;
  bool any = false;
  for (const Piece& piece : file.pieces) {
    if (piece.type != PieceType::kNormal) continue;
    lowest = any ? std::min(lowest, double{piece.score}) : double{piece.score};
    highest = any ? std::max(highest, double{piece.score}) : double{piece.score};
    any = true;
  }
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const Piece& piece = file.pieces[id];
    double score = piece.score;
    if (piece.type == PieceType::kUserDefined) {
      // Better than any segmentation of the same text, and longer ones better than shorter.
      score = static_cast<double>(piece.text.size()) * highest - 0.1;
    } else if (piece.type != PieceType::kNormal) {
      continue;
    }
    pieces.entries.push_back({piece.text, static_cast<TokenId>(id), score});
  }
  pieces.unknown_score = lowest - kUnknownPenalty;
  pieces.unknown = find_unknown(file.pieces);
  return make_unigram_model(make_vocabulary(file.pieces), std::move(pieces), file.byte_fallback);
}

}  // namespace

SentencePieceNormalizer::SentencePieceNormalizer(const SentencePieceFile& file)
    : charsmap_(file.charsmap),
      user_defined_(index_user_defined(file.pieces)),
      add_dummy_prefix_(file.add_dummy_prefix),
      remove_extra_whitespaces_(file.remove_extra_whitespaces),
      space_(file.escape_whitespaces ? kVisibleSpace : " ") {}

SentencePieceNormalizer::Step SentencePieceNormalizer::next(std::string_view text) const {
  if (const size_t bytes = longest_match(user_defined_, text, 0).first) {
    return {bytes, text.substr(0, bytes)};
  }
  if (const auto mapped = charsmap_.find(text)) return {mapped->bytes, mapped->replacement};
  const CodePoint c = read_code_point(text, 0);
  return {c.bytes, c.valid ? text.substr(0, c.bytes) : kReplacementUtf8};
}

std::string SentencePieceNormalizer::apply(std::string_view text, bool dummy_prefix) const {
  std::string out;
  if (remove_extra_whitespaces_) {
    while (!text.empty()) {
      const Step step = next(text);
      if (step.replacement != " ") break;
      text.remove_prefix(step.bytes);
    }
  }
  if (text.empty()) return out;
  out.reserve(text.size() + text.size() / 4);
  if (add_dummy_prefix_ && dummy_prefix) out += space_;
  bool after_space = remove_extra_whitespaces_;
  while (!text.empty()) {
    Step step = next(text);
    text.remove_prefix(step.bytes);
    while (after_space && step.replacement.starts_with(' ')) step.replacement.remove_prefix(1);
    for (const char byte : step.replacement) {
      if (byte == ' ') {
        out += space_;
      } else {
        out.push_back(byte);
      }
    }
    if (remove_extra_whitespaces_ && !step.replacement.empty()) {
      after_space = step.replacement.ends_with(' ');
    }
  }
  while (remove_extra_whitespaces_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
  return out;
}

std::unique_ptr<Model> make_sentencepiece_model(const SentencePieceFile& file) {
  switch (file.algorithm) {
    case SentencePieceFile::Algorithm::kBpe:
      return std::make_unique<ScoredBpe>(file);
    case SentencePieceFile::Algorithm::kUnigram:
      return make_unigram(file);
    case SentencePieceFile::Algorithm::kWord:
    case SentencePieceFile::Algorithm::kChar:
      break;
  }
  fail(ErrorCode::kUnsupported,
       "tokenizer.model: SentencePiece models of the types 'word' and 'char' are not supported; "
       "BPE and Unigram are");
}

}  // namespace bitsmith::text

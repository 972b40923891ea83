// Unigram language model: the segmentation into pieces whose log-probabilities sum highest.
#include <algorithm>
#include <limits>

#include "text/json_fields.h"
#include "text/model.h"
#include "text/prefix_index.h"
#include "text/tokenizer_config.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kWhere = "tokenizer.json: model";

class UnigramModel : public Model {
 public:
  UnigramModel(Vocabulary vocabulary, UnigramPieces pieces, bool byte_fallback);
  void encode(std::string_view word, std::vector<TokenId>& ids) const override;

 private:
  void append_unknown(std::string_view text, std::vector<TokenId>& ids) const;

  struct ScoredId {
    TokenId id;
    double score;
  };
  std::vector<ScoredId> entries_;
  PrefixIndex index_;  // piece -> position in entries_
  double unknown_score_;
  std::optional<TokenId> unknown_;
};

UnigramModel::UnigramModel(Vocabulary vocabulary, UnigramPieces pieces, bool byte_fallback)
    : Model(std::move(vocabulary)), unknown_score_(pieces.unknown_score), unknown_(pieces.unknown) {
  std::vector<std::pair<std::string, int32_t>> keys;
  for (UnigramPieces::Entry& entry : pieces.entries) {
    keys.emplace_back(std::move(entry.piece), static_cast<int32_t>(entries_.size()));
    entries_.push_back({entry.id, entry.score});
  }
  index_ = PrefixIndex(std::move(keys));
  byte_fallback_ = byte_fallback;
  if (byte_fallback_) bytes_ = ByteFallback(vocabulary_);
}

void UnigramModel::append_unknown(std::string_view text, std::vector<TokenId>& ids) const {
  if (const auto id = vocabulary_.id_of(text)) {
    ids.push_back(*id);
    return;
  }
  if (byte_fallback_ && bytes_.append(text, ids)) return;
  if (unknown_) ids.push_back(*unknown_);
}

// Viterbi over byte positions: best[p] is the best segmentation of the first p bytes. Equal scores
// keep the piece that starts first. O(bytes · longest piece) time, O(bytes) memory.
void UnigramModel::encode(std::string_view word, std::vector<TokenId>& ids) const {
  constexpr TokenId kUnknownPiece = -1;
  struct Step {
    double score = -std::numeric_limits<double>::infinity();
    size_t start = std::string_view::npos;  // npos: not reached
    TokenId id = kUnknownPiece;
  };
  std::vector<Step> best(word.size() + 1);
  best[0] = {0, 0, kUnknownPiece};
  for (size_t at = 0; at < word.size();) {
    const size_t character = read_code_point(word, at).bytes;
    bool has_single = false;
    const auto offer = [&](size_t bytes, double score, TokenId id) {
      Step& step = best[at + bytes];
      if (step.start == std::string_view::npos || best[at].score + score > step.score) {
        step = {best[at].score + score, at, id};
      }
    };
    index_.for_each_match(word, at, [&](size_t bytes, int32_t entry) {
      const ScoredId& found = entries_[static_cast<size_t>(entry)];
      offer(bytes, found.score, found.id);
      has_single |= bytes == character;
    });
    if (!has_single) offer(character, unknown_score_, kUnknownPiece);
    at += character;
  }
  std::vector<Step> path;  // last piece first; `score` unused
  std::vector<size_t> ends;
  for (size_t end = word.size(); end > 0; end = best[end].start) {
    path.push_back(best[end]);
    ends.push_back(end);
  }
  // Neighbouring unknown characters become one token.
  for (size_t i = path.size(); i-- > 0;) {
    const auto is_unknown = [&](size_t step) {
      return path[step].id == kUnknownPiece || path[step].id == unknown_;
    };
    if (!is_unknown(i)) {
      ids.push_back(path[i].id);
      continue;
    }
    const size_t start = path[i].start;
    while (i > 0 && is_unknown(i - 1)) --i;
    append_unknown(word.substr(start, ends[i] - start), ids);
  }
}

}  // namespace

std::unique_ptr<Model> make_unigram_model(Vocabulary vocabulary, UnigramPieces pieces,
                                          bool byte_fallback) {
  return std::make_unique<UnigramModel>(std::move(vocabulary), std::move(pieces), byte_fallback);
}

std::unique_ptr<Model> make_unigram_model(const Json& json) {
  Vocabulary vocabulary("tokenizer.json");
  UnigramPieces pieces;
  double lowest = 0;
  for (const Json& entry : array_field(json, "vocab", kWhere)) {
    const auto id = static_cast<TokenId>(pieces.entries.size());
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      fail(ErrorCode::kCorrupt, "{}: entry {} of 'vocab' is not [piece, log-probability]", kWhere,
           id);
    }
    const auto& piece = entry[0].get_ref<const std::string&>();
    const double score = entry[1].get<double>();
    vocabulary.add(piece, id);
    pieces.entries.push_back({piece, id, score});
    lowest = std::min(lowest, score);
  }
  pieces.unknown_score = lowest - kUnknownPenalty;
  if (const Json& unknown = field_or_null(json, "unk_id", kWhere); !unknown.is_null()) {
    const auto last = static_cast<int64_t>(pieces.entries.size()) - 1;
    pieces.unknown = static_cast<TokenId>(checked_integer(unknown, 0, last, "unk_id", kWhere));
  }
  return make_unigram_model(std::move(vocabulary), std::move(pieces),
                            bool_field(json, "byte_fallback", kWhere, false));
}

}  // namespace bitsmith::text

// Reads SentencePiece's model file, `tokenizer.model`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bitsmith::text {

enum class PieceType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// The fields of the serialized ModelProto that tokenizing needs, with SentencePiece's defaults.
// Read by hand because the SentencePiece library exports its own copy of protobuf, and a process
// that also has the system's libprotobuf (as ONNX and libtorch need) crashes.
struct SentencePieceFile {
  struct Piece {
    std::string text;
    float score = 0;  // BPE: minus the merge's rank; Unigram: log-probability
    PieceType type = PieceType::kNormal;
  };
  enum class Algorithm { kUnigram = 1, kBpe, kWord, kChar };

  std::vector<Piece> pieces;  // by id
  Algorithm algorithm = Algorithm::kUnigram;
  bool byte_fallback = false;
  bool space_after_words = false;  // treat_whitespace_as_suffix
  std::string bos_piece = "<s>", eos_piece = "</s>";
  // The normalizer.
  std::string charsmap;  // see charsmap.h; empty: text stays as it is
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

SentencePieceFile read_sentencepiece_file(std::string_view bytes);

// The file with these fields; reading it gives them back.
std::string write_sentencepiece_file(const SentencePieceFile& file);

}  // namespace bitsmith::text

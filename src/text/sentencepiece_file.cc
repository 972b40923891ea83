#include "text/sentencepiece_file.h"

#include <cmath>

#include "core/error.h"
#include "core/protobuf.h"

namespace bitsmith::text {
namespace {

[[noreturn]] void corrupt(const char* what) {
  fail(ErrorCode::kCorrupt, "tokenizer.model: not a SentencePiece model: {}", what);
}

class Fields : public ProtobufFields {
 public:
  explicit Fields(std::string_view message)
      : ProtobufFields(message, "tokenizer.model: not a SentencePiece model") {}
};

SentencePieceFile::Piece read_piece(std::string_view message) {
  SentencePieceFile::Piece piece;
  for (Fields f(message); f.next();) {
    if (f.number == 1) {
      piece.text = f.as_bytes();
    } else if (f.number == 2) {
      piece.score = f.as_float();
      if (!std::isfinite(piece.score)) corrupt("a piece's score is not finite");
    } else if (f.number == 3) {
      f.expect(Fields::kVarint);
      if (f.value < 1 || f.value > 6) corrupt("a piece's type is not from 1 to 6");
      piece.type = static_cast<PieceType>(f.value);
    }
  }
  if (piece.text.empty()) corrupt("a piece is empty");
  return piece;
}

void read_trainer_spec(std::string_view message, SentencePieceFile& file) {
  for (Fields f(message); f.next();) {
    switch (f.number) {
      case 3:
        f.expect(Fields::kVarint);
        if (f.value < 1 || f.value > 4) corrupt("the model type is not from 1 to 4");
        file.algorithm = static_cast<SentencePieceFile::Algorithm>(f.value);
        break;
      case 24:
        file.space_after_words = f.value != 0;
        break;
      case 35:
        file.byte_fallback = f.value != 0;
        break;
      case 46:
        file.bos_piece = f.bytes;
        break;
      case 47:
        file.eos_piece = f.bytes;
        break;
    }
  }
}

void read_normalizer_spec(std::string_view message, SentencePieceFile& file) {
  for (Fields f(message); f.next();) {
    switch (f.number) {
      case 2:
        file.charsmap = f.as_bytes();
        break;
      case 3:
        file.add_dummy_prefix = f.value != 0;
        break;
      case 4:
        file.remove_extra_whitespaces = f.value != 0;
        break;
      case 5:
        file.escape_whitespaces = f.value != 0;
        break;
    }
  }
}

}  // namespace

SentencePieceFile read_sentencepiece_file(std::string_view bytes) {
  SentencePieceFile file;
  for (Fields f(bytes); f.next();) {
    if (f.number < 1 || f.number > 3) continue;
    f.expect(Fields::kBytes);
    if (f.number == 1) file.pieces.push_back(read_piece(f.bytes));
    if (f.number == 2) read_trainer_spec(f.bytes, file);
    if (f.number == 3) read_normalizer_spec(f.bytes, file);
  }
  if (file.pieces.empty()) corrupt("it has no pieces");
  return file;
}

}  // namespace bitsmith::text

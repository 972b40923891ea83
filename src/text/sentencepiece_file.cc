#include "text/sentencepiece_file.h"

#include <bit>
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

// Appends fields to a message.
class FieldWriter {
 public:
  void varint(unsigned number, uint64_t value) {
    put(number << 3 | Fields::kVarint);
    put(value);
  }
  void bytes(unsigned number, std::string_view value) {
    put(number << 3 | Fields::kBytes);
    put(value.size());
    message += value;
  }
  void four_bytes(unsigned number, float value) {
    put(number << 3 | Fields::kFourBytes);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i) message += static_cast<char>(bits >> (8 * i));
  }

  std::string message;

 private:
  void put(uint64_t value) {
    for (; value >= 0x80; value >>= 7) message += static_cast<char>(value | 0x80);
    message += static_cast<char>(value);
  }
};

}  // namespace

std::string write_sentencepiece_file(const SentencePieceFile& file) {
  FieldWriter model;
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    FieldWriter entry;
    entry.bytes(1, piece.text);
    entry.four_bytes(2, piece.score);
    entry.varint(3, static_cast<uint64_t>(piece.type));
    model.bytes(1, entry.message);
  }
  FieldWriter trainer;
  trainer.varint(3, static_cast<uint64_t>(file.algorithm));
  trainer.varint(24, file.space_after_words ? 1 : 0);
  trainer.varint(35, file.byte_fallback ? 1 : 0);
  trainer.bytes(46, file.bos_piece);
  trainer.bytes(47, file.eos_piece);
  model.bytes(2, trainer.message);
  FieldWriter normalizer;
  normalizer.bytes(2, file.charsmap);
  normalizer.varint(3, file.add_dummy_prefix ? 1 : 0);
  normalizer.varint(4, file.remove_extra_whitespaces ? 1 : 0);
  normalizer.varint(5, file.escape_whitespaces ? 1 : 0);
  model.bytes(3, normalizer.message);
  return model.message;
}

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

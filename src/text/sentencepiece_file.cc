// A reader of protobuf's wire format, just enough for SentencePiece's ModelProto.
#include "text/sentencepiece_file.h"

#include <bit>
#include <cmath>

#include "core/error.h"

namespace bitsmith::text {
namespace {

[[noreturn]] void corrupt(const char* what) {
  fail(ErrorCode::kCorrupt, "tokenizer.model: not a SentencePiece model: {}", what);
}

// The fields of one message, in file order. A field is a varint key (number << 3 | wire type) and a
// value: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  // Moves to the next field; false at the end of the message.
  bool next() {
    if (rest_.empty()) return false;
    const uint64_t key = read_varint();
    number = key >> 3;
    value = 0;
    bytes = {};
    wire_type_ = static_cast<unsigned>(key & 7);
    switch (wire_type_) {
      case 0:
        value = read_varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        bytes = take(read_varint());
        break;
      case 5:
        for (size_t i = 0; const char byte : take(4)) {
          value |= uint64_t{static_cast<unsigned char>(byte)} << (8 * i++);
        }
        break;
      default:
        corrupt("unknown wire type");
    }
    return true;
  }

  uint64_t number = 0;
  uint64_t value = 0;      // of a varint or of four bytes
  std::string_view bytes;  // of a length-delimited field

  bool is_true() const { return value != 0; }
  float as_float() const { return std::bit_cast<float>(static_cast<uint32_t>(value)); }
  // Fails unless the field, one that the reader knows, has the wire type it must have.
  void expect(unsigned wire_type) const {
    if (wire_type_ != wire_type) corrupt("a field has the wrong wire type");
  }

 private:
  uint64_t read_varint() {
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) corrupt("it ends inside a number (truncated download?)");
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      result |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return result;
    }
    corrupt("a number is longer than 64 bits");
  }
  std::string_view take(uint64_t size) {
    if (size > rest_.size()) corrupt("a field goes beyond the end (truncated download?)");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
  unsigned wire_type_ = 0;
};

constexpr unsigned kVarint = 0, kBytes = 2, kFourBytes = 5;

SentencePieceFile::Piece read_piece(std::string_view message) {
  SentencePieceFile::Piece piece;
  for (Fields f(message); f.next();) {
    if (f.number == 1) {
      f.expect(kBytes);
      piece.text = f.bytes;
    } else if (f.number == 2) {
      f.expect(kFourBytes);
      piece.score = f.as_float();
      if (!std::isfinite(piece.score)) corrupt("a piece's score is not finite");
    } else if (f.number == 3) {
      f.expect(kVarint);
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
        f.expect(kVarint);
        if (f.value < 1 || f.value > 4) corrupt("the model type is not from 1 to 4");
        file.algorithm = static_cast<SentencePieceFile::Algorithm>(f.value);
        break;
      case 24:
        file.space_after_words = f.is_true();
        break;
      case 35:
        file.byte_fallback = f.is_true();
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
        f.expect(kBytes);
        file.charsmap = f.bytes;
        break;
      case 3:
        file.add_dummy_prefix = f.is_true();
        break;
      case 4:
        file.remove_extra_whitespaces = f.is_true();
        break;
      case 5:
        file.escape_whitespaces = f.is_true();
        break;
    }
  }
}

}  // namespace

SentencePieceFile read_sentencepiece_file(std::string_view bytes) {
  SentencePieceFile file;
  for (Fields f(bytes); f.next();) {
    if (f.number < 1 || f.number > 3) continue;
    f.expect(kBytes);
    if (f.number == 1) file.pieces.push_back(read_piece(f.bytes));
    if (f.number == 2) read_trainer_spec(f.bytes, file);
    if (f.number == 3) read_normalizer_spec(f.bytes, file);
  }
  if (file.pieces.empty()) corrupt("it has no pieces");
  return file;
}

}  // namespace bitsmith::text

// A reader of protobuf's wire format, for the few messages that bitsmith reads.
//
// By hand, because libprotobuf copies every byte it reads, keeps one global table of message types
// in which two libraries of a process may clash (libtorch brings ONNX's), and a field that lies in
// a mapped file can be used there.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bitsmith {

// The fields of one message, in file order. A field is a varint key (number << 3 | wire type) and a
// value: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. Throws kCorrupt beginning with
// `what` ("model.onnx: no ONNX model") where the bytes are no message.
class ProtobufFields {
 public:
  enum WireType : unsigned { kVarint = 0, kEightBytes = 1, kBytes = 2, kFourBytes = 5 };

  ProtobufFields(std::string_view message, std::string_view what) : rest_(message), what_(what) {}

  // Moves to the next field; false at the end of the message.
  bool next();

  uint64_t number = 0;
  uint64_t value = 0;      // of a varint, of eight or of four bytes
  std::string_view bytes;  // of a length-delimited field

  // The field, one that the reader knows, as what it must be; fails if the wire type is another.
  void expect(WireType type) const;
  int64_t as_integer() const;
  bool as_bool() const { return as_integer() != 0; }
  float as_float() const;
  std::string_view as_bytes() const;
  // Appends a repeated number: one of it, or many "packed" into a length-delimited field.
  void append_integers(std::vector<int64_t>& out) const;
  void append_floats(std::vector<float>& out) const;

 private:
  uint64_t read_varint();
  std::string_view take(uint64_t size);
  [[noreturn]] void corrupt(std::string_view reason) const;

  std::string_view rest_;
  std::string_view what_;
  unsigned wire_type_ = 0;
};

}  // namespace bitsmith

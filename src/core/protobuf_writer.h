// A writer of protobuf's wire format, for the few messages that bitsmith writes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bitsmith {

// A message, field by field in the order of the calls; see ProtobufFields for the wire format.
class ProtobufMessage {
 public:
  ProtobufMessage& integer(uint64_t field, int64_t value);
  ProtobufMessage& number(uint64_t field, float value);
  ProtobufMessage& text(uint64_t field, std::string_view value);
  ProtobufMessage& message(uint64_t field, const ProtobufMessage& value) {
    return text(field, value.bytes_);
  }
  // The start of a length-delimited field of `size` bytes, which the caller writes after it.
  ProtobufMessage& begin(uint64_t field, uint64_t size);

  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value);

  std::string bytes_;
};

}  // namespace bitsmith

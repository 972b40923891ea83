#include "core/protobuf_writer.h"

#include <bit>

#include "core/protobuf.h"

namespace bitsmith {

void ProtobufMessage::varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
}

ProtobufMessage& ProtobufMessage::integer(uint64_t field, int64_t value) {
  varint(field << 3 | ProtobufFields::kVarint);
  varint(static_cast<uint64_t>(value));
  return *this;
}

ProtobufMessage& ProtobufMessage::number(uint64_t field, float value) {
  varint(field << 3 | ProtobufFields::kFourBytes);
  const auto bits = std::bit_cast<uint32_t>(value);
  for (int i = 0; i < 4; ++i) bytes_ += static_cast<char>(bits >> (8 * i));
  return *this;
}

ProtobufMessage& ProtobufMessage::begin(uint64_t field, uint64_t size) {
  varint(field << 3 | ProtobufFields::kBytes);
  varint(size);
  return *this;
}

ProtobufMessage& ProtobufMessage::text(uint64_t field, std::string_view value) {
  begin(field, value.size());
  bytes_ += value;
  return *this;
}

}  // namespace bitsmith

#include "core/protobuf.h"

#include "core/error.h"

namespace bitsmith {
namespace {

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

}  // namespace

void ProtobufFields::corrupt(std::string_view reason) const {
  fail(ErrorCode::kCorrupt, "{}: {}", what_, reason);
}

bool ProtobufFields::next() {
  if (rest_.empty()) return false;
  const uint64_t key = read_varint();
  number = key >> 3;
  value = 0;
  bytes = {};
  wire_type_ = static_cast<unsigned>(key & 7);
  switch (wire_type_) {
    case kVarint:
      value = read_varint();
      break;
    case kEightBytes:
      value = little_endian(take(8));
      break;
    case kBytes:
      bytes = take(read_varint());
      break;
    case kFourBytes:
      value = little_endian(take(4));
      break;
    default:
      corrupt("unknown wire type");
  }
  return true;
}

void ProtobufFields::expect(WireType type) const {
  if (wire_type_ != type) corrupt("a field has the wrong wire type");
}

int64_t ProtobufFields::as_integer() const {
  expect(kVarint);
  return static_cast<int64_t>(value);
}

float ProtobufFields::as_float() const {
  expect(kFourBytes);
  return std::bit_cast<float>(static_cast<uint32_t>(value));
}

std::string_view ProtobufFields::as_bytes() const {
  expect(kBytes);
  return bytes;
}

void ProtobufFields::append_integers(std::vector<int64_t>& out) const {
  if (wire_type_ != kBytes) {
    out.push_back(as_integer());
    return;
  }
  ProtobufFields packed(bytes, what_);
  while (!packed.rest_.empty()) out.push_back(static_cast<int64_t>(packed.read_varint()));
}

void ProtobufFields::append_floats(std::vector<float>& out) const {
  if (wire_type_ != kBytes) {
    out.push_back(as_float());
    return;
  }
  if (bytes.size() % 4 != 0) corrupt("a packed list of floats has a part of one");
  for (size_t i = 0; i < bytes.size(); i += 4) {
    out.push_back(std::bit_cast<float>(static_cast<uint32_t>(little_endian(bytes.substr(i, 4)))));
  }
}

uint64_t ProtobufFields::read_varint() {
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

std::string_view ProtobufFields::take(uint64_t size) {
  if (size > rest_.size()) corrupt("a field goes beyond the end (truncated download?)");
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

}  // namespace bitsmith

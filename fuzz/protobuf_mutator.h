// A mutator for formats in protobuf's wire format: it changes fields and writes the lengths around
// them anew, where single bytes would only ever make lengths wrong.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace protobuf_mutator {

struct Field {
  uint64_t key = 0;     // number and wire type
  std::string payload;  // as it lies in the file, the length of bytes left out
  bool is_bytes() const { return (key & 7) == 2; }
};

inline std::optional<uint64_t> take_varint(std::string_view& rest) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !rest.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest[0]);
    rest.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

inline void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// The fields of a message, or nothing if the bytes are none.
inline std::optional<std::vector<Field>> parse(std::string_view rest) {
  std::vector<Field> fields;
  while (!rest.empty()) {
    const auto key = take_varint(rest);
    if (!key || *key >> 3 == 0) return std::nullopt;
    const std::string_view start = rest;
    uint64_t length = (*key & 7) == 1 ? 8 : 4;
    if ((*key & 7) == 0) {
      if (!take_varint(rest)) return std::nullopt;
      length = start.size() - rest.size();
      rest = start;
    } else if ((*key & 7) == 2) {
      const auto bytes = take_varint(rest);
      if (!bytes) return std::nullopt;
      length = *bytes;
    } else if ((*key & 7) != 1 && (*key & 7) != 5) {
      return std::nullopt;
    }
    if (length > rest.size()) return std::nullopt;
    fields.push_back({*key, std::string(rest.substr(0, length))});
    rest.remove_prefix(length);
  }
  return fields;
}

inline std::string write(const std::vector<Field>& fields) {
  std::string message;
  for (const Field& field : fields) {
    put_varint(message, field.key);
    if (field.is_bytes()) put_varint(message, field.payload.size());
    message += field.payload;
  }
  return message;
}

inline std::string mutated_bytes(std::string bytes) {
  const size_t size = bytes.size();
  bytes.resize(size + 32);
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), size, bytes.size()));
  return bytes;
}

// Changes one field somewhere below.
inline std::string mutated(std::string_view message, bitsmith::Random& random, int depth) {
  std::optional<std::vector<Field>> fields = parse(message);
  if (!fields || fields->empty()) return mutated_bytes(std::string(message));
  Field& field = (*fields)[random.below(fields->size())];
  const bool is_message = field.is_bytes() && !field.payload.empty() && parse(field.payload);
  const uint64_t action = random.below(16);
  if (is_message && depth < 8 && action < 12) {
    field.payload = mutated(field.payload, random, depth + 1);
  } else if (action == 12) {
    fields->push_back(field);
  } else if (action == 13) {
    std::swap(field, (*fields)[random.below(fields->size())]);
  } else if (action == 14) {
    fields->erase(fields->begin() + (&field - fields->data()));
  } else if (action == 15) {
    field.payload = (*fields)[random.below(fields->size())].payload;
  } else if (field.is_bytes()) {
    field.payload = mutated_bytes(field.payload);
  } else if ((field.key & 7) == 0) {
    std::string_view rest = field.payload;
    uint64_t value = *take_varint(rest);
    value = random.below(2) == 0 ? value + random.below(9) - 4 : random.next() >> random.below(64);
    field.payload.clear();
    put_varint(field.payload, value);
  } else {
    for (char& byte : field.payload) byte = static_cast<char>(random.below(256));
  }
  return write(*fields);
}

}  // namespace protobuf_mutator

// libFuzzer calls it instead of its own mutator. Some inputs are mutated byte by byte all the same.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  bitsmith::Random random(seed);
  if (random.below(4) == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string message(reinterpret_cast<const char*>(data), size);
  const std::string result = protobuf_mutator::mutated(message, random, 0);
  if (result.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(result.begin(), result.end(), data);
  return result.size();
}

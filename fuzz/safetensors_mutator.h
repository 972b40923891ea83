// A mutator for safetensors files: it changes the header and writes its length anew.
#pragma once

#include <cstring>
#include <string>

#include "core/random.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// libFuzzer calls it instead of its own mutator. Some inputs are mutated byte by byte all the same.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  constexpr size_t kRoom = 64;  // that the header may grow by
  bitsmith::Random random(seed);
  uint64_t length = 0;
  if (size > sizeof(length)) std::memcpy(&length, data, sizeof(length));
  const bool fits = length > 0 && length <= size - sizeof(length) && size + kRoom <= max_size;
  if (!fits || random.below(4) == 0) return LLVMFuzzerMutate(data, size, max_size);
  uint8_t* header = data + sizeof(length);
  const std::string rest(reinterpret_cast<char*>(header + length), size - sizeof(length) - length);
  length = LLVMFuzzerMutate(header, length, length + kRoom);
  std::memcpy(data, &length, sizeof(length));
  std::memcpy(header + length, rest.data(), rest.size());
  return sizeof(length) + length + rest.size();
}

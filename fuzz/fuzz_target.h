// What the fuzz targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/error.h"

// The input as libFuzzer passes it, as the readers take it.
inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}
inline std::span<const std::byte> bytes_of(const uint8_t* data, size_t size) {
  return std::as_bytes(std::span(data, size));
}

// Runs `body`; an Error is the right answer to a bad input, every other exception is a bug.
template <class Body>
void allow_errors(const Body& body) {
  try {
    body();
  } catch (const bitsmith::Error&) {
  }
}

// A property that must hold for every input.
#define FUZZ_EXPECT(condition) \
  do {                         \
    if (!(condition)) {        \
      __builtin_trap();        \
    }                          \
  } while (false)

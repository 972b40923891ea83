// What the fuzz targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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

// Runs `body`; an Error is the right answer to a bad input, every other exception is a bug. Errors
// are shown if FUZZ_SHOW_ERRORS is set: seeds should have none.
template <class Body>
void allow_errors(const Body& body) {
  static const bool show = std::getenv("FUZZ_SHOW_ERRORS") != nullptr;
  try {
    body();
  } catch (const bitsmith::Error& error) {
    if (show) std::fprintf(stderr, "error: %s\n", error.what());
  }
}

// A property that must hold for every input.
#define FUZZ_EXPECT(condition) \
  do {                         \
    if (!(condition)) {        \
      __builtin_trap();        \
    }                          \
  } while (false)

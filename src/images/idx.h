// MNIST's idx files: arrays of bytes.
#pragma once

#include <span>
#include <string>

#include "tensor/shape.h"

namespace bitsmith {

//     u8 0, u8 0, u8 type (8: unsigned bytes), u8 d | d extents, u32 BIG-endian | elements
// (Y. LeCun, "The MNIST database".) Only unsigned bytes are supported.
struct IdxArray {
  Shape shape;  // of 1 to 4 extents
  std::span<const std::byte> elements;
};

// Whether the bytes start like one.
bool is_idx(std::span<const std::byte> bytes);

// kCorrupt unless `bytes` are exactly one array.
IdxArray read_idx(std::span<const std::byte> bytes, const std::string& file);

}  // namespace bitsmith

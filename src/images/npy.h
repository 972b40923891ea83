// NumPy's .npy files.
#pragma once

#include <span>
#include <string>

#include "tensor/shape.h"

namespace bitsmith {

//     "\x93NUMPY", u8 major, u8 minor | u16 (major 1) or u32 LE: size of the header
//     {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   then elements
// (NumPy Enhancement Proposal 1.) Arrays in C order of one little-endian number type.
struct NpyArray {
  std::string type;  // "|u1", "<f4", "<i8", ...
  Shape shape;
  std::span<const std::byte> elements;
};

bool is_npy(std::span<const std::byte> bytes);

// kCorrupt for a damaged file, kUnsupported for Fortran order, big-endian or structured types.
NpyArray read_npy(std::span<const std::byte> bytes, const std::string& file);

}  // namespace bitsmith

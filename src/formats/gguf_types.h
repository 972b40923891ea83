// The number types of GGUF tensors and of GGUF metadata.
#pragma once

#include <cstdint>
#include <string_view>

namespace bitsmith {

// One type of tensor elements. Rows are whole blocks.
struct GgmlType {
  uint32_t id;
  std::string_view name;   // "Q4_K"
  std::string_view codec;  // the codec that decodes it; empty: bitsmith has none
  int64_t block_cols;
  int64_t block_bytes;
};

// nullptr for an id, a codec or a name ("Q4_K", in capitals or not) that is not among them.
const GgmlType* find_ggml_type(uint32_t id);
const GgmlType* find_ggml_type(std::string_view codec);
const GgmlType* find_ggml_type_named(std::string_view name);

// The types of metadata values; the numbers are those of the file.
enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// Bytes of a number or bool; 0 for strings and arrays.
int64_t size_bytes(GgufType type);
std::string_view to_string(GgufType type);

}  // namespace bitsmith

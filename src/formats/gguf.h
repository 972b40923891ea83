// The GGUF container: typed metadata, then the bytes of tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/mapped_file.h"
#include "formats/gguf_types.h"
#include "tensor/shape.h"

namespace bitsmith {

//     "GGUF" | u32 version, 2 or 3 | u64 tensors | u64 values
//     value:   string key | u32 type | the value
//     tensor:  string name | u32 dimensions | u64 extents, INNERMOST first | u32 ggml type |
//              u64 offset
//     zero bytes up to a multiple of the alignment | data
// All little-endian. A string is its u64 length and its bytes, an array the u32 type of its
// elements, their u64 number, and the elements. Offsets count from the start of the data and are
// multiples of the alignment: "general.alignment", a power of two, 32 if it is not given.
struct GgufArray {
  GgufType type = GgufType::kU8;
  uint64_t count = 0;
  std::span<const std::byte> bytes;       // of numbers
  std::vector<std::string_view> strings;  // of strings

  // Element i of an array of numbers or bools; integer(): not of floats.
  double number(uint64_t i) const;
  int64_t integer(uint64_t i) const;
};

struct GgufValue {
  GgufType type = GgufType::kU8;
  std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray> value;
};

struct GgufTensor {
  Shape shape;  // outermost first, as everywhere in bitsmith; 1 to 4 extents
  const GgmlType* type = nullptr;
  std::span<const std::byte> bytes;  // in the file
};

// Owns nothing of the file.
struct Gguf {
  std::string file;  // for messages
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::map<std::string, GgufTensor, std::less<>> tensors;

  const GgufValue* find(std::string_view key) const;
  // The value of a key; nullopt (nullptr) if it is not there, kCorrupt if it is of another type.
  // Whole numbers of every width are integers.
  std::optional<std::string> text(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  const GgufArray* array(std::string_view key) const;
};

// Reads the head in `bytes` (a whole file) and checks every rule of the format: sizes against the
// file before anything is allocated, names and keys once each, tensors inside the data, aligned and
// without overlap. Throws kCorrupt, or kUnsupported for other versions, big-endian files, arrays of
// arrays and number types without a known size. Touches only the head's pages. Memory: at most a
// small multiple of the head.
Gguf read_gguf(std::span<const std::byte> bytes, std::string_view file);

// A model's files, mapped: one, or all parts NAME-00001-of-0000N.gguf of a split one, whichever
// part is named. Metadata is the first part's; tensors are those of all parts.
struct GgufFiles {
  Gguf gguf;
  std::vector<std::shared_ptr<MappedFile>> files;
};
GgufFiles open_gguf_files(const std::filesystem::path& path);

}  // namespace bitsmith

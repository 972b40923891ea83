// The safetensors container: a JSON header, then the bytes of tensors one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/output_file.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace bitsmith {

//     u64 LE N | N bytes of JSON, starting with '{', spaces allowed at its end | data
//     {"__metadata__": {string: string},
//      name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
// Offsets count from the first byte after the header. Tensors are row-major and little-endian.
struct SafetensorsTensor {
  std::string dtype;  // as in the file: "BF16"; may be one that bitsmith does not compute with
  Shape shape;        // every extent >= 0; the product times the dtype's size is bytes.size()
  std::span<const std::byte> bytes;  // in the file; aligned to nothing in particular
};

// Owns nothing of the file.
struct Safetensors {
  std::string file;  // for messages
  std::map<std::string, std::string> metadata;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors;
};

// Reads the header in `bytes` (a whole file) and checks every rule of the format: tensors cover the
// data without hole or overlap to its last byte, sizes agree with shapes, no key twice, metadata is
// string to string. Throws kCorrupt, or kUnsupported for a dtype it has never heard of; messages
// name `file`. Touches only the header's pages. O(header) time; memory is at most a small multiple
// of the header, whose size is checked before anything is allocated.
Safetensors read_safetensors(std::span<const std::byte> bytes, std::string_view file);

// Writes a safetensors file from front to back. The header is known from the sizes alone, so
// tensors are appended one at a time and none has to stay in memory.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    DType dtype = DType::kU8;
    Shape shape;
    uint64_t size_bytes() const;
  };

  // `entries` in the order of their bytes. The header is filled with spaces so that the data starts
  // at a multiple of 64 bytes of the file. Deterministic. Throws kInvalidArgument for two entries
  // of one name or text that is not UTF-8.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Entry> entries,
                    const std::map<std::string, std::string>& metadata);

  // Appends bytes of the next entry that is not complete, which must be `name`'s; an entry's bytes
  // may come in several pieces.
  void append(std::string_view name, std::span<const std::byte> bytes);

  // All entries must be complete.
  void commit();

  static constexpr uint64_t kAlignment = 64;

 private:
  void skip_complete();

  OutputFile file_;
  std::vector<Entry> entries_;
  size_t next_ = 0;            // the entry being appended
  uint64_t next_written_ = 0;  // bytes of it that are written
};

}  // namespace bitsmith

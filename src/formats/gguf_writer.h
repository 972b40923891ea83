// Writes GGUF files from front to back.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/output_file.h"
#include "formats/gguf_types.h"
#include "tensor/shape.h"

namespace bitsmith {

using GgufWritable =
    std::variant<uint32_t, uint64_t, float, bool, std::string, std::vector<std::string>,
                 std::vector<float>, std::vector<int32_t>>;
// In the order in which they are written.
using GgufMetadata = std::vector<std::pair<std::string, GgufWritable>>;

// Every tensor of a written file begins at a multiple of this from the start of the data.
inline constexpr uint64_t kGgufAlignment = 32;
inline uint64_t gguf_aligned(uint64_t bytes) {
  return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment;
}

// Version 3. The head is known from shapes and types alone, so tensors are appended
// one at a time and none has to stay in memory. Deterministic.
class GgufWriter {
 public:
  struct Entry {
    std::string name;
    Shape shape;  // outermost first; 1 to 4 extents
    const GgmlType* type = nullptr;
    uint64_t size_bytes() const;
  };

  // Throws kInvalidArgument for two entries of one name, or one that GGUF cannot hold: its row is
  // not whole blocks, its name is longer than 63 bytes (ggml's limit).
  GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
             std::vector<Entry> entries);

  // The bytes of such a file before its tensors. Throws as the constructor does.
  static uint64_t head_bytes(const GgufMetadata& metadata, const std::vector<Entry>& entries);

  // Appends bytes of the next entry that is not complete, which must be `name`'s; an entry's bytes
  // may come in several pieces.
  void append(std::string_view name, std::span<const std::byte> bytes);

  // All entries must be complete.
  void commit();

 private:
  void finish_complete();

  OutputFile file_;
  std::vector<Entry> entries_;
  size_t next_ = 0;            // the entry being appended
  uint64_t next_written_ = 0;  // bytes of it that are written
};

}  // namespace bitsmith

// Importance matrices of llama.cpp: the mean square of each input of each matrix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitsmith {

struct ImportanceMatrix {
  // Of one tensor, by its GGUF name ("blk.0.ffn_down.weight"). Experts are several matrices.
  struct Entry {
    int64_t matrices = 1;
    std::vector<float> sums;    // [matrices, inputs]: Σ x² over tokens
    std::vector<float> counts;  // [matrices]: tokens
    int64_t inputs() const { return static_cast<int64_t>(sums.size()) / matrices; }
    // The mean square of every input of a matrix, [inputs]; 0 where no token was seen.
    std::vector<float> mean_squares(int64_t matrix) const;
  };
  std::map<std::string, Entry, std::less<>> entries;
  std::vector<std::string> datasets;
  int64_t chunk_count = 0;
  int64_t chunk_size = 0;
};

// Reads either format:
//     GGUF of type "imatrix": tensors NAME.in_sum2 [matrices, inputs] and NAME.counts [matrices, 1]
//     the older one (little-endian): i32 entries; for each: i32 bytes, name, i32 calls, i32 inputs,
//         f32 [inputs] = calls * mean square; then, optionally, i32 chunks, i32 bytes, dataset.
//         It holds no token counts: calls stand for them.
// Throws kCorrupt for a file that breaks its rules or holds numbers that are negative or not
// finite.
ImportanceMatrix read_imatrix(std::span<const std::byte> bytes, std::string_view file);
ImportanceMatrix open_imatrix(const std::filesystem::path& path);

// Writes the GGUF format.
void write_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix);
// Writes the older one; kUnsupported for several matrices of one name, which it cannot part.
void write_older_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix);

}  // namespace bitsmith

// Tables of levels as integers that dot products of bytes can take.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace bitsmith {

// level = unit * (number - offset), number = 128 * high + low, both below 128: products of pairs of
// such bytes with signed bytes do not saturate anywhere. (Rows' own tables: see below.)
//
// Narrow (high = 0 everywhere) where all levels are multiples of a power of two of at most 7 bits,
// which includes E2M1, E2M3, the usual powers of two and all integers up to 7 bits; otherwise of 14
// bits: exact where possible (E3M2, 8-bit integers), or else rounded to multiples of
// largest / 8191, so that a level is off by at most half of that, about largest * 2^-14 (NF4,
// codebooks, 8-bit floats). That is 1/64 of the rounding of activations to bytes.
struct LevelTable {
  float unit = 0;
  int32_t offset = 0;
  bool wide = false;
  std::vector<uint8_t> high = {};  // [levels]
  std::vector<uint8_t> low = {};   // [levels]
};

// Nothing if a level is infinite or no number.
std::optional<LevelTable> make_level_table(std::span<const float> levels);

// The same, always wide and rounded, with the offset kWideOffset.
constexpr int32_t kWideOffset = 8191;
std::optional<LevelTable> make_wide_level_table(std::span<const float> levels);

// The tables of rows that have one each, all of the same kind and offset. If in every row a unit of
// largest / 127 is at most a fifth of the median distance between levels, which adds a twenty-fifth
// to the squared error between two of them, numbers are bytes: low, with the offset 128; high is
// empty. Otherwise they are wide. Nothing if a level is infinite or no number.
std::vector<LevelTable> make_row_level_tables(std::span<const std::vector<float>> rows);

}  // namespace bitsmith

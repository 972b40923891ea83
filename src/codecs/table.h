// Codecs whose groups have a table of levels, made from a few binary16 parameters of the group.
#pragma once

#include <vector>

#include "codecs/grouped.h"

namespace bitsmith {

// What the options of a table codec mean.
struct TableFormat {
  int base = 2;         // of a digit of the code: 2 or 3
  int digits = 1;       // base^digits codes
  bool planes = false;  // each digit in a plane of its own, even in base 2
  int64_t group = 0;
  int parameters = 1;  // binary16 numbers of a group

  int codes() const;
};

// The numbers of one group of one row, to be fitted.
struct TableGroup {
  std::span<const float> w;
  const float* importance;  // [w.size()] or nullptr
  int search_steps;         // of FitOptions
};

// w = level of the code in the table of its row's group. Layout: grouped.h without header; the
// parameters are `parameters` binary16.
class TableCodec : public Codec {
 public:
  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override;
  std::unique_ptr<Encoder> encoder(const MatrixShape& shape, const Options& options) const override;
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override;

  virtual TableFormat format(const Options& options) const = 0;
  // The levels of a group, [codes] by code. Parameters may be anything, from a hostile file.
  virtual void expand(const Options& options, std::span<const float> parameters,
                      std::span<float> levels) const = 0;
  // Whether the level of code k is parameter 1 + parameter 0 * k: an encoder then keeps no tables.
  virtual bool is_uniform() const { return false; }
  // Chooses the parameters of a group; the caller rounds them to binary16.
  virtual void fit(const Options& options, const TableGroup& group,
                   std::span<float> parameters) const = 0;

  GroupedLayout layout(const MatrixShape& shape, const TableFormat& format) const;
};

}  // namespace bitsmith

// What a code can mean and how it lies on disk: the interface of every codec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/options.h"
#include "core/registry.h"
#include "core/thread_pool.h"
#include "tensor/shape.h"

namespace bitsmith {

// A tensor seen as a matrix: rows = first extent (output features), cols = product of the others
// (input features). A vector is one row.
struct MatrixShape {
  int64_t rows = 0;
  int64_t cols = 0;
  friend bool operator==(const MatrixShape&, const MatrixShape&) = default;
};
MatrixShape matrix_shape(const Shape& shape);

// How an encoder chooses parameters (scale, zero point, codebook).
struct FitOptions {
  // 0: by the codec's plain rule, often from the smallest and largest weight. n > 0: the best of n
  // ranges or so, by squared error.
  int search_steps = 0;
  // Weight of each column's squared error, [columns of the group] ([cols] in prepare()); nullptr:
  // all 1.
  const float* importance = nullptr;
};

// Encodes one matrix, group by group and column by column, in the order its user (a solver) wants.
//
// Weights are passed COLUMN-major: element (row r, column c) of a panel is w[c * stride + r], so
// that a loop over rows is contiguous. After prepare(), calls for disjoint row ranges may run at
// the same time; a result depends only on the weights passed for its own row and on what prepare()
// set.
class Encoder {
 public:
  virtual ~Encoder() = default;

  // Parameters are shared by this many consecutive columns of a row (the last group may be
  // shorter).
  virtual int64_t group_cols() const = 0;
  // Codes are chosen jointly for this many consecutive columns; divides group_cols().
  virtual int64_t block_cols() const { return 1; }

  // Sets what the whole matrix shares (a scale, a codebook). To be called once, before anything
  // else.
  //   weights [rows, cols] row-major, finite; or a sample of the rows
  // Same result for any number of threads.
  virtual void prepare(std::span<const float> /*weights*/, const FitOptions& /*fit*/,
                       ThreadPool& /*pool*/) {}

  // Sets the parameters of column group `group` for rows [row_begin, row_begin + row_count).
  //   w column-major [columns of the group][stride]
  virtual void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                         int64_t stride, const FitOptions& fit) = 0;

  // Chooses the nearest codes for columns [col, col + block_cols()) under the fitted parameters and
  // writes the values they decode to.
  //   w, q column-major [block_cols()][stride]; where a block goes beyond the last column, w is 0
  //   there and q is not used
  virtual void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                        int64_t stride) = 0;

  // Writes the finished matrix; `bytes` has Codec::encoded_bytes() bytes, all of which are written.
  virtual void finish(std::span<std::byte> bytes) const = 0;
};

// One of the streams that a tensor's bytes can be split into: numbers of one kind, each below
// 2^bits, whose values are not equally likely. What entropy coders work on.
struct SymbolStream {
  int bits = 8;  // 1 to 8
  int64_t count = 0;
};

// Ranges of symbols begin at multiples of this, so that no two ranges of a stream share a byte.
inline constexpr int64_t kSymbolRange = 4096;

// What an activation times a stored number takes, beside adding the product to a sum and, once for
// each group, scaling that sum.
struct ProductCost {
  int multiplications = 1;
  int shifts = 0;
  int additions = 0;
  int bits = 16;             // of the number that is multiplied with
  bool skips_zeros = false;  // the codes tell zeros apart, which take nothing
};

class Codec {
 public:
  static const char* kind() { return "codec"; }
  virtual ~Codec() = default;
  virtual const PartInfo& info() const = 0;

  // The exact number of bytes on disk, side information and padding included. Throws
  // kInvalidArgument for a combination of shape and options that cannot work.
  virtual uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const = 0;

  virtual std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                           const Options& options) const = 0;

  // Decodes rows [row_begin, row_begin + row_count) into out [row_count, cols], row-major. This is
  // the specification of the codec: every kernel is tested against it. `bytes` may be hostile; its
  // size has been checked against encoded_bytes().
  virtual void decode(const MatrixShape& shape, const Options& options,
                      std::span<const std::byte> bytes, int64_t row_begin, int64_t row_count,
                      float* out) const = 0;

  // The split of a tensor's bytes into streams of symbols. It loses no bit, whatever the bytes. The
  // default is one stream: the bytes as they lie.
  virtual std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                                   const Options& options) const;

  // Symbols [begin, begin + symbols.size()) of a stream; `begin` is a multiple of kSymbolRange.
  virtual void split_symbols(const MatrixShape& shape, const Options& options,
                             std::span<const std::byte> bytes, size_t stream, int64_t begin,
                             std::span<uint8_t> symbols) const;

  // The inverse: sets the bits of `bytes` that these symbols are made of, which were 0. Not for two
  // streams of a tensor at once, which may share bytes; disjoint ranges of one stream may be.
  virtual void join_symbols(const MatrixShape& shape, const Options& options, size_t stream,
                            int64_t begin, std::span<const uint8_t> symbols,
                            std::span<std::byte> bytes) const;

  // Whether coding what was decoded, by the plain rules, gives the same values again. Codecs whose
  // parameters are estimated (from a mean, by clustering) may come to others.
  virtual bool is_idempotent(const Options&) const { return true; }

  // The default: entries of tables, which are binary16.
  virtual ProductCost product_cost(const Options&) const { return {}; }

  // Short name for tables: "int4 g64", "bf16".
  virtual std::string label(const Options& options) const = 0;
};

// A codec with its options: how one tensor is coded.
struct Scheme {
  const Codec* codec = nullptr;
  Options options;

  Scheme() = default;
  Scheme(std::string_view codec_id, const nlohmann::json& options);
  std::string label() const { return codec->label(options); }
  nlohmann::json to_json() const;  // {"codec": id, "options": {...}}
  static Scheme from_json(const nlohmann::json& json);
};

// A tensor as it lies in a file or in memory. Owns nothing.
struct CodedTensor {
  std::string name;
  Shape shape;
  Scheme scheme;
  std::span<const std::byte> bytes;

  // If its file holds it entropy-coded: by which coder, and those bytes. `bytes` are then in
  // memory.
  std::string entropy_coder = {};
  std::span<const std::byte> coded_bytes = {};

  // As the file holds it.
  std::span<const std::byte> stored_bytes() const {
    return entropy_coder.empty() ? bytes : coded_bytes;
  }
  MatrixShape matrix() const { return matrix_shape(shape); }
  // Rows [row_begin, row_begin + row_count) as float32, row-major.
  void decode(int64_t row_begin, int64_t row_count, float* out) const {
    scheme.codec->decode(matrix(), scheme.options, bytes, row_begin, row_count, out);
  }
  std::vector<float> decode_all() const;
};

}  // namespace bitsmith

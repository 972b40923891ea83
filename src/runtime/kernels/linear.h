// Matrix products with coded weights: the interface between the executor and the kernels.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "codecs/codec.h"
#include "core/registry.h"
#include "core/thread_pool.h"

namespace bitsmith {

// Activations rounded to signed bytes, x ~ scale * code, in groups along a row (symmetric, scale =
// absmax / 127 of the group, codes in [-127, 127], nearest with ties to even). Rows that lie on a
// grid of their own (Activations::reset) have its scale in all their groups instead.
//
// Tokens are kept in blocks of kBlock (the last block may have fewer), so that a kernel which works
// on a block reads one stream. With n tokens in block b that starts at token t0 = b * kBlock:
//     codes   [b][group][n tokens][group_cols]  int8; columns past `cols` are 0
//     scales  [b][group][n tokens]              float32
//     neg_sums[b][group][n tokens]              int32, minus the sum of the codes
// which begin at t0 * groups * group_cols, t0 * groups and t0 * groups elements.
struct Int8Activations {
  static constexpr int64_t kBlock = 16;
  int64_t group_cols = 0;  // a multiple of 4, at most 64
  int64_t groups = 0;      // per token
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> neg_sums;
};

// The input of linear layers, [tokens, cols] float32 row-major. Holds the quantized forms that
// kernels ask for, so that layers which read the same activations (q, k and v; gate and up) share
// them. Buffers are kept from one reset() to the next. Not for use from two threads at once.
class Activations {
 public:
  Activations() = default;
  Activations(const float* data, int64_t tokens, int64_t cols) { reset(data, tokens, cols); }

  // Points at new data, which must stay valid and unchanged until the next reset(). O(1).
  //   row_levels: 0, or n <= 127: each row was rounded to whole numbers in [-n, n] times absmax /
  //   n, absmax being that of the row, and keeps exactly these numbers
  void reset(const float* data, int64_t tokens, int64_t cols, int row_levels = 0);

  const float* data() const { return data_; }
  int64_t tokens() const { return tokens_; }
  int64_t cols() const { return cols_; }
  int row_levels() const { return row_levels_; }

  // The int8 form with groups of `group_cols`; made by `pool` on the first request after reset().
  // The result for a token does not depend on the other tokens or the number of threads.
  const Int8Activations& int8(int64_t group_cols, ThreadPool& pool);

 private:
  struct Form {
    bool valid = false;
    Int8Activations form;
  };
  const float* data_ = nullptr;
  int64_t tokens_ = 0;
  int64_t cols_ = 0;
  int row_levels_ = 0;
  std::vector<std::unique_ptr<Form>> forms_;
};

// A weight matrix ready to multiply. Reads the coded bytes where they lie; owns at most small
// tables, unless it keeps decoded or rearranged weights. May be shared by threads that each bring
// their own Activations.
class LinearKernel {
 public:
  virtual ~LinearKernel() = default;

  // y[t * y_stride + r] = sum over c of x[t, c] * w[r, c], for all tokens t and rows r.
  //   x [tokens, cols];  y [tokens][y_stride], y_stride >= rows
  // The result for a token is the same, bit for bit, for any number of tokens in x and any number
  // of threads.
  virtual void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const = 0;

  // What runs, for reports: "int8 dot product, AVX-512 VNNI", "decoded to float32 at every use".
  virtual std::string_view name() const = 0;

  // What keep_decoded() takes; 0 for kernels that multiply codes.
  virtual uint64_t decoded_bytes() const { return 0; }
  // Decodes the weights once and multiplies with them from then on: the same results. Not while
  // another thread multiplies.
  virtual void keep_decoded(ThreadPool& /*pool*/) {}

  // Bytes of rearranged weights that it holds now: some kernels make them at the first use.
  virtual uint64_t rearranged_bytes() const { return 0; }
  // Gives these back; the next use makes them again.
  virtual void release() const {}
};

// Makes kernels for one codec; info().id is the codec's id. To add one, write kernels/<codec>.cc.
class LinearKernelFactory {
 public:
  static const char* kind() { return "linear kernel"; }
  virtual ~LinearKernelFactory() = default;
  virtual const PartInfo& info() const = 0;

  // nullptr for options this kernel does not handle. The tensor's bytes must outlive the kernel.
  virtual std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const = 0;
};

// The fast kernel of the tensor's codec, or one that decodes rows by Codec::decode() at every
// multiplication and says so in name(). The tensor's bytes must outlive the kernel.
std::unique_ptr<LinearKernel> make_linear_kernel(const CodedTensor& weights);

// The fallback of make_linear_kernel(), for tests and comparisons.
std::unique_ptr<LinearKernel> make_decoding_kernel(const CodedTensor& weights);

}  // namespace bitsmith

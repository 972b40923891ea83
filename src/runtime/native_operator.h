// How the native executor computes one kind of operator: the interface of operators/.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/registry.h"
#include "core/thread_pool.h"
#include "formats/model.h"
#include "graph/graph.h"
#include "runtime/kernels/linear.h"
#include "runtime/sequence.h"

namespace bitsmith {

class HadamardRotation;
class RopeTable;

// New tokens of one sequence: rows [begin, begin + count) of the batch, at positions
// [position, position + count) of the sequence.
struct BatchSegment {
  Sequence* sequence = nullptr;
  int64_t begin = 0;
  int64_t count = 0;
  int64_t position = 0;
};

// What a step works on: the rows (tokens) of all segments together. A value is [rows, channels]
// float32, row-major. Once the last operator that looks across positions has run, the rows whose
// results nobody wants are dropped; from then on `segments` is empty.
class Batch {
 public:
  Batch(ThreadPool& thread_pool, size_t value_count)
      : pool(thread_pool), data_(value_count, nullptr), row_levels_(value_count, 0) {}

  ThreadPool& pool;
  std::vector<TokenId> tokens;     // [rows]
  std::vector<int64_t> positions;  // [rows], in the row's own sequence
  std::vector<BatchSegment> segments;

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  float* data(ValueId id) const { return data_[static_cast<size_t>(id)]; }

  // The value as input of linear layers; layers that follow each other and read the same value
  // share its quantized forms.
  Activations& activations(ValueId id, int64_t cols);

  // The cache of the n-th attention node; it ends where the segment's new positions begin.
  KvCache& cache(const BatchSegment& segment, size_t n) const;

 private:
  friend class Executor;
  std::vector<float*> data_;     // [values]
  std::vector<int> row_levels_;  // [values]: as in Activations::reset()
  Activations activations_;
  ValueId activations_of_ = kNoValue;
};

// Calls body(begin, end) for parts of the rows [0, rows): all of them on this thread if the work,
// rows * row_cost (in simple float operations), is not worth waking others.
template <class Body>
void for_rows(Batch& batch, int64_t rows, int64_t row_cost, const Body& body) {
  constexpr int64_t kPart = 1 << 15;  // some ten microseconds
  const int64_t part = std::max<int64_t>(1, kPart / std::max<int64_t>(1, row_cost));
  if (rows <= part || batch.pool.threads() == 1) {
    body(int64_t{0}, rows);
    return;
  }
  batch.pool.run(ceil_div(rows, part),
                 [&](int64_t i, int) { body(i * part, std::min(rows, (i + 1) * part)); });
}

// A node made ready to run.
class Step {
 public:
  virtual ~Step() = default;
  virtual void run(Batch& batch) = 0;
  // What runs, if there is a choice: the kernel of a linear layer.
  virtual std::string_view kernel_name() const { return ""; }
  // Memory that the step owns.
  virtual uint64_t memory_bytes() const { return 0; }
  // Gives back what can be made from the weights again.
  virtual void release() const {}
};

// What the steps of one graph are made from, and share.
class Preparation {
 public:
  Preparation(const Graph& graph, const std::map<std::string, CodedTensor>& parameters);

  const Graph& graph() const { return graph_; }
  // Channels of an activation, which must be [B, T, channels]; kUnsupported otherwise.
  int64_t channels(ValueId id) const;
  // Channels of a node's inputs, all of which must have the shape of its output; kUnsupported
  // otherwise: nothing is broadcast.
  int64_t equal_channels(const Node& node) const;
  bool is_token_input(ValueId id) const;
  const CodedTensor& parameter(ValueId id) const;  // kNotFound, kCorrupt if it does not fit
  std::vector<float> vector(ValueId id) const;     // a parameter as float32
  std::shared_ptr<const LinearKernel> kernel(ValueId weight);
  std::shared_ptr<RopeTable> rope_table(const Node& node);
  std::shared_ptr<const HadamardRotation> rotation(ValueId signs);
  // A cache in every sequence; returns its number.
  size_t add_cache(const KvShape& shape);

 private:
  friend class Executor;
  const Graph& graph_;
  const std::map<std::string, CodedTensor>& parameters_;
  std::map<ValueId, std::shared_ptr<LinearKernel>> kernels_;
  std::vector<std::shared_ptr<RopeTable>> rope_tables_;
  std::map<ValueId, std::shared_ptr<const HadamardRotation>> rotations_;
  std::vector<KvShape> cache_shapes_;
};

// To add one, write operators/<id>.cc; the id is that of the graph's operator.
class NativeOperator {
 public:
  static const char* kind() { return "native operator"; }
  virtual ~NativeOperator() = default;
  virtual const PartInfo& info() const = 0;
  virtual std::unique_ptr<Step> prepare(Preparation& preparation, const Node& node) const = 0;
  // Inputs on whose memory the output may be written.
  virtual std::vector<size_t> in_place_inputs() const { return {}; }
};

}  // namespace bitsmith

// Runs a graph with coded parameters: packed weights, SIMD kernels, KV caches, no torch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "formats/model.h"
#include "graph/graph.h"
#include "runtime/sequence.h"
#include "text/tokenizer.h"

namespace bitsmith {

class Batch;
class LinearKernel;
class Step;

// Linear and elementwise operators run over all tokens of a batch at once, attention over each
// sequence by itself. The logits of a token depend on its own sequence only: they are the same,
// bit for bit, whatever else is in the batch, however a text is cut into calls, and for any number
// of threads.
//
// Not for use from two threads at once. One executor may serve any number of sequences.
class Executor {
 public:
  // Prepares every parameter; only norms and biases are decoded.
  //   parameters: their bytes must outlive the executor; the graph and the map need not
  //   max_batch_tokens: run() works in batches of at most this many tokens, which bounds the
  //   memory for activations; longer work is cut
  // Throws kUnsupported, naming the node, for a graph that it cannot run.
  Executor(const Graph& graph, const std::map<std::string, CodedTensor>& parameters,
           ThreadPool& pool, int64_t max_batch_tokens);
  Executor(const Model& model, ThreadPool& pool, int64_t max_batch_tokens)
      : Executor(model.graph, model.parameters, pool, max_batch_tokens) {}
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  Sequence make_sequence() const { return Sequence(cache_shapes_); }

  // New tokens of one sequence, at least one; they follow what the sequence has read.
  struct Segment {
    Sequence* sequence = nullptr;
    std::span<const TokenId> tokens;
  };
  enum class Logits {
    kAll,   // of every token
    kLast,  // of the last token of each segment; work that only the others need is skipped
  };

  // Reads the tokens and returns logits [tokens or segments, output_channels()] float32, in the
  // order of the segments; valid until the next run. Each sequence may be given once.
  // Throws kInvalidArgument for a token outside the vocabulary, before anything is changed, and
  // kInterrupted between two batches (see core/interrupt.h): then a sequence has read the tokens
  // of whole batches only, as its length() says.
  std::span<const float> run(std::span<const Segment> segments, Logits logits);
  std::span<const float> run(Sequence& sequence, std::span<const TokenId> tokens, Logits logits) {
    const Segment segment{&sequence, tokens};
    return run({&segment, 1}, logits);
  }

  // From now on the pages of a step's weights are given back as soon as it has run, so that a model
  // in a mapped file takes memory for one layer only; for models larger than memory, in large
  // batches.
  void release_weights_after_use() { release_weights_ = true; }

  // Decodes the weights of codecs that have no kernel once, to float32, instead of at every use, if
  // they take at most `limit` bytes; for work on many short batches. The same logits.
  bool keep_decoded_weights(uint64_t limit);

  int64_t output_channels() const { return output_channels_; }  // V
  int64_t max_batch_tokens() const { return max_batch_tokens_; }
  ThreadPool& pool() const { return pool_; }

  // The linear kernels in use, each once, with the number of layers: "12 x int8 dot product".
  std::vector<std::string> kernel_names() const;

  // What the executor itself holds now: activations, logits, decoded and rearranged parameters;
  // neither the coded parameters (they stay where they are) nor the sequences.
  uint64_t memory_bytes() const;

 private:
  void run_batch(std::span<const int64_t> wanted, float* logits);
  void narrow(std::span<const int64_t> wanted);

  ThreadPool& pool_;
  int64_t max_batch_tokens_;
  int64_t vocabulary_ = 0;
  int64_t output_channels_ = 0;
  ValueId output_ = kNoValue;
  bool output_outside_ = false;    // the last node writes straight into logits_
  size_t narrow_before_ = 0;       // the first node after the last that looks across positions
  std::vector<ValueId> narrowed_;  // the activations alive there
  std::vector<int64_t> channels_;  // [values]
  std::vector<int64_t> offsets_;   // [values], see MemoryPlan
  int64_t row_elements_ = 0;
  std::vector<KvShape> cache_shapes_;  // of the attention nodes
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<std::shared_ptr<LinearKernel>> kernels_;    // of the steps, each once
  std::vector<std::span<const std::byte>> step_weights_;  // [steps], empty for most
  bool release_weights_ = false;
  uint64_t decoded_bytes_ = 0;  // of kernels that keep decoded weights
  std::unique_ptr<Batch> batch_;

  struct Buffer {  // uninitialised float32, aligned to a cache line, grows and never shrinks
    std::unique_ptr<float[]> memory;
    int64_t capacity = 0;
    float* data = nullptr;
    void reserve(int64_t elements);
  };
  Buffer arena_;
  Buffer logits_;
};

}  // namespace bitsmith

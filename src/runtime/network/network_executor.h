// Runs networks of tensors (images in, logits out): float32, or 8-bit codes where the network is
// quantized; SIMD kernels, no torch.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "formats/model.h"
#include "runtime/network/arithmetic.h"
#include "runtime/network/network_operator.h"

namespace bitsmith {

// An image's results are the same, bit for bit, whatever else is in the batch and for any number of
// threads. A batch is cut into parts that fit the L2 cache and run on a thread each; fewer images
// than threads share all threads, operator by operator.
//
// Not for use from two threads at once.
class NetworkExecutor {
 public:
  // Activations of the images that a thread works on at a time, if there is more than one.
  static constexpr int64_t kPartBytes = 1 << 20;

  // Folds batch norms into the layers before them, decodes and packs the parameters.
  // Throws kUnsupported, naming the node, for what has no native implementation, and for
  // activations that would not fit into memory.
  NetworkExecutor(Model model, ThreadPool& pool, Products products = Products::kAuto);
  ~NetworkExecutor();
  NetworkExecutor(const NetworkExecutor&) = delete;
  NetworkExecutor& operator=(const NetworkExecutor&) = delete;

  // The network's inputs and outputs; their first extent may be kBatch.
  const std::vector<Shape>& inputs() const { return inputs_; }
  const std::vector<Shape>& outputs() const { return outputs_; }
  // Images in one run: 0 for any number, or what all inputs are made for.
  int64_t fixed_images() const { return fixed_images_; }

  // Returns the outputs, [images or the fixed extent, ...] each, plain.
  //   inputs: one for each of the network's, [images or the fixed extent, ...], plain
  std::vector<std::vector<float>> run(std::span<const std::span<const float>> inputs,
                                      int64_t images);

  // The kernels in use, each once, with the number of nodes: "19 x float32 convolution".
  std::vector<std::string> kernel_names() const;
  const NetworkArithmetic& arithmetic() const { return arithmetic_; }
  // Packed and decoded parameters, and activations so far.
  uint64_t memory_bytes() const;

 private:
  struct Arena;

  void plan();
  void check_inputs(std::span<const std::span<const float>> inputs, int64_t images) const;
  void run_part(NetworkFrame& frame, Arena& arena, std::span<const std::span<const float>> inputs,
                int64_t first, std::vector<std::vector<float>>& outputs) const;

  ThreadPool& pool_;
  ThreadPool serial_{1};
  Model model_;  // kernels may read its parameters where they lie
  Graph graph_;  // laid out
  std::vector<Layout> layouts_;
  Encodings encodings_;
  NetworkArithmetic arithmetic_;
  std::map<ValueId, std::vector<float>> decoded_;
  std::vector<std::unique_ptr<NetworkStep>> steps_;
  std::vector<std::vector<size_t>> in_place_;  // [nodes]
  std::vector<Shape> inputs_;
  std::vector<Shape> outputs_;
  int64_t fixed_images_ = 0;
  std::vector<int64_t> offsets_;  // [values], see MemoryPlan
  int64_t row_elements_ = 0;      // of activations, for each image, in float32
  std::vector<std::unique_ptr<Arena>> arenas_;
};

}  // namespace bitsmith

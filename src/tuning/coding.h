// Codes for the weights of a tuned network: fixed share by share (INQ), always there with the
// weights below them learning (straight through), or with shared values that are tuned while the
// codes stay.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "codecs/codec.h"
#include "core/thread_pool.h"
#include "tuning/tuned_network.h"

namespace bitsmith {

// One matrix under an encoder whose parameters (scales, codebooks) were fitted once and stay, so
// that a weight that has its code keeps its value while others are still trained.
class CodedMatrix {
 public:
  // Fits the encoder to `values` [rows, cols].
  CodedMatrix(const Scheme& scheme, const Shape& shape, const at::Tensor& values, int search_steps,
              ThreadPool& pool);

  // The nearest codes for all weights under the fitted parameters, and what they decode to, of the
  // tensor's shape. The last call's codes are those that bytes() writes.
  at::Tensor quantize(const at::Tensor& values, ThreadPool& pool);
  std::vector<std::byte> bytes() const;
  // Consecutive columns that are coded as one.
  int64_t block_cols() const { return encoder_->block_cols(); }
  const Scheme& scheme() const { return scheme_; }

 private:
  Scheme scheme_;
  Shape shape_;
  MatrixShape matrix_;
  std::unique_ptr<Encoder> encoder_;
};

// Holds weights at what a codec makes of them while the network is trained. Weights that are held
// already (pruned) are coded as zeros: a code without a zero gives them its nearest level.
class WeightQuantizer {
 public:
  //   schemes: of matrices by name; a matrix without one is not quantized
  WeightQuantizer(TunedNetwork& network, const std::map<std::string, Scheme>& schemes,
                  int search_steps, ThreadPool& pool);
  // Incremental quantization (Zhou et al. 2017, arXiv:1702.03044): a share of each matrix is held
  // and the rest is trained on. Largest weights first; weights that are coded as one are held
  // together.  share in [0, 1] of what was not held at the beginning; at 1 all are held.
  void hold_share(double share, ThreadPool& pool);
  // All are held, and the numbers below them go on learning from the gradients of their codes
  // (straight-through estimator: Bengio et al. 2013, arXiv:1308.3432). Called before each step.
  void hold_straight_through(ThreadPool& pool);
  // After hold_share(1) or hold_straight_through(): the coded matrices by name.
  const std::map<std::string, CodedMatrix>& matrices() const { return matrices_; }

 private:
  void hold_share_of(TunedParameter& parameter, CodedMatrix& matrix, double share,
                     ThreadPool& pool) const;

  TunedNetwork& network_;
  std::map<std::string, CodedMatrix> matrices_;
  std::map<std::string, at::Tensor> free_;  // bool: not held at the beginning
};

// Shares equal values: the different values of the parameter become its numbers, ascending, and
// each weight the code of its value; zeros stay zero. Returns how many numbers there are.
int64_t share_values(TunedParameter& parameter);

}  // namespace bitsmith

// The activations that transforms ask for, measured block by block.
#pragma once

#include <map>
#include <memory>

#include "pipeline/block_runner.h"
#include "pipeline/tasks.h"
#include "transforms/layer_inputs.h"

namespace bitsmith {

// Runs the network of context.model over the calibration samples as far as it is asked.
class MeasuredInputs final : public LayerInputs {
 public:
  // All are used, not owned. Without `products` there are mean_squares() and no second_moment().
  MeasuredInputs(const Context& context, const CalibrationSet& calibration, bool products = true);

  const std::vector<double>& second_moment(size_t node) override { return at(node).moment; }
  // Of each column.
  const std::vector<double>& mean_squares(size_t node) { return at(node).squares; }
  const ChannelSpread& spread(size_t node) override { return at(node).spread; }

 private:
  struct Measured {
    std::vector<double> moment;
    std::vector<double> squares;
    ChannelSpread spread;
  };
  const Measured& at(size_t node);
  void measure(size_t block);

  const Context& context_;
  const CalibrationSet& calibration_;
  SecondMoment::Part part_;
  std::vector<Block> blocks_;
  std::map<size_t, std::pair<size_t, size_t>> places_;  // of nodes: block, operand
  std::map<size_t, int64_t> sizes_;                     // of operands: columns
  ActivationStore activations_;                         // inputs of block next_
  size_t next_ = 0;
  std::map<size_t, Measured> measured_;  // of block next_ - 1, by operand
};

}  // namespace bitsmith

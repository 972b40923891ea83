// Steps of operators that compute each element from one element of each input.
#pragma once

#include "runtime/native_operator.h"

namespace bitsmith {

// y = kKernel(x), in about kCost float operations for an element.
template <void (*kKernel)(const float* x, int64_t count, float* y) noexcept, int64_t kCost>
class UnaryStep final : public Step {
 public:
  UnaryStep(Preparation& preparation, const Node& node)
      : channels_(preparation.channels(node.outputs[0])), x_(node.inputs[0]), y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* x = batch.data(x_);
    float* y = batch.data(y_);
    for_rows(batch, batch.rows(), kCost * channels_, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * channels_;
      kKernel(x + first, (end - begin) * channels_, y + first);
    });
  }

 private:
  int64_t channels_;
  ValueId x_;
  ValueId y_;
};

// y = kKernel(x, number), a number that is an attribute of the node.
template <void (*kKernel)(const float* x, float number, int64_t count, float* y) noexcept,
          int64_t kCost>
class NumberStep final : public Step {
 public:
  NumberStep(Preparation& preparation, const Node& node, const char* attribute)
      : channels_(preparation.channels(node.outputs[0])),
        number_(static_cast<float>(node.number(attribute))),
        x_(node.inputs[0]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* x = batch.data(x_);
    float* y = batch.data(y_);
    for_rows(batch, batch.rows(), kCost * channels_, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * channels_;
      kKernel(x + first, number_, (end - begin) * channels_, y + first);
    });
  }

 private:
  int64_t channels_;
  float number_;
  ValueId x_;
  ValueId y_;
};

// y = kKernel(a, b), both of the output's shape.
template <void (*kKernel)(const float* a, const float* b, int64_t count, float* y) noexcept,
          int64_t kCost>
class BinaryStep final : public Step {
 public:
  BinaryStep(Preparation& preparation, const Node& node)
      : channels_(preparation.equal_channels(node)),
        a_(node.inputs[0]),
        b_(node.inputs[1]),
        y_(node.outputs[0]) {}

  void run(Batch& batch) override {
    const float* a = batch.data(a_);
    const float* b = batch.data(b_);
    float* y = batch.data(y_);
    for_rows(batch, batch.rows(), kCost * channels_, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * channels_;
      kKernel(a + first, b + first, (end - begin) * channels_, y + first);
    });
  }

 private:
  int64_t channels_;
  ValueId a_;
  ValueId b_;
  ValueId y_;
};

}  // namespace bitsmith

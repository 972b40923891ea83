// linear and matmul of graph/operators_matrix.h.
#include <algorithm>
#include <optional>

#include "runtime/kernels/conv_float.h"
#include "runtime/kernels/elementwise.h"
#include "runtime/network/network_operator.h"
#include "runtime/network/strided_loop.h"

namespace bitsmith {
namespace {

// Plain float weights, as a convolution of images of one pixel.
class FloatLinear final : public NetworkStep {
 public:
  FloatLinear(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {
    ConvShape shape;
    shape.channels = x_.shape.back();
    shape.outputs = y_.shape.back();
    const std::vector<float> weights = p.numbers(node.inputs[1]);
    const std::vector<float> bias = p.numbers(node.inputs[2]);
    const Limits limits(node);
    kernel_.emplace(FloatConvSpec{shape, weights, bias, limits.low, limits.high});
  }

  void run(NetworkFrame& frame) const override {
    const int64_t rows = *element_count(x_.extents(frame)) / kernel_->shape().channels;
    kernel_->run(x_.data(frame), rows, y_.data(frame), *frame.pool);
  }
  std::string_view kernel_name() const override { return "float32 matrix product"; }
  uint64_t memory_bytes() const override { return static_cast<uint64_t>(kernel_->memory_bytes()); }

 private:
  Operand x_, y_;
  std::optional<FloatConv> kernel_;
};

// Coded weights, by the kernel of their codec.
class CodedLinear final : public NetworkStep {
 public:
  CodedLinear(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        kernel_(make_linear_kernel(p.parameter(node.inputs[1]))),
        bias_(p.numbers(node.inputs[2])),
        limits_(node) {}

  void run(NetworkFrame& frame) const override {
    const int64_t cols = x_.shape.back();
    const int64_t outputs = y_.shape.back();
    const int64_t rows = *element_count(x_.extents(frame)) / cols;
    float* y = y_.data(frame);
    Activations x(x_.data(frame), rows, cols);
    kernel_->multiply(x, y, outputs, *frame.pool);
    if (!bias_.empty()) add_bias(bias_.data(), rows, outputs, outputs, y);
    for (int64_t i = 0; i < rows * outputs; ++i) y[i] = std::clamp(y[i], limits_.low, limits_.high);
  }
  std::string_view kernel_name() const override { return kernel_->name(); }

 private:
  Operand x_, y_;
  std::unique_ptr<LinearKernel> kernel_;
  std::vector<float> bias_;
  Limits limits_;
};

std::unique_ptr<NetworkStep> make_linear(NetworkPreparation& p, const Node& node) {
  const std::string& codec = p.parameter(node.inputs[1]).scheme.codec->info().id;
  if (codec == "f32" || codec == "f16" || codec == "bf16") return make_step<FloatLinear>(p, node);
  return make_step<CodedLinear>(p, node);
}

// Row by row: y[m] = sum over k of a[m, k] * b[k], k ascending.
class Matmul final : public NetworkStep {
 public:
  Matmul(NetworkPreparation& p, const Node& node)
      : a_(p.input(node, 0)), b_(p.input(node, 1)), y_(p.output(node)) {
    if (a_.shape.back() == kBatch) refuse_node(node, "sums over the images of a batch");
  }

  void run(NetworkFrame& frame) const override {
    const Shape a_extents = a_.extents(frame);
    const Shape b_extents = b_.extents(frame);
    const Shape extents = y_.extents(frame);
    const size_t axes = extents.size() - 2;  // before the matrices
    const int64_t depth = a_extents.back();
    const int64_t cols = extents.back();
    // The rows of a and y stay an axis of the loop, so that it has work to share.
    Shape walked(extents.begin(), extents.end() - 1);
    const auto strides = [&](const Operand& x, const Shape& own, bool rows) {
      const Shape all = x.strides(frame);
      const auto end = static_cast<std::ptrdiff_t>(own.size() - 2);
      Shape result = broadcast_strides(Shape(own.begin(), own.begin() + end),
                                       Shape(all.begin(), all.begin() + end), axes);
      result.push_back(rows ? all[own.size() - 2] : 0);
      return result;
    };
    const StridedLoop<3> loop(walked, {strides(y_, extents, true), strides(a_, a_extents, true),
                                       strides(b_, b_extents, false)});
    loop.run(*frame.pool, 2 * depth * cols, [&](const std::array<int64_t, 3>& at, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        float* y = y_.data(frame) + at[0] + i * loop.step(0);
        const float* a = a_.data(frame) + at[1] + i * loop.step(1);
        const float* b = b_.data(frame) + at[2] + i * loop.step(2);
        std::fill_n(y, cols, 0.0f);
        for (int64_t k = 0; k < depth; ++k) {
          for (int64_t n = 0; n < cols; ++n) y[n] += a[k] * b[k * cols + n];
        }
      }
    });
  }

 private:
  Operand a_, b_, y_;
};

const NetworkOperators operators = {
    {{"linear", "matrix product with a weight, and a bias", "", {}},
     LayoutRule::kPlain,
     make_linear,
     {},
     true},
    {{"matmul", "matrix products of two tensors", "", {}}, LayoutRule::kPlain, make_step<Matmul>},
};

}  // namespace
}  // namespace bitsmith

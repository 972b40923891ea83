// Operators on 8-bit codes, which lower_to_integers.h puts in: their names are "int8." and that of
// the operator whose work they do.
#include <algorithm>
#include <numeric>
#include <optional>
#include <variant>

#include "runtime/kernels/conv_int8.h"
#include "runtime/kernels/conv_shift.h"
#include "runtime/kernels/int8_elementwise.h"
#include "runtime/network/integer_layer.h"
#include "runtime/network/pools.h"
#include "runtime/network/strided_loop.h"
#include "runtime/network/unary.h"

namespace bitsmith {
namespace {

uint8_t byte(int32_t code) { return static_cast<uint8_t>(code); }

// The codes that an activation joined to a node leaves: clamping a number and then rounding it is
// rounding it and then clamping it.
struct CodeLimits {
  CodeLimits(const Node& node, const Encoding& y) {
    const Limits limits(node);
    const auto code = [&](float limit) {
      const double rounded = std::nearbyint(static_cast<double>(limit) / y.scale) + y.zero;
      return static_cast<int32_t>(std::clamp<double>(rounded, y.low, y.high));
    };
    low = code(limits.low);
    high = code(limits.high);
  }
  int32_t low;
  int32_t high;
};

// conv and linear. Gives codes or, at the end of the integers, float32.
class Int8Layer final : public NetworkStep {
 public:
  Int8Layer(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {
    const Shape& weight = p.graph().value(node.inputs[1]).shape;
    ConvShape shape;
    shape.outputs = weight[0];
    if (node.op == "int8.linear") {
      shape.channels = weight[1];
    } else {
      shape.channels = x_.shape[1];
      shape.groups = node.integer("groups");
      set_window(window_axes(node, x_.shape, std::span(weight).subspan(2)), shape);
      check_padding(node, shape, sizeof(int16_t));
    }
    const auto layer =
        make_integer_layer(p.numbers(node.inputs[1]), shape.outputs, p.numbers(node.inputs[2]),
                           x_.encoding->scale, byte(x_.encoding->zero));
    BITSMITH_ASSERT(layer.has_value());
    ShiftConvSpec spec;
    spec.shape = shape;
    spec.weights = layer->weights;
    spec.bias = layer->bias;
    spec.x_zero = byte(x_.encoding->zero);
    std::vector<Dyadic> scales;
    std::vector<float> number_scales;
    if (y_.encoding) {
      for (const double s : layer->scales) scales.push_back(make_dyadic(s / y_.encoding->scale));
      const CodeLimits limits(node, *y_.encoding);
      spec.scales = scales;
      spec.y_zero = byte(y_.encoding->zero);
      spec.y_min = byte(limits.low);
      spec.y_max = byte(limits.high);
    } else {
      for (const double s : layer->scales) number_scales.push_back(static_cast<float>(s));
      const Limits limits(node);
      spec.number_scales = number_scales;
      spec.low = limits.low;
      spec.high = limits.high;
    }
    const bool faster = p.products() == Products::kAuto && ShiftConv::pays(spec);
    if (!layer->is_int8 || p.products() == Products::kShift || faster) {
      kernel_.emplace(std::in_place_type<ShiftConv>, spec);
    } else {
      const std::vector<int8_t> bytes(layer->weights.begin(), layer->weights.end());
      kernel_.emplace(
          std::in_place_type<Int8Conv>,
          Int8ConvSpec{shape, bytes, spec.bias, spec.scales, spec.x_zero, spec.y_zero, spec.y_min,
                       spec.y_max, spec.number_scales, spec.low, spec.high});
    }
  }

  void run(NetworkFrame& frame) const override {
    std::visit(
        [&](const auto& kernel) {
          const ConvShape& shape = kernel.shape();
          const int64_t count = *element_count(x_.extents(frame));
          const int64_t images = count / (shape.channels * shape.height * shape.width);
          if (y_.encoding) {
            kernel.run(x_.codes(frame), images, y_.codes(frame), *frame.pool);
          } else {
            kernel.run(x_.codes(frame), images, y_.data(frame), *frame.pool);
          }
        },
        *kernel_);
  }
  std::string_view kernel_name() const override {
    return std::visit([](const auto& kernel) { return kernel.name(); }, *kernel_);
  }
  uint64_t memory_bytes() const override {
    return static_cast<uint64_t>(
        std::visit([](const auto& kernel) { return kernel.memory_bytes(); }, *kernel_));
  }

 private:
  Operand x_, y_;
  std::optional<std::variant<Int8Conv, ShiftConv>> kernel_;
};

// add and multiply, broadcast. Kernel is Int8Add or Int8Multiply.
template <class Kernel,
          void (*kRun)(const Kernel&, const uint8_t*, const uint8_t*, int64_t, uint8_t*) noexcept>
class Int8Binary final : public NetworkStep {
 public:
  Int8Binary(NetworkPreparation& p, const Node& node)
      : a_(p.input(node, 0)), b_(p.input(node, 1)), y_(p.output(node)) {
    const Encoding& a = *a_.encoding;
    const Encoding& b = *b_.encoding;
    const Encoding& y = *y_.encoding;
    if constexpr (std::is_same_v<Kernel, Int8Add>) {
      kernel_.scales = make_dyadic_pair(a.scale / y.scale, b.scale / y.scale);
    } else {
      kernel_.scale = make_dyadic(a.scale * b.scale / y.scale);
    }
    const CodeLimits limits(node, y);
    kernel_.a_zero = a.zero;
    kernel_.b_zero = b.zero;
    kernel_.y_zero = y.zero;
    kernel_.y_min = limits.low;
    kernel_.y_max = limits.high;
  }

  void run(NetworkFrame& frame) const override {
    const Shape extents = y_.extents(frame);
    const auto strides = [&](const Operand& x) {
      return broadcast_strides(x.extents(frame), x.strides(frame), extents.size());
    };
    const StridedLoop<3> loop(extents, {y_.strides(frame), strides(a_), strides(b_)});
    loop.run(*frame.pool, 1, [&](const std::array<int64_t, 3>& at, int64_t count) {
      uint8_t* y = y_.codes(frame) + at[0];
      const uint8_t* a = a_.codes(frame) + at[1];
      const uint8_t* b = b_.codes(frame) + at[2];
      if (loop.step(0) == 1 && loop.step(1) == 1 && loop.step(2) == 1) {
        kRun(kernel_, a, b, count, y);
        return;
      }
      for (int64_t i = 0; i < count; ++i) {
        y[i * loop.step(0)] = kernel_(a[i * loop.step(1)], b[i * loop.step(2)]);
      }
    });
  }
  std::string_view kernel_name() const override { return "int8 sums and products"; }

 private:
  Operand a_, b_, y_;
  Kernel kernel_;
};

// body(begin, end) for parts of [0, count) elements that lie one after the other.
template <class Body>
void for_elements(const NetworkFrame& frame, int64_t count, const Body& body) {
  constexpr int64_t kPart = 1 << 15;
  frame.pool->run(ceil_div(count, kPart),
                  [&](int64_t i, int) { body(i * kPart, std::min(count, (i + 1) * kPart)); });
}

// Any function of one code. Input and output have the same layout.
class Int8Lookup final : public NetworkStep {
 public:
  Int8Lookup(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {
    const Encoding& x = *x_.encoding;
    const Encoding& y = *y_.encoding;
    const std::string& function = node.text("function");
    if (function == "identity") {
      table_ = rescaling_table(x.scale / y.scale, x.zero, y.zero);
      for (uint8_t& code : table_) code = byte(std::clamp<int32_t>(code, y.low, y.high));
      return;
    }
    std::array<float, 256> numbers;
    std::array<uint8_t, 256> codes;
    std::iota(codes.begin(), codes.end(), uint8_t{0});
    dequantize(codes.data(), static_cast<float>(x.scale), x.zero, 256, numbers.data());
    apply_unary(function, node, numbers);
    quantize(numbers.data(), static_cast<float>(y.scale), y.zero, 256, table_.data());
    for (uint8_t& code : table_) code = byte(std::clamp<int32_t>(code, y.low, y.high));
  }

  void run(NetworkFrame& frame) const override {
    for_elements(frame, *element_count(y_.extents(frame)), [&](int64_t begin, int64_t end) {
      look_up(table_, x_.codes(frame) + begin, end - begin, y_.codes(frame) + begin);
    });
  }
  std::string_view kernel_name() const override { return "int8 lookup table"; }

 private:
  Operand x_, y_;
  Int8Table table_;
};

class Int8MaxPool final : public NetworkStep {
 public:
  Int8MaxPool(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)), y_(p.output(node)), shape_(pool_shape(node, x_.shape)) {}

  void run(NetworkFrame& frame) const override {
    pool_images(frame, shape_, x_.extents(frame)[0], x_.codes(frame), y_.codes(frame),
                [&](const uint8_t* x, uint8_t* y) { max_pool(shape_, x, 1, y); });
  }
  std::string_view kernel_name() const override { return "int8 pool"; }

 private:
  Operand x_, y_;
  PoolShape shape_;
};

// Means over windows.
class Int8WindowMean final : public NetworkStep {
 public:
  Int8WindowMean(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)), y_(p.output(node)) {
    const Encoding& x = *x_.encoding;
    const Encoding& y = *y_.encoding;
    kernel_.emplace(pool_shape(node, x_.shape), x.scale / y.scale, byte(x.zero), byte(y.zero));
    kernel_->y_min = byte(y.low);
    kernel_->y_max = byte(y.high);
  }

  void run(NetworkFrame& frame) const override {
    pool_images(frame, kernel_->shape, x_.extents(frame)[0], x_.codes(frame), y_.codes(frame),
                [&](const uint8_t* x, uint8_t* y) { average_pool(*kernel_, x, 1, y); });
  }
  std::string_view kernel_name() const override { return "int8 pool"; }
  uint64_t memory_bytes() const override { return kernel_->scales.size() * sizeof(Dyadic); }

 private:
  Operand x_, y_;
  std::optional<Int8AveragePool> kernel_;
};

// Means over whole images. Gives codes or, at the end of the integers, float32.
class Int8Mean final : public NetworkStep {
 public:
  Int8Mean(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        channels_(x_.shape[1]),
        pixels_(x_.shape[2] * (x_.shape.size() == 4 ? x_.shape[3] : 1)) {
    const double scale = x_.encoding->scale / static_cast<double>(pixels_);
    number_scale_ = static_cast<float>(scale);
    if (y_.encoding) scale_ = make_dyadic(scale / y_.encoding->scale);
  }

  void run(NetworkFrame& frame) const override {
    frame.pool->run(x_.extents(frame)[0], [&](int64_t image, int) {
      const uint8_t* x = x_.codes(frame) + image * pixels_ * channels_;
      const auto start = static_cast<int32_t>(-x_.encoding->zero * pixels_);
      std::vector<int32_t> sums(static_cast<size_t>(channels_), start);
      for (int64_t pixel = 0; pixel < pixels_; ++pixel, x += channels_) {
        for (size_t c = 0; c < sums.size(); ++c) sums[c] += x[c];
      }
      for (size_t c = 0; c < sums.size(); ++c) {
        const int64_t at = image * channels_ + static_cast<int64_t>(c);
        if (y_.encoding) {
          const Encoding& y = *y_.encoding;
          y_.codes(frame)[at] = requantize(sums[c], scale_, y.zero, y.low, y.high);
        } else {
          y_.data(frame)[at] = number_scale_ * static_cast<float>(sums[c]);
        }
      }
    });
  }
  std::string_view kernel_name() const override { return "int8 pool"; }

 private:
  Operand x_, y_;
  int64_t channels_;
  int64_t pixels_;
  float number_scale_ = 1;
  Dyadic scale_;
};

// NaN becomes the zero point.
class Int8Quantize final : public NetworkStep {
 public:
  Int8Quantize(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {
    const Encoding& y = *y_.encoding;
    clamped_ = y.low > 0 || y.high < 255;
    for (int32_t code = 0; code < 256; ++code) {
      clamp_[static_cast<size_t>(code)] = byte(std::clamp(code, y.low, y.high));
    }
  }

  void run(NetworkFrame& frame) const override {
    const Encoding& encoding = *y_.encoding;
    for_elements(frame, *element_count(y_.extents(frame)), [&](int64_t begin, int64_t end) {
      uint8_t* y = y_.codes(frame) + begin;
      quantize(x_.data(frame) + begin, static_cast<float>(encoding.scale), encoding.zero,
               end - begin, y);
      if (clamped_) look_up(clamp_, y, end - begin, y);
    });
  }

 private:
  Operand x_, y_;
  bool clamped_ = false;
  Int8Table clamp_;
};

class Int8Dequantize final : public NetworkStep {
 public:
  Int8Dequantize(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        scale_(static_cast<float>(node.number("scale"))),
        zero_(static_cast<int32_t>(node.integer("zero"))) {}

  void run(NetworkFrame& frame) const override {
    for_elements(frame, *element_count(y_.extents(frame)), [&](int64_t begin, int64_t end) {
      dequantize(x_.codes(frame) + begin, scale_, zero_, end - begin, y_.data(frame) + begin);
    });
  }

 private:
  Operand x_, y_;
  float scale_;
  int32_t zero_;
};

NetworkOperator op(const char* id, const char* summary, LayoutRule rule,
                   decltype(&make_step<Int8Layer>) prepare, std::vector<size_t> in_place = {}) {
  NetworkOperator result{{id, summary, "", {}}, rule, prepare, std::move(in_place)};
  result.reads_past_end = prepare == &make_step<Int8Layer>;
  return result;
}

const NetworkOperators operators = {
    op("int8.conv", "cross-correlation of codes", LayoutRule::kChannelsLast, make_step<Int8Layer>),
    op("int8.linear", "matrix product of codes with a weight", LayoutRule::kPlain,
       make_step<Int8Layer>),
    op("int8.add", "sum of codes", LayoutRule::kFollow, make_step<Int8Binary<Int8Add, add>>,
       {0, 1}),
    op("int8.multiply", "product of codes", LayoutRule::kFollow,
       make_step<Int8Binary<Int8Multiply, multiply>>, {0, 1}),
    op("int8.table", "function of a code", LayoutRule::kFollow, make_step<Int8Lookup>, {0}),
    op("int8.max_pool", "largest code of a sliding window", LayoutRule::kChannelsLast,
       make_step<Int8MaxPool>),
    op("int8.average_pool", "mean of the codes of a sliding window", LayoutRule::kChannelsLast,
       make_step<Int8WindowMean>),
    op("int8.reduce_mean", "mean of the codes of an image", LayoutRule::kChannelsLast,
       make_step<Int8Mean>),
    op("int8.quantize", "codes of numbers", LayoutRule::kFollow, make_step<Int8Quantize>),
    op("int8.dequantize", "numbers from codes", LayoutRule::kFollow, make_step<Int8Dequantize>),
};

}  // namespace
}  // namespace bitsmith

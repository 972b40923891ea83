// Quantized networks: the executor against a plain integer reference, bit for bit.
#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <set>

#include "formats/model_testing.h"
#include "graph/operators.h"
#include "runtime/kernels/conv_integer.h"
#include "runtime/kernels/int8_elementwise.h"
#include "runtime/kernels/pool.h"
#include "runtime/kernels/targets_test.h"
#include "runtime/network/integer_layer.h"
#include "runtime/network/lay_out.h"
#include "runtime/network/lower_to_integers.h"
#include "runtime/network/network_executor.h"
#include "runtime/network/unary.h"
#include "runtime/network/window.h"

namespace bitsmith {
namespace {

// A model whose weights are whole multiples of a number for each row.
class QuantizedModel {
 public:
  Model model;
  Graph& graph = model.graph;

  ValueId parameter(const std::string& name, const Shape& shape,
                    const std::vector<float>& numbers) {
    const ValueId id = graph.add_parameter(name, shape, "test");
    model_testing::set_parameter(model, name, shape, numbers);
    return id;
  }

  // Codes of `bits`, with signs of the scale as the codec `int` has them: of variance 1/inputs.
  ValueId weight(const std::string& name, const Shape& shape, int bits = 8) {
    const auto count = static_cast<size_t>(*element_count(shape));
    const size_t inputs = count / static_cast<size_t>(shape[0]);
    const int half = 1 << (bits - 1);
    std::vector<float> numbers;
    for (size_t o = 0; o < static_cast<size_t>(shape[0]); ++o) {
      const double spread = 1.7 / std::sqrt(static_cast<double>(inputs)) / half;
      const auto scale = static_cast<float>(spread * (o % 3 == 1 ? -1.0 : 1.0));
      for (size_t i = 0; i < inputs; ++i) {
        const auto code = static_cast<int>(random_.below(static_cast<uint64_t>(2 * half))) - half;
        numbers.push_back(static_cast<float>(i == 0 ? -half : code) * scale);
      }
    }
    return parameter(name, shape, numbers);
  }
  // Powers of two over a range that 8 bits do not hold, of variance 1/inputs.
  ValueId powers(const std::string& name, const Shape& shape) {
    constexpr uint64_t kSpan = 13;
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    const double inputs = static_cast<double>(numbers.size()) / static_cast<double>(shape[0]);
    for (float& x : numbers) {
      const double power = std::exp2(-static_cast<double>(random_.below(kSpan)));
      x = static_cast<float>((random_.below(2) == 0 ? power : -power) * 3.1 / std::sqrt(inputs));
    }
    return parameter(name, shape, numbers);
  }
  ValueId bias(const std::string& name, int64_t count) {
    std::vector<float> numbers(static_cast<size_t>(count));
    for (float& x : numbers) x = static_cast<float>(random_.normal() * 0.3);
    return parameter(name, {count}, numbers);
  }

  // quantize and dequantize of a value in about [low, high].
  struct Codes {
    int64_t low = 0;
    int64_t high = 255;
  };
  ValueId quantized(ValueId x, double low, double high) { return quantized(x, low, high, Codes()); }
  ValueId quantized(ValueId x, double low, double high, Codes codes) {
    const std::string name = graph.value(x).name;
    const double scale = (high - low) / static_cast<double>(codes.high - codes.low);
    const double zero = std::nearbyint(static_cast<double>(codes.low) - low / scale);
    const ValueId s = parameter(name + ".scale", {}, {static_cast<float>(scale)});
    const ValueId z = parameter(name + ".zero_point", {}, {static_cast<float>(zero)});
    const ValueId q = ops::quantize(graph, name + ".q", x, s, z, 0, codes.low, codes.high);
    return ops::dequantize(graph, name + ".dq", q, s, z, 0);
  }

 private:
  Random random_{11};
};

const ops::Window kSame{{1, 1}, {1, 1}, {1, 1, 1, 1}};
const ops::Window kHalf{{2, 2}, {1, 1}, {1, 1, 1, 1}};
const ops::Window kPixel{{1, 1}, {1, 1}, {0, 0, 0, 0}};

// Every operator that has an integer kernel: signed codes, codes of 4 bits, branches of different
// scales, squeeze-and-excitation.
Model everything(bool powers = false) {
  QuantizedModel m;
  Graph& g = m.graph;
  const auto weight = [&](const std::string& name, const Shape& shape, int bits = 8) {
    return powers ? m.powers(name, shape) : m.weight(name, shape, bits);
  };
  const auto conv = [&](const std::string& name, ValueId x, const Shape& shape,
                        const ops::Window& window, int64_t groups = 1, int bits = 8) {
    return ops::conv(g, name, x, weight(name + ".w", shape, bits), m.bias(name + ".b", shape[0]),
                     window, groups);
  };
  ValueId x = m.quantized(g.add_input("x", {kBatch, 3, 13, 11}), -3, 3);
  x = m.quantized(ops::relu(g, "stem.relu", conv("stem", x, {20, 3, 3, 3}, kSame)), 0, 3);
  const ValueId a = m.quantized(conv("a", x, {20, 20, 3, 3}, kSame, 1, 4), -3, 3, {-128, 127});
  const ValueId sum =
      m.quantized(ops::relu(g, "sum.relu", ops::add(g, "sum", a, x)), 0, 4, {0, 255});
  const ValueId deep = m.quantized(
      ops::clip(g, "deep.clip", conv("deep", sum, {20, 1, 3, 3}, kHalf, 20), -0.5, 2), -0.5, 2);
  const ValueId few = m.quantized(conv("few", sum, {8, 10, 3, 3}, kHalf, 2), -2, 2, {0, 15});
  const ValueId largest = ops::max_pool(g, "largest", sum, {3, 3}, kHalf);
  const ValueId mean = m.quantized(ops::average_pool(g, "mean", sum, {3, 3}, kHalf), 0, 3);
  const ValueId both = m.quantized(ops::concat(g, "both", {deep, few, largest, mean}, 1), -2, 4);
  const ValueId swish =
      m.quantized(ops::unary(g, "hard_swish", "swish",
                             m.quantized(conv("wide", both, {24, 68, 1, 1}, kPixel), -4, 4)),
                  -0.5, 4);
  const ValueId squeeze =
      m.quantized(ops::reduce(g, "reduce_mean", "squeeze", swish, {2, 3}, true), -0.5, 2);
  const ValueId gate =
      m.quantized(ops::unary(g, "sigmoid", "gate",
                             m.quantized(conv("excite", squeeze, {24, 24, 1, 1}, kPixel), -3, 3)),
                  0, 1);
  const ValueId gated = m.quantized(ops::multiply(g, "gated", swish, gate), -0.5, 3);
  // A shortcut that is moved only: every second pixel, more channels.
  const ValueId shortcut = ops::pad(
      g, "shortcut.pad", ops::slice(g, "shortcut", gated, {{2, 3}, {0, 0}, {2, 2}, {4, 3}}),
      {0, 4, 0, 0, 0, 4, 0, 0});
  const ValueId last = m.quantized(conv("last", gated, {32, 24, 3, 3}, kHalf), -4, 4);
  const ValueId rest = m.quantized(ops::add(g, "rest", last, shortcut), -4, 5);
  const ValueId turned = ops::transpose(g, "turned", rest, {0, 2, 3, 1});
  const ValueId flat = ops::reshape(g, "flat", turned, {kBatch, 4 * 3 * 32});
  const ValueId hidden = m.quantized(
      ops::relu(
          g, "hidden.relu",
          ops::linear(g, "hidden", flat, weight("hidden.w", {40, 384}), m.bias("hidden.b", 40))),
      0, 3);
  const ValueId logits =
      ops::linear(g, "head", hidden, weight("head.w", {10, 40}), m.bias("head.b", 10));
  const ValueId pooled =
      m.quantized(ops::reduce(g, "reduce_mean", "pooled", rest, {2, 3}, false), -2, 2);
  const ValueId mean_logits = ops::reduce(g, "reduce_mean", "mean_logits", rest, {2, 3}, false);
  g.outputs = {logits, pooled, mean_logits};
  return m.model;
}

// The network's definition on integers, image by image in plain layout, from the specifications of
// the kernels; independent of lowering, layouts and memory plans.
class PlainIntegers {
 public:
  explicit PlainIntegers(const Model& model)
      : model_(model), graph_(join_activations(model.graph)) {}

  std::vector<std::vector<float>> run(std::span<const float> image) {
    numbers_.clear();
    codes_.clear();
    numbers_[graph_.inputs[0]].assign(image.begin(), image.end());
    for (const Node& node : graph_.nodes) step(node);
    std::vector<std::vector<float>> outputs;
    for (const ValueId id : graph_.outputs) {
      if (!numbers_.contains(id)) {
        const Coded& x = codes_.at(id);
        for (const uint8_t code : x.codes) {
          const float number = static_cast<float>(code - x.encoding.zero);
          numbers_[id].push_back(number * static_cast<float>(x.encoding.scale));
        }
      }
      outputs.push_back(numbers_.at(id));
    }
    return outputs;
  }

 private:
  struct Coded {
    std::vector<uint8_t> codes;
    Encoding encoding;
  };

  std::vector<float> parameter(ValueId id) const {
    return id == kNoValue ? std::vector<float>()
                          : model_.parameter(graph_.value(id).name).decode_all();
  }
  Shape shape(ValueId id) const {
    Shape shape = graph_.value(id).shape;
    std::ranges::replace(shape, kBatch, int64_t{1});
    return shape;
  }
  Encoding encoding(const Node& quantize) const {
    const int32_t offset = quantize.integer("low") < 0 ? 128 : 0;
    return {parameter(quantize.inputs[1])[0],
            static_cast<int32_t>(parameter(quantize.inputs[2])[0]) + offset,
            static_cast<int32_t>(quantize.integer("low")) + offset,
            static_cast<int32_t>(quantize.integer("high")) + offset};
  }
  const Node* reader(ValueId id) const {
    for (const Node& node : graph_.nodes) {
      if (std::ranges::count(node.inputs, id) > 0 && node.op == "quantize") return &node;
    }
    return nullptr;
  }
  const Coded& codes(const Node& node, size_t i) const { return codes_.at(node.inputs[i]); }

  // Images between [C, H, W] and [H, W, C].
  template <class T>
  static std::vector<T> turned(const std::vector<T>& x, int64_t outer, int64_t inner) {
    std::vector<T> y(x.size());
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t j = 0; j < inner; ++j) {
        y[static_cast<size_t>(j * outer + i)] = x[static_cast<size_t>(i * inner + j)];
      }
    }
    return y;
  }

  void step(const Node& node) {
    const ValueId out = node.outputs[0];
    const Node* next = reader(out);
    Coded y;
    if (node.op == "quantize") {
      y.encoding = encoding(node);
      if (codes_.contains(node.inputs[0])) {
        y.codes = rescaled(codes(node, 0), y.encoding);
      } else {
        for (const float x : numbers_.at(node.inputs[0])) {
          const double code = std::nearbyint(x / static_cast<float>(y.encoding.scale));
          y.codes.push_back(static_cast<uint8_t>(
              std::clamp<double>(code + y.encoding.zero, y.encoding.low, y.encoding.high)));
        }
      }
    } else if (node.op == "dequantize") {
      y = codes(node, 0);
    } else {
      y.encoding = next != nullptr ? encoding(*next) : codes(node, 0).encoding;
      if (node.op == "conv" || node.op == "linear") {
        layer(node, y, next != nullptr);
        if (next == nullptr) return;
      } else if (node.op == "add" || node.op == "multiply") {
        binary(node, y);
      } else if (node.op.ends_with("pool") || node.op == "reduce_mean") {
        pool(node, y, next != nullptr);
        if (numbers_.contains(out)) return;
      } else if (is_unary(node.op)) {
        table(node, y);
      } else if (node.op == "concat") {
        for (const ValueId id : node.inputs) {
          const std::vector<uint8_t> part = rescaled(codes_.at(id), y.encoding);
          y.codes.insert(y.codes.end(), part.begin(), part.end());
        }
      } else {
        move(node, y);
      }
    }
    codes_[out] = y;
  }

  static std::vector<uint8_t> rescaled(const Coded& x, const Encoding& y) {
    std::vector<uint8_t> result = x.codes;
    if (x.encoding == y) return result;
    const Dyadic scale = make_dyadic(x.encoding.scale / y.scale);
    for (uint8_t& code : result) {
      code = requantize(code - x.encoding.zero, scale, y.zero, y.low, y.high);
    }
    return result;
  }

  static int32_t limit(const Node& node, const char* name, const Encoding& y, int32_t otherwise) {
    if (!node.attributes.contains(name)) return otherwise;
    const double code = std::nearbyint(node.number(name) / y.scale) + y.zero;
    return static_cast<int32_t>(std::clamp<double>(code, y.low, y.high));
  }

  void layer(const Node& node, Coded& y, bool to_codes) {
    const Coded& x = codes(node, 0);
    const Shape weight = shape(node.inputs[1]);
    ConvShape s;
    s.outputs = weight[0];
    s.channels = weight[1];
    if (node.op == "conv") {
      s.groups = node.integer("groups");
      s.channels *= s.groups;
      set_window(window_axes(node, shape(node.inputs[0]), std::span(weight).subspan(2)), s);
    }
    const auto integers =
        make_integer_layer(parameter(node.inputs[1]), s.outputs, parameter(node.inputs[2]),
                           x.encoding.scale, static_cast<uint8_t>(x.encoding.zero));
    std::vector<Dyadic> scales;
    std::vector<float> number_scales;
    for (const double scale : integers->scales) {
      if (to_codes) scales.push_back(make_dyadic(scale / y.encoding.scale));
      if (!to_codes) number_scales.push_back(static_cast<float>(scale));
    }
    ShiftConvSpec spec;
    spec.shape = s;
    spec.weights = integers->weights;
    spec.bias = integers->bias;
    spec.scales = scales;
    spec.number_scales = number_scales;
    spec.x_zero = static_cast<uint8_t>(x.encoding.zero);
    spec.y_zero = static_cast<uint8_t>(y.encoding.zero);
    spec.y_min = static_cast<uint8_t>(limit(node, "low", y.encoding, y.encoding.low));
    spec.y_max = static_cast<uint8_t>(limit(node, "high", y.encoding, y.encoding.high));
    const std::vector<uint8_t> in = turned(x.codes, s.channels, s.height * s.width);
    const auto count = static_cast<size_t>(s.pixels() * s.outputs);
    if (to_codes) {
      y.codes.resize(count);
      convolve_shift_reference(spec, in.data(), 1, y.codes.data());
      y.codes = turned(y.codes, s.pixels(), s.outputs);
    } else {
      std::vector<float> numbers(count);
      convolve_shift_reference(spec, in.data(), 1, numbers.data());
      numbers_[node.outputs[0]] = turned(numbers, s.pixels(), s.outputs);
    }
  }

  void binary(const Node& node, Coded& y) {
    const Coded& a = codes(node, 0);
    const Coded& b = codes(node, 1);
    const int32_t low = limit(node, "low", y.encoding, y.encoding.low);
    const int32_t high = limit(node, "high", y.encoding, y.encoding.high);
    const size_t repeat = a.codes.size() / b.codes.size();  // of each element of b
    const Encoding& e = y.encoding;
    const Int8Add add{make_dyadic_pair(a.encoding.scale / e.scale, b.encoding.scale / e.scale),
                      a.encoding.zero,
                      b.encoding.zero,
                      e.zero,
                      low,
                      high};
    const Int8Multiply multiply{make_dyadic(a.encoding.scale * b.encoding.scale / e.scale),
                                a.encoding.zero,
                                b.encoding.zero,
                                e.zero,
                                low,
                                high};
    for (size_t i = 0; i < a.codes.size(); ++i) {
      const uint8_t other = b.codes[i / repeat];
      y.codes.push_back(node.op == "add" ? add(a.codes[i], other) : multiply(a.codes[i], other));
    }
  }

  void pool(const Node& node, Coded& y, bool to_codes) {
    const Coded& x = codes(node, 0);
    const Shape in = shape(node.inputs[0]);
    PoolShape s;
    if (node.op == "reduce_mean") {
      s.height = s.kernel_h = in[2];
      s.width = s.kernel_w = in[3];
    } else {
      set_window(window_axes(node, in, node.integers("kernel")), s);
    }
    for (int64_t c = 0; c < in[1]; ++c) {
      for (int64_t pixel = 0; pixel < s.out_height() * s.out_width(); ++pixel) {
        const auto rows = s.rows(pixel / s.out_width());
        const auto cols = s.cols(pixel % s.out_width());
        int32_t sum = 0;
        int32_t most = 0;
        for (int64_t row = rows.begin; row < rows.end; row += rows.step) {
          for (int64_t col = cols.begin; col < cols.end; col += cols.step) {
            const int32_t code = x.codes[static_cast<size_t>((c * in[2] + row) * in[3] + col)];
            sum += code - x.encoding.zero;
            most = std::max(most, code);
          }
        }
        const auto cells = static_cast<double>(rows.count() * cols.count());
        if (node.op == "reduce_mean" && !to_codes) {
          const auto scale = static_cast<float>(x.encoding.scale / cells);
          numbers_[node.outputs[0]].push_back(scale * static_cast<float>(sum));
          continue;
        }
        const Dyadic scale = make_dyadic(x.encoding.scale / y.encoding.scale / cells);
        y.codes.push_back(node.op == "max_pool" ? static_cast<uint8_t>(most)
                                                : requantize(sum, scale, y.encoding.zero,
                                                             y.encoding.low, y.encoding.high));
      }
    }
    if (node.op == "max_pool") y.encoding = x.encoding;
  }

  void table(const Node& node, Coded& y) {
    const Coded& x = codes(node, 0);
    for (const uint8_t code : x.codes) {
      float number =
          static_cast<float>(code - x.encoding.zero) * static_cast<float>(x.encoding.scale);
      apply_unary(node.op, node, {&number, 1});
      const float rounded = std::nearbyint(number / static_cast<float>(y.encoding.scale));
      y.codes.push_back(static_cast<uint8_t>(std::clamp<float>(
          rounded + static_cast<float>(y.encoding.zero), static_cast<float>(y.encoding.low),
          static_cast<float>(y.encoding.high))));
    }
  }

  void move(const Node& node, Coded& y) {
    const Coded& x = codes(node, 0);
    const Shape in = shape(node.inputs[0]);
    const Shape out = shape(node.outputs[0]);
    y.encoding = x.encoding;
    y.codes.assign(static_cast<size_t>(*element_count(out)), static_cast<uint8_t>(x.encoding.zero));
    Shape index(in.size(), 0);
    for (size_t i = 0; i < x.codes.size(); ++i) {
      size_t rest = i;
      for (size_t axis = in.size(); axis-- > 0;) {
        index[axis] = static_cast<int64_t>(rest) % in[axis];
        rest /= static_cast<size_t>(in[axis]);
      }
      size_t to = i;  // reshape
      if (node.op != "reshape") {
        to = 0;
        bool inside = true;
        for (size_t axis = 0; axis < out.size(); ++axis) {
          int64_t at = index[axis];
          if (node.op == "transpose") {
            at = index[static_cast<size_t>(node.integers("order")[axis])];
          } else if (node.op == "pad") {
            at += node.integers("pads")[axis];
          } else if (axis >= 2) {  // slice of the spatial axes
            const int64_t steps = node.integers("steps")[axis - 2];
            inside = inside && at % steps == 0 && at / steps < out[axis];
            at /= steps;
          }
          to = to * static_cast<size_t>(out[axis]) + static_cast<size_t>(at);
        }
        if (!inside) continue;
      }
      y.codes[to] = x.codes[i];
    }
  }

  const Model& model_;
  Graph graph_;
  std::map<ValueId, std::vector<float>> numbers_;
  std::map<ValueId, Coded> codes_;
};

std::vector<float> random_images(int64_t count) {
  Random random(5);
  return normal_floats(random, count);
}

class IntegerNetwork : public EachTarget {};

std::vector<std::pair<int, Products>> threads_and(std::initializer_list<Products> ways) {
  std::vector<std::pair<int, Products>> result;
  for (const int threads : {1, 2, 7}) {
    for (const Products products : ways) result.emplace_back(threads, products);
  }
  return result;
}

// The executor with each way to products against the reference.
void expect_the_reference(const Model& model, std::initializer_list<Products> ways) {
  constexpr int64_t kImages = 9;
  constexpr int64_t kElements = 3 * 13 * 11;
  const std::vector<float> x = random_images(kImages * kElements);
  PlainIntegers plain(model);
  std::vector<std::vector<float>> expected(3);
  for (int64_t i = 0; i < kImages; ++i) {
    const auto outputs = plain.run(std::span(x).subspan(i * kElements, kElements));
    for (size_t o = 0; o < 3; ++o) {
      expected[o].insert(expected[o].end(), outputs[o].begin(), outputs[o].end());
    }
  }
  for (size_t o = 0; o < 3; ++o) {  // a network that saturates would test little
    EXPECT_GT(std::set<float>(expected[o].begin(), expected[o].end()).size(),
              expected[o].size() / 4);
  }
  const std::span<const float> all = x;
  for (const auto& [threads, products] : threads_and(ways)) {
    ThreadPool pool(threads);
    NetworkExecutor executor(model, pool, products);
    EXPECT_TRUE(executor.arithmetic().integer_only());
    EXPECT_EQ(executor.run({&all, 1}, kImages), expected) << threads;
    for (int64_t i = 0; i < kImages; i += 4) {
      const std::span<const float> image = all.subspan(i * kElements, kElements);
      const auto own = executor.run({&image, 1}, 1);
      for (size_t o = 0; o < 3; ++o) {
        const auto size = static_cast<int64_t>(own[o].size());
        const auto begin = expected[o].begin() + i * size;
        EXPECT_EQ(own[o], std::vector<float>(begin, begin + size)) << threads << ", " << i;
      }
    }
  }
}

TEST_P(IntegerNetwork, EqualsThePlainReferenceBitForBit) {
  expect_the_reference(everything(), {Products::kAuto, Products::kMultiply, Products::kShift});
}

TEST_P(IntegerNetwork, OfWidePowersEqualsThePlainReferenceBitForBit) {
  expect_the_reference(everything(true), {Products::kAuto, Products::kShift});
}

BITSMITH_EACH_TARGET(IntegerNetwork);

// Integer results are those of the graph's definition in real numbers, up to one code: scales have
// 31 bits, biases are rounded to units far below a code.
TEST(IntegerArithmetic, IsTheDefinitionUpToOneCode) {
  QuantizedModel m;
  Graph& g = m.graph;
  const ValueId x = m.quantized(g.add_input("x", {kBatch, 16, 6, 6}), -3, 3);
  const ValueId w = m.weight("w", {12, 16, 3, 3});
  const ValueId b = m.bias("b", 12);
  const ValueId y = ops::conv(g, "conv", x, w, b, kSame);
  g.outputs = {m.quantized(y, -4, 4)};
  Model floats = m.model;
  floats.graph.outputs = {y};
  ThreadPool pool(1);
  NetworkExecutor integer(m.model, pool);
  NetworkExecutor real(floats, pool);
  const std::vector<float> images = random_images(4 * 16 * 36);
  const std::span<const float> input = images;
  const auto codes = integer.run({&input, 1}, 4)[0];
  const auto numbers = real.run({&input, 1}, 4)[0];
  for (size_t i = 0; i < codes.size(); ++i) {
    const double step = 8.0 / 255;
    const double exact = std::clamp(static_cast<double>(numbers[i]), -128 * step, 127 * step);
    ASSERT_NEAR(codes[i], exact, step);
  }
}

std::vector<std::string> float_nodes(const Model& model, Products products = Products::kAuto) {
  ThreadPool pool(1);
  return NetworkExecutor(model, pool, products).arithmetic().float_nodes;
}

TEST(IntegerArithmetic, SaysWhatIsComputedInFloats) {
  using testing::ElementsAre;
  {
    QuantizedModel m;  // a weight that is no multiple of anything; a power between integers
    Graph& g = m.graph;
    const ValueId x = m.quantized(g.add_input("x", {kBatch, 4, 5, 5}), -3, 3);
    Random random(1);
    const ValueId odd = m.parameter("odd", {4, 4, 1, 1}, normal_floats(random, 16));
    const ValueId a = m.quantized(ops::conv(g, "odd.conv", x, odd, kNoValue, kPixel), -3, 3);
    const ValueId two = m.parameter("two", {}, {2.0F});
    const ValueId square = m.quantized(ops::power(g, "square", a, two), 0, 9);
    g.outputs = {ops::conv(g, "head", square, m.weight("w", {3, 4, 5, 5}), kNoValue, kPixel)};
    EXPECT_THAT(float_nodes(m.model), ElementsAre("odd.conv (conv)", "odd.conv.q (int8.quantize)",
                                                  "square (power)", "square.q (int8.quantize)"));
  }
  {
    QuantizedModel m;  // numbers before the codes and after the logits
    Graph& g = m.graph;
    const ValueId half = m.parameter("half", {}, {0.5F});
    const ValueId in = ops::multiply(g, "scaled", g.add_input("x", {kBatch, 8}), half);
    const ValueId x = m.quantized(in, -2, 2);
    const ValueId logits = ops::linear(g, "head", x, m.weight("w", {3, 8}), m.bias("b", 3));
    g.outputs = {ops::softmax(g, "softmax", logits, 1)};
    EXPECT_THAT(float_nodes(m.model), ElementsAre());
  }
  {
    QuantizedModel m;  // weights for shifts, if those are allowed
    Graph& g = m.graph;
    const ValueId x = m.quantized(g.add_input("x", {kBatch, 40}), -2, 2);
    g.outputs = {ops::linear(g, "head", x, m.powers("w", {3, 40}), kNoValue)};
    EXPECT_THAT(float_nodes(m.model), ElementsAre());
    EXPECT_THAT(float_nodes(m.model, Products::kShift), ElementsAre());
    EXPECT_THAT(float_nodes(m.model, Products::kMultiply), ElementsAre("head (linear)"));
  }
  {
    QuantizedModel m;  // 16 bits
    Graph& g = m.graph;
    const ValueId x = m.quantized(g.add_input("x", {kBatch, 8}), -2, 2, {0, 65535});
    g.outputs = {ops::linear(g, "head", x, m.weight("w", {3, 8}), kNoValue)};
    EXPECT_THAT(float_nodes(m.model), ElementsAre("head (linear)"));
  }
}

std::vector<std::string> kernels(const Model& model, Products products) {
  ThreadPool pool(1);
  return NetworkExecutor(model, pool, products).kernel_names();
}

TEST(IntegerArithmetic, SaysHowItMultiplies) {
  const auto shifts = testing::Contains("9 x int8 shift-and-add convolution");
  EXPECT_THAT(kernels(everything(), Products::kShift), shifts);
  EXPECT_THAT(kernels(everything(), Products::kMultiply),
              testing::Not(testing::Contains(testing::HasSubstr("shift"))));
  EXPECT_THAT(kernels(everything(true), Products::kAuto), shifts);
}

}  // namespace
}  // namespace bitsmith

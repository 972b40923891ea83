// Small ONNX files made by hand, for tests and seeds of fuzzers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/onnx_writer.h"

namespace bitsmith::onnx_testing {

using onnx::attribute;
using Message = ProtobufMessage;

inline Message node(std::string_view op, std::string_view name,
                    const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                    const std::vector<Message>& attributes = {}) {
  return onnx::node_message(op, name, inputs, outputs, attributes);
}

// A tensor with raw data, of the element type of T.
template <class T>
Message tensor(std::string_view name, int32_t type, const std::vector<int64_t>& shape,
               const std::vector<T>& elements) {
  return onnx::tensor_header(name, static_cast<onnx::ElementType>(type), shape)
      .text(9, {reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T)});
}
inline Message floats(std::string_view name, const std::vector<int64_t>& shape,
                      const std::vector<float>& elements) {
  return tensor(name, 1, shape, elements);
}
inline Message int64s(std::string_view name, const std::vector<int64_t>& shape,
                      const std::vector<int64_t>& elements) {
  return tensor(name, 7, shape, elements);
}

// A value of float32; an extent below 0 is open.
inline Message value_info(std::string_view name, const std::vector<int64_t>& shape,
                          int32_t type = onnx::kFloat) {
  return onnx::value_info(name, static_cast<onnx::ElementType>(type), shape);
}

struct Network {
  std::vector<Message> inputs, outputs, nodes, constants;
  int64_t opset = 13;

  std::string bytes() const {
    Message graph;
    for (const Message& n : nodes) graph.message(1, n);
    graph.text(2, "network");
    for (const Message& c : constants) graph.message(5, c);
    for (const Message& i : inputs) graph.message(11, i);
    for (const Message& o : outputs) graph.message(12, o);
    Message file;
    file.integer(1, 8).text(2, "test").message(7, graph);
    file.message(8, Message().text(1, "").integer(2, opset));
    return file.bytes();
  }
};

// A convolution with batch norm, a pool, a residual, shape arithmetic and a matrix: 600 bytes of
// every kind of field.
inline Network small_network() {
  Network n;
  n.inputs = {value_info("x", {-1, 1, 4, 4})};
  n.outputs = {value_info("y", {-1, 3})};
  n.constants = {floats("w", {2, 1, 3, 3}, std::vector<float>(18, 0.25f)),
                 floats("scale", {2}, {1, 2}),
                 floats("shift", {2}, {0, 1}),
                 floats("mean", {2}, {0.5f, -0.5f}),
                 floats("variance", {2}, {1, 4}),
                 floats("fc", {3, 8}, std::vector<float>(24, 0.125f)),
                 int64s("zero", {}, {0}),
                 int64s("axes", {1}, {0}),
                 int64s("rest", {1}, {-1})};
  n.nodes = {
      node("Conv", "conv", {"x", "w"}, {"a"},
           {attribute("pads", std::vector<int64_t>{1, 1, 1, 1})}),
      node("BatchNormalization", "bn", {"a", "scale", "shift", "mean", "variance"}, {"b"},
           {attribute("epsilon", 1e-3f)}),
      node("Relu", "relu", {"b"}, {"c"}),
      node("Add", "add", {"c", "a"}, {"d"}),
      node("MaxPool", "pool", {"d"}, {"e"},
           {attribute("kernel_shape", std::vector<int64_t>{2, 2}),
            attribute("strides", std::vector<int64_t>{2, 2}), attribute("auto_pad", "VALID")}),
      node("Shape", "shape", {"e"}, {"s"}),
      node("Gather", "batch", {"s", "zero"}, {"n"}),
      node("Unsqueeze", "row", {"n", "axes"}, {"n1"}),
      node("Concat", "target", {"n1", "rest"}, {"t"}, {attribute("axis", int64_t{0})}),
      node("Reshape", "flat", {"e", "t"}, {"f"}),
      node("Gemm", "fc", {"f", "fc"}, {"g"}, {attribute("transB", int64_t{1})}),
      node("Softmax", "softmax", {"g"}, {"y"}, {attribute("axis", int64_t{-1})})};
  return n;
}

}  // namespace bitsmith::onnx_testing

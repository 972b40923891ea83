// The graph's norms, softmax and reductions as ONNX's.
#include "formats/onnx_raising.h"

namespace bitsmith::onnx {
namespace {

ProtobufMessage epsilon_of(const Raising& node) {
  return attribute("epsilon", static_cast<float>(node.node.number("epsilon")));
}

void raise_batch_norm(Raising& node) {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < 5; ++i) inputs.push_back(node.input(i));
  node.set("BatchNormalization", inputs, {epsilon_of(node)});
}

void raise_layer_norm(Raising& node) {
  const int64_t channels = node.shape(0).back();
  std::vector<std::string> inputs = {node.input(0)};
  inputs.push_back(node.has(1)
                       ? node.input(1)
                       : node.constant("scale", {channels},
                                       std::vector<double>(static_cast<size_t>(channels), 1)));
  if (node.has(2)) inputs.push_back(node.input(2));
  node.set("LayerNormalization", inputs, {attribute("axis", int64_t{-1}), epsilon_of(node)});
}

// The mean over the last axis, which stays. The list of axes is an input since opset 18.
std::string mean_of_last(Raising& node, std::string_view part, const std::string& x) {
  if (node.opset() >= 18) {
    return node.step(part, "ReduceMean", {x, node.integers("last", {-1})});
  }
  return node.step(part, "ReduceMean", {x}, {attribute("axes", std::vector<int64_t>{-1})});
}

// x / sqrt(mean(x²) + epsilon) * weight for runs of channels.
void raise_rms_norm(Raising& node) {
  const Shape& x_shape = node.shape(0);
  const int64_t run = node.shape(1)[0];
  std::string x = node.input(0);
  const bool runs = x_shape.back() != run;
  if (runs) {
    std::vector<int64_t> parted(x_shape.size() - 1, 0);  // 0: as it is
    parted.push_back(x_shape.back() / run);
    parted.push_back(run);
    x = node.step("runs", "Reshape", {x, node.integers("parted", parted)});
  }
  const std::string square = node.step("square", "Mul", {x, x});
  const std::string mean = mean_of_last(node, "mean", square);
  const std::string raised =
      node.step("raised", "Add", {mean, node.scalar("epsilon", node.node.number("epsilon"))});
  const std::string root = node.step("root", "Sqrt", {raised});
  const std::string normalized = node.step("normalized", "Div", {x, root});
  if (!runs) return node.set("Mul", {normalized, node.input(1)});
  std::vector<int64_t> joined(x_shape.size() - 1, 0);
  joined.push_back(x_shape.back());
  const std::string weighted = node.step("weighted", "Mul", {normalized, node.input(1)});
  node.set("Reshape", {weighted, node.integers("joined", joined)});
}

void raise_softmax(Raising& node) {
  node.set("Softmax", {node.input(0)}, {attribute("axis", node.node.integer("axis"))});
}

// Over all spatial axes, which stay.
bool is_global_pool(const Raising& node, const std::vector<int64_t>& axes) {
  const size_t rank = node.shape(0).size();
  if (node.node.integer("keep") != 1 || rank < 3 || axes.size() != rank - 2) return false;
  return axes.front() == 2;  // they are ascending
}

void raise_reduce(Raising& node, std::string_view op, std::string_view global_pool,
                  int64_t axes_are_input_since) {
  const std::vector<int64_t>& axes = node.node.integers("axes");
  if (!global_pool.empty() && is_global_pool(node, axes)) {
    return node.set(global_pool, {node.input(0)});
  }
  const ProtobufMessage keep = attribute("keepdims", node.node.integer("keep"));
  if (node.opset() >= axes_are_input_since) {
    return node.set(op, {node.input(0), node.integers("axes", axes)}, {keep});
  }
  node.set(op, {node.input(0)}, {attribute("axes", axes), keep});
}

const RaiseRules kRules = {
    {"batch_norm", raise_batch_norm},
    {"layer_norm", raise_layer_norm, [](const ExportState&, const Node&) { return int64_t{17}; }},
    {"rms_norm", raise_rms_norm},
    {"softmax", raise_softmax},
    {"reduce_mean",
     [](Raising& node) { raise_reduce(node, "ReduceMean", "GlobalAveragePool", 18); }},
    {"reduce_sum", [](Raising& node) { raise_reduce(node, "ReduceSum", "", 13); }},
    {"reduce_max", [](Raising& node) { raise_reduce(node, "ReduceMax", "GlobalMaxPool", 18); }},
};

}  // namespace
}  // namespace bitsmith::onnx

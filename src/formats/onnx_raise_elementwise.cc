// The graph's element-by-element operators as ONNX's.
#include <map>
#include <numbers>

#include "formats/onnx_raising.h"

namespace bitsmith::onnx {
namespace {

// Operators that ONNX has under another name, of numbers.
void raise_same(Raising& node) {
  static const std::map<std::string_view, std::string_view> kOps = {
      {"add", "Add"},          {"subtract", "Sub"}, {"multiply", "Mul"}, {"divide", "Div"},
      {"power", "Pow"},        {"minimum", "Min"},  {"maximum", "Max"},  {"relu", "Relu"},
      {"sigmoid", "Sigmoid"},  {"tanh", "Tanh"},    {"abs", "Abs"},      {"exp", "Exp"},
      {"log", "Log"},          {"sqrt", "Sqrt"},    {"erf", "Erf"},      {"sin", "Sin"},
      {"cos", "Cos"},          {"floor", "Floor"},  {"ceil", "Ceil"},    {"round", "Round"},
      {"softplus", "Softplus"}};
  std::vector<std::string> inputs;
  for (size_t i = 0; i < node.node.inputs.size(); ++i) inputs.push_back(node.input(i));
  node.set(kOps.at(node.node.op), inputs);
}

void raise_equal(Raising& node) { node.set("Equal", {node.input(0), node.input(1)}, {}, kBool); }
void raise_less(Raising& node) { node.set("Less", {node.input(0), node.input(1)}, {}, kBool); }

void raise_select(Raising& node) {
  const std::string condition = node.input(0, kBool);
  node.set("Where", {condition, node.input(1), node.input(2)});
}

// Which ONNX has not. Ceil and Floor keep the sign of 0, infinities and NaN.
void raise_truncate(Raising& node) {
  const std::string x = node.input(0);
  const std::string below = node.step("below", "Less", {x, node.scalar("zero", 0)});
  const std::string up = node.step("up", "Ceil", {x});
  node.set("Where", {below, up, node.step("down", "Floor", {x})});
}

void raise_silu(Raising& node) {
  const std::string x = node.input(0);
  node.set("Mul", {x, node.step("gate", "Sigmoid", {x})});
}

void raise_hard_swish(Raising& node) {
  const std::string x = node.input(0);
  const std::string gate = node.step("gate", "HardSigmoid", {x},
                                     {attribute("alpha", 1.0F / 6), attribute("beta", 0.5F)});
  node.set("Mul", {x, gate});
}

// x * (1 + erf(x / √2)) / 2
void raise_gelu(Raising& node) {
  const std::string x = node.input(0);
  const std::string scaled =
      node.step("scaled", "Div", {x, node.scalar("sqrt2", std::numbers::sqrt2)});
  const std::string erf = node.step("erf", "Erf", {scaled});
  const std::string raised = node.step("raised", "Add", {erf, node.scalar("one", 1)});
  const std::string product = node.step("product", "Mul", {x, raised});
  node.set("Mul", {product, node.scalar("half", 0.5)});
}

void raise_gelu_tanh(Raising& node) {
  node.set("Gelu", {node.input(0)}, {attribute("approximate", "tanh")});
}

void raise_scale(Raising& node) {
  node.set("Mul", {node.input(0), node.scalar("factor", node.node.number("factor"))});
}

void raise_soft_cap(Raising& node) {
  const std::string cap = node.scalar("cap", node.node.number("cap"));
  const std::string part = node.step("part", "Div", {node.input(0), cap});
  node.set("Mul", {node.step("tanh", "Tanh", {part}), cap});
}

ProtobufMessage number(const Raising& node, std::string_view name, std::string_view onnx_name) {
  return attribute(onnx_name, static_cast<float>(node.node.number(name)));
}

void raise_clip(Raising& node) {
  const std::string low = node.scalar("low", node.node.number("low"));
  node.set("Clip", {node.input(0), low, node.scalar("high", node.node.number("high"))});
}
void raise_leaky_relu(Raising& node) {
  node.set("LeakyRelu", {node.input(0)}, {number(node, "slope", "alpha")});
}
void raise_elu(Raising& node) {
  node.set("Elu", {node.input(0)}, {number(node, "alpha", "alpha")});
}
void raise_hard_sigmoid(Raising& node) {
  node.set("HardSigmoid", {node.input(0)},
           {number(node, "slope", "alpha"), number(node, "offset", "beta")});
}

const RaiseRules kRules = {
    {"add", raise_same},
    {"subtract", raise_same},
    {"multiply", raise_same},
    {"divide", raise_same},
    {"power", raise_same},
    {"minimum", raise_same},
    {"maximum", raise_same},
    {"relu", raise_same},
    {"sigmoid", raise_same},
    {"tanh", raise_same},
    {"abs", raise_same},
    {"exp", raise_same},
    {"log", raise_same},
    {"sqrt", raise_same},
    {"erf", raise_same},
    {"sin", raise_same},
    {"cos", raise_same},
    {"floor", raise_same},
    {"ceil", raise_same},
    {"round", raise_same},
    {"softplus", raise_same},
    {"equal", raise_equal},
    {"less", raise_less},
    {"select", raise_select},
    {"truncate", raise_truncate},
    {"silu", raise_silu},
    {"hard_swish", raise_hard_swish},
    {"gelu", raise_gelu},
    {"gelu_tanh", raise_gelu_tanh, [](const ExportState&, const Node&) { return int64_t{20}; }},
    {"scale", raise_scale},
    {"soft_cap", raise_soft_cap},
    {"clip", raise_clip},
    {"leaky_relu", raise_leaky_relu},
    {"elu", raise_elu},
    {"hard_sigmoid", raise_hard_sigmoid},
};

}  // namespace
}  // namespace bitsmith::onnx

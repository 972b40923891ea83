// The graph's operators that move elements as ONNX's. Codes stay codes and truth stays truth.
#include <algorithm>
#include <limits>

#include "formats/onnx_raising.h"

namespace bitsmith::onnx {
namespace {

// An operator of one tensor that takes any type.
void move(Raising& node, std::string_view op, const std::vector<std::string>& more,
          const Raising::Attributes& attributes = {}) {
  const ElementType type = node.type(0);
  std::vector<std::string> inputs = {node.input(0, type)};
  inputs.insert(inputs.end(), more.begin(), more.end());
  node.set(op, inputs, attributes, type);
}

// An extent of 0 stays what it is there.
void raise_reshape(Raising& node) {
  std::vector<int64_t> shape = node.node.integers("shape");
  if (!shape.empty() && shape[0] < 0) shape[0] = 0;
  move(node, "Reshape", {node.integers("shape", shape)});
}

void raise_transpose(Raising& node) {
  move(node, "Transpose", {}, {attribute("perm", node.node.integers("order"))});
}

void raise_concat(Raising& node) {
  const size_t count = node.node.inputs.size();
  ElementType type = node.type(0);
  for (size_t i = 1; i < count; ++i) type = node.type(i) == type ? type : kFloat;
  std::vector<std::string> inputs;
  for (size_t i = 0; i < count; ++i) inputs.push_back(node.input(i, type));
  node.set("Concat", inputs, {attribute("axis", node.node.integer("axis"))}, type);
}

// Going down, the end before element 0 is any number below -extent.
void raise_slice(Raising& node) {
  const std::vector<int64_t>& begins = node.node.integers("begins");
  const std::vector<int64_t>& steps = node.node.integers("steps");
  std::vector<int64_t> ends;
  for (size_t i = 0; i < begins.size(); ++i) {
    const int64_t last = begins[i] + (node.node.integers("lengths")[i] - 1) * steps[i];
    const int64_t end = steps[i] > 0 ? last + 1 : last - 1;
    ends.push_back(end < 0 ? std::numeric_limits<int64_t>::min() : end);
  }
  std::vector<std::string> lists = {node.integers("begins", begins), node.integers("ends", ends),
                                    node.integers("axes", node.node.integers("axes"))};
  if (std::ranges::any_of(steps, [](int64_t step) { return step != 1; })) {
    lists.push_back(node.integers("steps", steps));
  }
  move(node, "Slice", lists);
}

void raise_pad(Raising& node) {
  const std::string& mode = node.node.text("mode");
  const std::string pads = node.integers("pads", node.node.integers("pads"));
  std::vector<std::string> inputs = {node.input(0), pads};
  if (mode == "constant") inputs.push_back(node.scalar("value", node.node.number("value")));
  node.set("Pad", inputs, {attribute("mode", mode)});
}

void raise_gather(Raising& node) {
  const std::string indices = node.input(1, kInt64);
  move(node, "Gather", {indices}, {attribute("axis", node.node.integer("axis"))});
}

void raise_embedding(Raising& node) {
  const std::string ids = node.input(0, kInt64);
  node.set("Gather", {node.input(1), ids}, {attribute("axis", int64_t{0})});
}

// An open first extent is read from the value that has it.
void raise_expand(Raising& node) {
  const std::vector<int64_t>& shape = node.node.integers("shape");
  if (shape.empty() || shape[0] != kBatch) {
    return move(node, "Expand", {node.integers("shape", shape)});
  }
  const std::string like = node.step("like", "Shape", {node.input(1, node.type(1))});
  const std::string first = node.step(
      "batch", "Slice",
      {like, node.integers("begin", {0}), node.integers("end", {1}), node.integers("axes", {0})});
  if (shape.size() == 1) return move(node, "Expand", {first});
  const std::string rest = node.integers("rest", {shape.begin() + 1, shape.end()});
  const std::string whole =
      node.step("shape", "Concat", {first, rest}, {attribute("axis", int64_t{0})});
  move(node, "Expand", {whole});
}

const RaiseRules kRules = {
    {"reshape", raise_reshape},
    {"transpose", raise_transpose},
    {"concat", raise_concat},
    {"slice", raise_slice},
    {"pad", raise_pad},
    {"gather", raise_gather},
    {"embedding", raise_embedding},
    {"expand", raise_expand},
};

}  // namespace
}  // namespace bitsmith::onnx

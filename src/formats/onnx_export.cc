#include "formats/onnx_export.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "formats/json_text.h"
#include "formats/onnx.h"
#include "formats/onnx_lowering.h"
#include "formats/onnx_raising.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using namespace onnx;

const RaiseRule& rule_of(const Node& node) {
  const auto it = raise_rules().find(node.op);
  if (it == raise_rules().end()) {
    fail(ErrorCode::kUnsupported,
         "onnx: node '{}': ONNX has nothing that computes '{}'; language models are exported with "
         "`--format gguf`",
         node.name, node.op);
  }
  return it->second;
}

void check_extents(const Graph& graph) {
  for (const ValueId id : graph.inputs) {
    const Shape& shape = graph.value(id).shape;
    if (std::ranges::count(shape, kTime) == 0) continue;
    fail(ErrorCode::kUnsupported,
         "onnx: input '{}' {} has an open number of positions; networks of fixed extents are "
         "exported as ONNX, language models with `--format gguf`",
         graph.value(id).name, to_string(shape));
  }
}

void add_inputs_and_outputs(ExportState& state) {
  const auto info = [&](const std::string& name, ValueId id) {
    return value_info(name, state.types[static_cast<size_t>(id)], state.graph.value(id).shape);
  };
  for (const ValueId id : state.graph.inputs) {
    state.file.input(info(state.graph.value(id).name, id));
  }
  std::set<ValueId> seen;
  for (const ValueId id : state.graph.outputs) {
    std::string name = state.graph.value(id).name;
    if (!seen.insert(id).second) {  // names of outputs differ
      const std::string again = state.unique_name(name);
      state.file.node(node_message("Identity", again, {name}, {again}));
      name = again;
    }
    state.file.output(info(name, id));
  }
}

void add_metadata(ExportState& state) {
  const nlohmann::json& metadata = state.model.metadata;
  for (const std::string_view name : kMetadataNames) {
    if (!metadata.is_object() || !metadata.contains(name)) continue;
    const std::string key = fmt::format("{}{}", kMetadataPrefix, name);
    state.file.metadata(key, dump_json_text(metadata.at(std::string(name)), key));
  }
}

// Reads the file and compares what it holds with the model.
void verify(const fs::path& path, const Model& model) {
  const auto differs = [&](const std::string& what) {
    fail(ErrorCode::kCorrupt, "{}: read again, {} differs from the model's; this is a bug",
         path.string(), what);
  };
  const Model again = open_onnx(path);
  const auto same_shapes = [&](const std::vector<ValueId>& a, const std::vector<ValueId>& b) {
    return std::ranges::equal(a, b, [&](ValueId x, ValueId y) {
      return model.graph.value(x).shape == again.graph.value(y).shape;
    });
  };
  if (!same_shapes(model.graph.inputs, again.graph.inputs)) differs("the shape of an input");
  if (!same_shapes(model.graph.outputs, again.graph.outputs)) differs("the shape of an output");
  for (const Node& node : model.graph.nodes) {
    if (node.op != "conv" && node.op != "linear") continue;
    const CodedTensor& weight = model.parameter(model.graph.value(node.inputs[1]).name);
    const auto found = again.parameters.find(plain_name(weight.name));
    if (found == again.parameters.end() || found->second.shape != weight.shape ||
        found->second.decode_all() != weight.decode_all()) {
      differs(fmt::format("the weight '{}'", weight.name));
    }
  }
}

}  // namespace

OnnxReport export_onnx(const fs::path& path, const Model& model, bool weights_as_float) {
  check_extents(model.graph);
  ExportState state(model, weights_as_float);
  for (const Node& node : model.graph.nodes) {
    const RaiseRule& rule = rule_of(node);
    if (rule.opset != nullptr) state.opset = std::max(state.opset, rule.opset(state, node));
  }
  for (const Node& node : model.graph.nodes) {
    Raising raising(state, node);
    rule_of(node).raise(raising);
    state.round_copy(node);
  }
  add_inputs_and_outputs(state);
  add_metadata(state);
  OnnxReport report;
  report.opset = state.opset;
  report.bytes = state.file.write(path, state.opset);
  report.notes = std::move(state.notes);
  verify(path, model);
  return report;
}

}  // namespace bitsmith

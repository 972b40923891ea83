#include "runtime/network/lay_out.h"

#include <map>
#include <utility>

namespace bitsmith {
namespace {

bool takes_activation(const std::string& op) {
  return op == "conv" || op == "linear" || op == "add";
}

class LayOut {
 public:
  LayOut(const Graph& graph, const Encodings& encodings) : source_(graph) {
    result_.graph = graph;
    result_.encodings = encodings;
    result_.graph.nodes.clear();
    result_.layouts.assign(graph.values.size(), Layout::kPlain);
  }

  LaidOutGraph run() {
    for (const Node& node : source_.nodes) add(node);
    for (ValueId& id : result_.graph.outputs) {
      // Also copies what no node makes, so that every output lies in the executor's memory.
      if (!is_activation(id) || layout(id) != Layout::kPlain) id = relaid(id, Layout::kPlain);
    }
    return std::move(result_);
  }

 private:
  Layout layout(ValueId id) const { return result_.layouts[static_cast<size_t>(id)]; }
  bool is_activation(ValueId id) const {
    return result_.graph.value(id).kind == ValueKind::kActivation;
  }

  void add(Node node) {
    const NetworkOperator* op = Registry<NetworkOperator>::instance().find(node.op);
    if (op == nullptr) {
      fail(ErrorCode::kUnsupported, "executor: node '{}' is a '{}', which has no native operator",
           node.name, node.op);
    }
    Layout output = Layout::kPlain;
    if (op->rule == LayoutRule::kChannelsLast) {
      node.inputs.at(0) = as(node.inputs.at(0), Layout::kChannelsLast, op->reads_past_end);
      output = Layout::kChannelsLast;
    } else if (op->rule == LayoutRule::kPlain) {
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        ValueId& id = node.inputs[i];
        if (id != kNoValue) id = as(id, Layout::kPlain, i == 0 && op->reads_past_end);
      }
    } else if (follows(node)) {
      output = Layout::kChannelsLast;
    }
    for (const ValueId id : node.outputs) result_.layouts[static_cast<size_t>(id)] = output;
    result_.graph.nodes.push_back(std::move(node));
  }

  bool follows(const Node& node) const {
    const size_t rank = source_.value(node.outputs.at(0)).shape.size();
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || source_.value(id).shape.size() != rank) continue;
      if (layout(id) == Layout::kChannelsLast) return true;
    }
    return false;
  }

  // The value in a layout. `owned`: in the executor's memory, where kernels may read past its end.
  ValueId as(ValueId id, Layout wanted, bool owned) {
    const bool fits = layout(id) == wanted || is_same_in_both_layouts(source_.value(id).shape);
    if (fits && (!owned || is_activation(id))) return id;
    return relaid(id, wanted);
  }

  ValueId relaid(ValueId id, Layout wanted) {
    const auto [it, is_new] = relaid_.try_emplace({id, wanted}, kNoValue);
    if (!is_new) return it->second;
    Graph& graph = result_.graph;
    const Value& value = graph.value(id);
    const std::string name = value.name + (wanted == Layout::kPlain ? ".plain" : ".channels_last");
    it->second = static_cast<ValueId>(graph.values.size());
    graph.values.push_back({name, ValueKind::kActivation, value.shape, ""});
    result_.layouts.push_back(wanted);
    result_.encodings.push_back(result_.encodings[static_cast<size_t>(id)]);
    graph.nodes.push_back({"relayout", name, {id}, {it->second}, {}});
    return it->second;
  }

  const Graph& source_;
  LaidOutGraph result_;
  std::map<std::pair<ValueId, Layout>, ValueId> relaid_;
};

}  // namespace

Graph join_activations(const Graph& graph) {
  Graph joined = graph;
  std::vector<int> uses(graph.values.size(), 0);
  std::vector<Node*> producer(graph.values.size(), nullptr);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++uses[static_cast<size_t>(id)];
    }
  }
  for (const ValueId id : graph.outputs) ++uses[static_cast<size_t>(id)];
  for (Node& node : joined.nodes) {
    const bool is_relu = node.op == "relu";
    const size_t input = node.inputs.empty() || node.inputs[0] == kNoValue
                             ? graph.values.size()
                             : static_cast<size_t>(node.inputs[0]);
    Node* layer = input < producer.size() ? producer[input] : nullptr;
    if ((is_relu || node.op == "clip") && layer != nullptr && uses[input] == 1 &&
        takes_activation(layer->op) && !layer->attributes.contains("low")) {
      layer->attributes["low"] = is_relu ? 0.0 : node.number("low");
      if (!is_relu) layer->attributes["high"] = node.number("high");
      layer->outputs = node.outputs;
      producer[static_cast<size_t>(node.outputs[0])] = layer;
      node.op.clear();
      continue;
    }
    for (const ValueId id : node.outputs) producer[static_cast<size_t>(id)] = &node;
  }
  std::erase_if(joined.nodes, [](const Node& node) { return node.op.empty(); });
  return joined;
}

LaidOutGraph lay_out(const Graph& graph, const Encodings& encodings) {
  return LayOut(graph, encodings).run();
}

}  // namespace bitsmith

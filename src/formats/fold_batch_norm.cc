#include "formats/fold_batch_norm.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"

namespace bitsmith {
namespace {

class Folder {
 public:
  explicit Folder(Model& model) : model_(model), graph_(model.graph) {
    uses_.assign(graph_.values.size(), 0);
    producer_.assign(graph_.values.size(), nullptr);
    for (Node& node : graph_.nodes) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) ++uses_[index(id)];
      }
      for (const ValueId id : node.outputs) producer_[index(id)] = &node;
    }
    for (const ValueId id : graph_.outputs) ++uses_[index(id)];
  }

  int run() {
    int folded = 0;
    for (Node& node : graph_.nodes) folded += node.op == "batch_norm" && fold(node) ? 1 : 0;
    std::erase_if(graph_.nodes, [](const Node& node) { return node.op.empty(); });
    std::set<std::string, std::less<>> kept;
    for (const ValueId id : graph_.parameters()) kept.insert(graph_.value(id).name);
    std::erase_if(model_.parameters, [&](const auto& p) { return !kept.contains(p.first); });
    return folded;
  }

 private:
  static size_t index(ValueId id) { return static_cast<size_t>(id); }

  std::vector<float> numbers(ValueId id) const {
    return model_.parameter(graph_.value(id).name).decode_all();
  }

  // Replaces the elements of a parameter, [..] float32.
  void replace(ValueId id, const std::vector<float>& numbers) {
    const Value& value = graph_.value(id);
    const auto bytes = std::as_bytes(std::span(numbers));
    const auto buffer = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
    model_.buffers.push_back(buffer);
    model_.parameters[value.name] = {value.name, value.shape,
                                     Scheme("f32", nlohmann::json::object()), *buffer};
  }

  bool fold(Node& norm) {
    Node* layer = producer_[index(norm.inputs[0])];
    if (layer == nullptr || uses_[index(norm.inputs[0])] != 1) return false;
    // A linear layer's channels are the last axis, the norm's the second.
    const bool fits = layer->op == "conv" ||
                      (layer->op == "linear" && graph_.value(norm.inputs[0]).shape.size() == 2);
    if (!fits || uses_[index(layer->inputs[1])] != 1) return false;
    if (layer->inputs[2] != kNoValue && uses_[index(layer->inputs[2])] != 1) return false;

    const std::vector<float> scale = numbers(norm.inputs[1]);
    const std::vector<float> shift = numbers(norm.inputs[2]);
    const std::vector<float> mean = numbers(norm.inputs[3]);
    const std::vector<float> variance = numbers(norm.inputs[4]);
    const double epsilon = norm.number("epsilon");
    std::vector<float> weight = numbers(layer->inputs[1]);
    const size_t channels = scale.size();
    const size_t cols = weight.size() / channels;
    std::vector<float> bias(channels, 0);
    if (layer->inputs[2] != kNoValue) bias = numbers(layer->inputs[2]);
    for (size_t o = 0; o < channels; ++o) {
      const double factor = scale[o] / std::sqrt(variance[o] + epsilon);
      for (size_t c = 0; c < cols; ++c) {
        float& w = weight[o * cols + c];
        w = static_cast<float>(w * factor);
      }
      bias[o] = static_cast<float>((bias[o] - mean[o]) * factor + shift[o]);
    }
    replace(layer->inputs[1], weight);
    if (layer->inputs[2] == kNoValue) layer->inputs[2] = new_bias(*layer, norm);
    replace(layer->inputs[2], bias);
    // The layer now stands where the norm stood: what lies between them cannot read its value.
    norm.op = layer->op;
    norm.name = layer->name;
    norm.inputs = layer->inputs;
    norm.attributes = layer->attributes;
    graph_.values[index(layer->outputs[0])].name += ".unused";
    graph_.values[index(norm.outputs[0])].name = norm.name;
    layer->op.clear();
    return true;
  }

  // The norm's shift becomes the bias if nothing else reads it: its name is a tensor of the file.
  ValueId new_bias(const Node& layer, const Node& norm) {
    const ValueId shift = norm.inputs[2];
    const std::string role = layer.op + ".bias";
    if (uses_[index(shift)] == 1) {
      graph_.values[index(shift)].role = role;
      return shift;
    }
    const ValueId id = graph_.add_parameter(layer.name + ".bias", graph_.value(shift).shape, role);
    uses_.push_back(1);
    producer_.push_back(nullptr);
    return id;
  }

  Model& model_;
  Graph& graph_;
  std::vector<int> uses_;        // by value
  std::vector<Node*> producer_;  // by value
};

}  // namespace

int fold_batch_norms(Model& model) { return Folder(model).run(); }

}  // namespace bitsmith

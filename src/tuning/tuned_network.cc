#include "tuning/tuned_network.h"

#include <set>

#include "core/error.h"
#include "evaluation/network_classifier.h"
#include "formats/fold_batch_norm.h"
#include "tuning/slimming.h"

namespace bitsmith {

at::Tensor TunedParameter::value() const {
  if (codes.defined()) {
    const at::Tensor table = at::cat({numbers, at::zeros({1})});
    const at::Tensor index =
        at::where(codes.lt(0), at::full({}, numbers.numel(), at::kLong), codes);
    return table.index_select(0, index.flatten()).view(shape);
  }
  return held.defined() ? at::where(held, held_values, numbers) : numbers;
}

at::Tensor TunedParameter::gradient(const at::Tensor& of_value) const {
  if (codes.defined()) {
    // In float64 and in order of the weights: the same sum for any number of threads.
    at::Tensor sums = at::zeros({numbers.numel()}, at::kDouble);
    const at::Tensor flat = of_value.contiguous();
    const at::Tensor index = codes.contiguous();
    const float* g = flat.data_ptr<float>();
    const int64_t* code = index.data_ptr<int64_t>();
    double* sum = sums.data_ptr<double>();
    for (int64_t i = 0; i < flat.numel(); ++i) {
      if (code[i] >= 0) sum[code[i]] += static_cast<double>(g[i]);
    }
    return sums.to(at::kFloat);
  }
  return held.defined() && !held_learn ? of_value.masked_fill(held, 0) : of_value;
}

void TunedParameter::reset(at::Tensor new_numbers) {
  numbers = std::move(new_numbers);
  first_moment = at::zeros_like(numbers);
  second_moment = at::zeros_like(numbers);
}

int64_t TunedParameter::held_count() const {
  return held.defined() ? held.sum().item<int64_t>() : 0;
}

TunedNetwork::TunedNetwork(Model model) : model_(std::move(model)) {
  const Graph& graph = model_.graph;
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) {
    fail(ErrorCode::kUnsupported,
         "'{}' has {} inputs and {} outputs; a network that is tuned has one of each",
         model_.path.string(), graph.inputs.size(), graph.outputs.size());
  }
  model_.graph.outputs[0] = logits_of(graph);
  remove_dead_nodes(model_.graph);
  norm_scales_ = batch_norm_scales(model_);
  fold_batch_norms(model_);
  std::set<ValueId> matrices;
  for (const Node& node : graph.nodes) {
    if (node.op == "conv" || node.op == "linear") matrices.insert(node.inputs[1]);
  }
  for (const ValueId id : graph.parameters()) {
    const Value& value = graph.value(id);
    TunedParameter parameter;
    parameter.id = id;
    parameter.name = value.name;
    parameter.shape = value.shape;
    parameter.is_matrix = matrices.contains(id);
    const std::vector<float> numbers = model_.parameter(value.name).decode_all();
    parameter.reset(at::tensor(at::ArrayRef<float>(numbers)).view(value.shape));
    parameters_.push_back(std::move(parameter));
  }
}

const Shape& TunedNetwork::input() const {
  return model_.graph.value(model_.graph.inputs[0]).shape;
}

std::vector<TunedParameter*> TunedNetwork::matrices() {
  std::vector<TunedParameter*> result;
  for (TunedParameter& parameter : parameters_) {
    if (parameter.is_matrix) result.push_back(&parameter);
  }
  return result;
}

Model TunedNetwork::to_model() const {
  Model model = model_;
  for (const TunedParameter& parameter : parameters_) {
    replace_parameter(model, parameter.name, parameter.value());
  }
  return model;
}

void replace_parameter(Model& model, const std::string& name, const at::Tensor& values) {
  const at::Tensor plain = values.contiguous();
  const auto bytes =
      std::as_bytes(std::span(plain.data_ptr<float>(), static_cast<size_t>(plain.numel())));
  const auto buffer = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
  model.buffers.push_back(buffer);
  CodedTensor& tensor = model.parameters.at(name);
  tensor = {tensor.name, tensor.shape, Scheme("f32", nlohmann::json::object()), *buffer};
}

}  // namespace bitsmith

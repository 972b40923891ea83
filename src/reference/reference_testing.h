// Runs whole networks by the reference executor, for tests.
#pragma once

#include <vector>

#include "core/random.h"
#include "formats/model.h"
#include "reference/executor.h"

namespace bitsmith::reference_testing {

inline at::Tensor float_tensor(const std::vector<float>& elements, const Shape& shape) {
  return at::tensor(at::ArrayRef<float>(elements)).view(shape);
}

// The network's outputs, float32, for its inputs in order.
inline std::vector<at::Tensor> run_network(const Model& model,
                                           const std::vector<at::Tensor>& inputs) {
  const at::NoGradGuard no_grad;
  const Graph& graph = model.graph;
  Environment values(graph.values.size());
  BITSMITH_ASSERT(inputs.size() == graph.inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    values[static_cast<size_t>(graph.inputs[i])] = inputs[i];
  }
  const ParameterSource parameters = [&](ValueId id) {
    const Value& value = graph.value(id);
    return float_tensor(model.parameter(value.name).decode_all(), value.shape);
  };
  run_reference(graph, 0, graph.nodes.size(), parameters, values, graph.inputs);
  std::vector<at::Tensor> outputs;
  for (const ValueId id : graph.outputs) {
    outputs.push_back(values[static_cast<size_t>(id)].contiguous());
  }
  return outputs;
}

// An input of the network with `batch` for B, standard normal.
inline at::Tensor random_input(const Model& model, int64_t batch) {
  Shape shape = model.graph.value(model.graph.inputs[0]).shape;
  if (shape[0] == kBatch) shape[0] = batch;
  std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
  Random random(3);
  for (float& x : numbers) x = static_cast<float>(random.normal());
  return float_tensor(numbers, shape);
}

// Logits [T, V] of one sequence of a language model.
inline at::Tensor logits_of(const Model& model, const std::vector<TokenId>& tokens) {
  const at::Tensor ids =
      at::tensor(at::ArrayRef<TokenId>(tokens), at::TensorOptions().dtype(at::kInt)).to(at::kLong);
  return run_network(model, {ids.unsqueeze(0)})[0].squeeze(0);
}

}  // namespace bitsmith::reference_testing

#include "calibration/correct_biases.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

void set_numbers(Model& model, const std::string& name, const Shape& shape,
                 const std::vector<float>& numbers) {
  const auto bytes = std::as_bytes(std::span(numbers));
  model.buffers.push_back(
      std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
  model.parameters[name] = {name, shape, Scheme("f32", nlohmann::json::object()),
                            *model.buffers.back()};
}

// Mean of each value over images, [elements of an image].
std::vector<std::vector<double>> mean_images(const Model& model, std::span<const ValueId> values,
                                             const CalibrationInputs& inputs, ThreadPool& pool) {
  std::vector<std::vector<double>> sums(values.size());
  std::vector<int64_t> counts(values.size(), 0);
  observe_values(model, values, inputs, pool,
                 [&](size_t i, std::span<const float> x, int64_t images) {
                   const size_t size = x.size() / static_cast<size_t>(images);
                   sums[i].resize(size);
                   counts[i] += images;
                   for (size_t e = 0; e < x.size(); ++e) sums[i][e % size] += x[e];
                 });
  for (size_t i = 0; i < sums.size(); ++i) {
    for (double& sum : sums[i]) sum /= static_cast<double>(counts[i]);
  }
  return sums;
}

// The mean of each output channel of a layer for one input image and these weights, without bias.
std::vector<double> mean_outputs(const Graph& graph, const Node& layer,
                                 const std::vector<float>& weights,
                                 const std::vector<double>& image, ThreadPool& pool) {
  Model model;
  const Value& weight = graph.value(layer.inputs[1]);
  Shape shape = graph.value(layer.inputs[0]).shape;
  shape[0] = 1;
  const ValueId x = model.graph.add_input("x", shape);
  const ValueId w = model.graph.add_parameter("w", weight.shape, weight.role);
  set_numbers(model, "w", weight.shape, weights);
  const ValueId y = model.graph.add_node(layer.op, "y", {x, w, kNoValue}, layer.attributes);
  model.graph.outputs = {y};
  const std::vector<float> numbers(image.begin(), image.end());
  const std::span<const float> input = numbers;
  NetworkExecutor executor(std::move(model), pool);
  const std::vector<float> outputs = executor.run({&input, 1}, 1)[0];
  const auto channels = static_cast<size_t>(weight.shape[0]);
  const size_t pixels = outputs.size() / channels;
  std::vector<double> means(channels, 0.0);
  for (size_t i = 0; i < outputs.size(); ++i) {
    // conv: [1, O, pixels]; linear: [..., O]
    means[layer.op == "conv" ? i / pixels : i % channels] += outputs[i];
  }
  for (double& mean : means) mean /= static_cast<double>(pixels);
  return means;
}

}  // namespace

void add_missing_biases(Model& model) {
  Graph& graph = model.graph;
  for (Node& node : graph.nodes) {
    if ((node.op != "conv" && node.op != "linear") || node.inputs[2] != kNoValue) continue;
    std::string name = node.name + ".bias";
    for (int i = 2; graph.find(name) != kNoValue; ++i)
      name = fmt::format("{}.bias.{}", node.name, i);
    const int64_t outputs = graph.value(node.inputs[1]).shape[0];
    node.inputs[2] = graph.add_parameter(name, {outputs}, node.op + ".bias");
    set_numbers(model, name, {outputs}, std::vector<float>(static_cast<size_t>(outputs), 0.0F));
  }
}

int correct_biases(Model& coded, const Model& original, const CalibrationInputs& inputs,
                   ThreadPool& pool, MeanInputs means) {
  const Graph& graph = coded.graph;
  std::vector<int> uses(graph.values.size(), 0);
  for (const Node& node : graph.nodes) {
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) ++uses[static_cast<size_t>(id)];
    }
  }
  std::vector<size_t> layers;  // indices of nodes
  std::vector<ValueId> values;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.op != "conv" && node.op != "linear") continue;
    const ValueId bias = node.inputs[2];
    if (bias == kNoValue || uses[static_cast<size_t>(bias)] > 1) continue;
    // Activations have the same ids in both graphs.
    BITSMITH_ASSERT(original.graph.value(node.inputs[0]).name == graph.value(node.inputs[0]).name);
    layers.push_back(n);
    values.push_back(node.inputs[0]);
  }
  if (layers.empty()) return 0;
  const std::vector<std::vector<double>> images = mean_images(original, values, inputs, pool);

  int corrected = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const Node& node = graph.nodes[layers[i]];
    const std::string weight = graph.value(node.inputs[1]).name;
    std::vector<float> difference = coded.parameter(weight).decode_all();
    const std::vector<float> own = original.parameter(weight).decode_all();
    for (size_t k = 0; k < own.size(); ++k) difference[k] -= own[k];
    std::vector<double> image = images[i];
    if (means == MeanInputs::kCoded) image = mean_images(coded, {&values[i], 1}, inputs, pool)[0];
    std::vector<double> shift = mean_outputs(graph, node, difference, image, pool);
    if (image != images[i]) {
      for (size_t k = 0; k < image.size(); ++k) image[k] -= images[i][k];
      const std::vector<double> moved = mean_outputs(graph, node, own, image, pool);
      for (size_t o = 0; o < shift.size(); ++o) shift[o] += moved[o];
    }
    if (std::ranges::all_of(shift, [](double s) { return s == 0; })) continue;
    std::vector<float> bias = coded.parameter(graph.value(node.inputs[2]).name).decode_all();
    for (size_t o = 0; o < bias.size(); ++o) bias[o] = static_cast<float>(bias[o] - shift[o]);
    const Value& value = graph.value(node.inputs[2]);
    set_numbers(coded, value.name, value.shape, bias);
    ++corrected;
  }
  return corrected;
}

}  // namespace bitsmith

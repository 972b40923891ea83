// What the step makes outlives the pages that the checkpoint's writer gives back.
#include "pipeline/code_activations.h"

#include <gtest/gtest.h>

#include "core/mapped_file.h"
#include "core/random.h"
#include "graph/operators.h"

namespace bitsmith {
namespace {

TEST(CodeActivations, CorrectedBiasesOutliveTheirPages) {
  constexpr int64_t kOutputs = 8192;  // biases of several pages
  Model model;
  Graph& graph = model.graph;
  Random random(1);
  const auto parameter = [&](Model& to, const std::string& name, const Shape& shape) {
    std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
    for (float& x : numbers) x = static_cast<float>(random.normal());
    const auto bytes = std::as_bytes(std::span(numbers));
    to.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
    to.parameters[name] = {name, shape, Scheme("f32", nlohmann::json::object()),
                           *to.buffers.back()};
  };
  const ValueId x = graph.add_input("x", {kBatch, 4});
  parameter(model, "w", {kOutputs, 4});
  const ValueId w = graph.add_parameter("w", {kOutputs, 4}, "test");
  graph.outputs = {ops::linear(graph, "y", x, w, kNoValue)};
  settle_buffers(model);
  Model coded = model;
  parameter(coded, "w", {kOutputs, 4});

  CalibrationSet images;
  images.length = 1;
  images.count = 8;
  images.input = {1, 4};
  for (int i = 0; i < 32; ++i) images.images.push_back(static_cast<float>(random.normal()));
  ActivationCodes codes;
  codes.observer.part = &Registry<ObserverMethod>::instance().get("min_max");
  codes.observer.options = Options(codes.observer.part->info().options);
  codes.correct_biases = true;
  ThreadPool pool(1);
  const CodedActivations result =
      code_activations(coded, model, model, codes, &images, uint64_t{1} << 30, pool);
  EXPECT_EQ(result.biases, 1);
  for (const auto& [name, tensor] : result.model.parameters) {
    const std::vector<float> before = tensor.decode_all();
    release_pages(tensor.bytes);
    EXPECT_EQ(tensor.decode_all(), before) << name;
  }
}

}  // namespace
}  // namespace bitsmith

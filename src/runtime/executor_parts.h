// What the executors of language models and of other networks share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "formats/model.h"
#include "graph/graph.h"

namespace bitsmith {

// A parameter of the graph; kNotFound if it is missing, kCorrupt if it has another shape.
const CodedTensor& find_parameter(const Graph& graph,
                                  const std::map<std::string, CodedTensor>& parameters, ValueId id);

// "154 x int8 dot products" for each kernel among the steps, in order of name.
template <class Steps>
std::vector<std::string> count_kernels(const Steps& steps) {
  std::map<std::string, int, std::less<>> counts;
  for (const auto& step : steps) {
    if (!step->kernel_name().empty()) ++counts[std::string(step->kernel_name())];
  }
  std::vector<std::string> result;
  for (const auto& [name, count] : counts) result.push_back(fmt::format("{} x {}", count, name));
  return result;
}

}  // namespace bitsmith

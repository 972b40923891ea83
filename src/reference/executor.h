// The graph in torch operators: float32, differentiable, on a CPU or a GPU; the truth for the
// others.
#pragma once

#include <functional>
#include <vector>

#include "graph/graph.h"
#include "reference/torch.h"

namespace bitsmith {

// Values of a graph by their id; undefined where not known.
using Environment = std::vector<at::Tensor>;

// Gives a parameter's value, float32, of the parameter's shape. Called once per use.
using ParameterSource = std::function<at::Tensor(ValueId)>;

// Runs nodes [begin, end) of `graph`. On entry `values` (of graph.values.size() entries) holds the
// activations that they read from outside; on return it holds those that are used at or after
// `end`, the graph's outputs, and the values listed in `keep`. Others are dropped as soon as their
// last reader has run.
//   activations [B, T, C]; token ids [B, T] int64
void run_reference(const Graph& graph, size_t begin, size_t end, const ParameterSource& parameters,
                   Environment& values, const std::vector<ValueId>& keep = {});

// How one operator is computed; found under the operator's id.
struct ReferenceOperator {
  static const char* kind() { return "reference operator"; }
  PartInfo part;
  at::Tensor (*compute)(const Node& node, const std::vector<at::Tensor>& inputs) = nullptr;
  // What computing one sequence of `length` takes beside inputs and output; nullptr: as much as the
  // output.
  uint64_t (*scratch_bytes)(const Node& node, uint64_t length) = nullptr;
  const PartInfo& info() const { return part; }
};

// Makes torch and BLAS use one thread on the calling thread, so that results do not depend on how
// many threads there are: bitsmith runs sequences side by side instead.
void use_one_torch_thread();

}  // namespace bitsmith

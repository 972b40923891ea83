#include "reference/executor.h"

#include <algorithm>

#include "core/interrupt.h"

namespace bitsmith {

void use_one_torch_thread() {
  thread_local bool done = false;
  if (!done) at::set_num_threads(1);
  done = true;
}

void run_reference(const Graph& graph, size_t begin, size_t end, const ParameterSource& parameters,
                   Environment& values, const std::vector<ValueId>& keep) {
  BITSMITH_ASSERT(values.size() == graph.values.size() && end <= graph.nodes.size());
  // The last node of the range that reads each value; `end` if it is needed later.
  std::vector<size_t> last_use(values.size(), 0);
  for (size_t i = begin; i < graph.nodes.size(); ++i) {
    for (const ValueId id : graph.nodes[i].inputs) {
      if (id != kNoValue) last_use[static_cast<size_t>(id)] = std::min(i, end);
    }
  }
  for (const ValueId id : graph.outputs) last_use[static_cast<size_t>(id)] = end;
  for (const ValueId id : keep) last_use[static_cast<size_t>(id)] = end;

  std::vector<at::Tensor> inputs;
  for (size_t i = begin; i < end; ++i) {
    check_interrupt();
    const Node& node = graph.nodes[i];
    inputs.clear();
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) {
        inputs.emplace_back();
      } else if (graph.value(id).kind == ValueKind::kParameter) {
        inputs.push_back(parameters(id));
      } else {
        inputs.push_back(values[static_cast<size_t>(id)]);
        BITSMITH_ASSERT(inputs.back().defined());
      }
    }
    const ReferenceOperator& op = Registry<ReferenceOperator>::instance().get(node.op);
    values[static_cast<size_t>(node.outputs[0])] = op.compute(node, inputs);
    for (const ValueId id : node.inputs) {
      if (id != kNoValue && last_use[static_cast<size_t>(id)] <= i) {
        values[static_cast<size_t>(id)].reset();
      }
    }
  }
}

}  // namespace bitsmith

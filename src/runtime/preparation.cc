#include "runtime/executor_parts.h"
#include "runtime/kernels/hadamard.h"
#include "runtime/native_operator.h"
#include "runtime/rope_table.h"

namespace bitsmith {

const CodedTensor& find_parameter(const Graph& graph,
                                  const std::map<std::string, CodedTensor>& parameters,
                                  ValueId id) {
  const Value& value = graph.value(id);
  const auto it = parameters.find(value.name);
  if (value.kind != ValueKind::kParameter || it == parameters.end()) {
    fail(ErrorCode::kNotFound, "executor: the parameter '{}' is missing", value.name);
  }
  if (it->second.shape != value.shape) {
    fail(ErrorCode::kCorrupt, "executor: the parameter '{}' must be {}, it is {}", value.name,
         to_string(value.shape), to_string(it->second.shape));
  }
  return it->second;
}

Activations& Batch::activations(ValueId id, int64_t cols) {
  if (activations_of_ != id) {
    activations_.reset(data(id), rows(), cols, row_levels_[static_cast<size_t>(id)]);
    activations_of_ = id;
  }
  return activations_;
}

KvCache& Batch::cache(const BatchSegment& segment, size_t n) const {
  KvCache& cache = segment.sequence->caches_[n];
  cache.truncate(segment.position);
  return cache;
}

Preparation::Preparation(const Graph& graph, const std::map<std::string, CodedTensor>& parameters)
    : graph_(graph), parameters_(parameters) {}

int64_t Preparation::channels(ValueId id) const {
  const Value& value = graph_.value(id);
  const Shape& shape = value.shape;
  if (value.kind != ValueKind::kActivation || shape.size() != 3 || shape[0] != kBatch ||
      shape[1] != kTime || shape[2] <= 0) {
    fail(ErrorCode::kUnsupported,
         "executor: the value '{}' has the shape {}; only activations [B, T, channels] can be run",
         value.name, to_string(shape));
  }
  return shape[2];
}

int64_t Preparation::equal_channels(const Node& node) const {
  const int64_t result = channels(node.outputs[0]);
  for (const ValueId id : node.inputs) {
    if (channels(id) != result) {
      fail(ErrorCode::kUnsupported, "executor: node '{}' ({}) broadcasts {} to {}", node.name,
           node.op, to_string(graph_.value(id).shape),
           to_string(graph_.value(node.outputs[0]).shape));
    }
  }
  return result;
}

bool Preparation::is_token_input(ValueId id) const {
  const Value& value = graph_.value(id);
  return value.kind == ValueKind::kInput && value.shape == Shape{kBatch, kTime};
}

const CodedTensor& Preparation::parameter(ValueId id) const {
  return find_parameter(graph_, parameters_, id);
}

std::vector<float> Preparation::vector(ValueId id) const { return parameter(id).decode_all(); }

std::shared_ptr<const LinearKernel> Preparation::kernel(ValueId weight) {
  auto& kernel = kernels_[weight];
  if (!kernel) kernel = make_linear_kernel(parameter(weight));
  return kernel;
}

std::shared_ptr<const HadamardRotation> Preparation::rotation(ValueId signs) {
  auto& rotation = rotations_[signs];
  if (!rotation) rotation = std::make_shared<const HadamardRotation>(vector(signs));
  return rotation;
}

std::shared_ptr<RopeTable> Preparation::rope_table(const Node& node) {
  const std::vector<double>& frequencies = node.numbers("frequencies");
  const double magnitude = node.number("magnitude");
  for (const auto& table : rope_tables_) {
    if (table->is(frequencies, magnitude)) return table;
  }
  rope_tables_.push_back(std::make_shared<RopeTable>(frequencies, magnitude));
  return rope_tables_.back();
}

size_t Preparation::add_cache(const KvShape& shape) {
  cache_shapes_.push_back(shape);
  return cache_shapes_.size() - 1;
}

}  // namespace bitsmith

#include "runtime/network/network_executor.h"

#include <algorithm>
#include <map>

#include "core/interrupt.h"
#include "core/system_memory.h"
#include "formats/fold_batch_norm.h"
#include "runtime/executor_parts.h"
#include "runtime/kernels/conv_plan.h"
#include "runtime/memory_plan.h"
#include "runtime/network/lay_out.h"
#include "runtime/network/lower_to_integers.h"

namespace bitsmith {
namespace {

// Kernels may read this far past the end of a value.
constexpr int64_t kSlackElements = kConvSlackBytes / static_cast<int64_t>(sizeof(float));
constexpr int64_t kPartImages = 64;  // that a thread works on at a time, at most

// Elements for each image; values without images are kept for each, which costs little.
int64_t row_elements(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent == kBatch ? 1 : extent;  // < 2^48, see Graph
  return count;
}

bool is_batched(const Shape& shape) { return !shape.empty() && shape[0] == kBatch; }

int64_t elements(const Shape& shape, int64_t images) {
  return row_elements(shape) * (is_batched(shape) ? images : 1);
}

bool is_coded(const Encodings& encodings, ValueId id) {
  return encodings[static_cast<size_t>(id)].has_value();
}

// Inputs that the output of a node may overwrite, if nobody needs them any more.
std::vector<size_t> in_place_inputs(const LaidOutGraph& laid, const NetworkOperator& op,
                                    const Node& node) {
  if (op.reshapes) return {0};
  const auto layout = [&](ValueId id) { return laid.layouts[static_cast<size_t>(id)]; };
  std::vector<size_t> result;
  const ValueId to = node.outputs.at(0);
  for (const size_t i : op.in_place) {
    const ValueId from = node.inputs.at(i);
    const bool same_shape = laid.graph.value(from).shape == laid.graph.value(to).shape;
    const bool same_type = is_coded(laid.encodings, from) == is_coded(laid.encodings, to);
    if (same_shape && same_type && layout(from) == layout(to)) result.push_back(i);
  }
  return result;
}

}  // namespace

struct NetworkExecutor::Arena {
  std::unique_ptr<float[]> memory;
  int64_t capacity = 0;
  float* data = nullptr;  // at a cache line

  void reserve(int64_t size) {
    if (size <= capacity) return;
    constexpr int64_t kLine = 16;
    memory = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(size + kLine));
    capacity = size;
    const auto address = reinterpret_cast<uintptr_t>(memory.get());
    data = memory.get() + (uintptr_t{64} - address % 64) % 64 / sizeof(float);
  }
};

NetworkExecutor::NetworkExecutor(Model model, ThreadPool& pool, Products products)
    : pool_(pool), model_(std::move(model)) {
  fold_batch_norms(model_);
  const IntegerGraph lowered =
      lower_to_integers(join_activations(model_.graph), model_.parameters, products);
  arithmetic_ = count_arithmetic(lowered);
  LaidOutGraph laid = lay_out(lowered.graph, lowered.encodings);
  for (const Value& value : laid.graph.values) {
    if (std::ranges::count(value.shape, kTime) > 0) {
      fail(ErrorCode::kUnsupported, "executor: '{}' is {}: a language model, which is run on text",
           value.name, to_string(value.shape));
    }
  }
  NetworkPreparation preparation(laid.graph, laid.layouts, laid.encodings, model_.parameters,
                                 products);
  for (const Node& node : laid.graph.nodes) {
    const NetworkOperator& op = Registry<NetworkOperator>::instance().get(node.op);
    steps_.push_back(op.prepare(preparation, node));
    in_place_.push_back(in_place_inputs(laid, op, node));
  }
  decoded_ = std::move(preparation.decoded_);
  for (const ValueId id : laid.graph.inputs) inputs_.push_back(laid.graph.value(id).shape);
  for (const ValueId id : laid.graph.outputs) outputs_.push_back(laid.graph.value(id).shape);
  for (const Shape& shape : outputs_) {
    if (std::ranges::count(shape, kBatch) > (is_batched(shape) ? 1 : 0)) {
      fail(ErrorCode::kUnsupported, "executor: an output is {}; B can only come first",
           to_string(shape));
    }
  }
  if (std::ranges::none_of(inputs_, is_batched)) {
    fixed_images_ = inputs_.empty() || inputs_[0].empty() ? 1 : inputs_[0][0];
  }
  graph_ = std::move(laid.graph);
  layouts_ = std::move(laid.layouts);
  encodings_ = std::move(laid.encodings);
  plan();
}

NetworkExecutor::~NetworkExecutor() = default;

void NetworkExecutor::plan() {
  const uint64_t available = available_memory_bytes();
  const auto check = [&](int64_t count, const char* what) {
    const uint64_t bytes = static_cast<uint64_t>(count) * sizeof(float);
    if (available == 0 || bytes <= available) return;
    fail(ErrorCode::kUnsupported, "executor: {}: {} bytes for one image, {} are free", what, bytes,
         available);
  };
  std::vector<int64_t> sizes(graph_.values.size(), 0);
  for (const Node& node : graph_.nodes) {
    for (const ValueId id : node.outputs) {
      int64_t count = row_elements(graph_.value(id).shape);
      if (is_coded(encodings_, id)) count = ceil_div(count, int64_t{sizeof(float)});
      count += kSlackElements;
      check(count, node.name.c_str());  // one by one, so that their sum cannot overflow
      sizes[static_cast<size_t>(id)] = count;
    }
  }
  MemoryPlan plan = plan_memory(graph_, sizes, in_place_, kNoValue);
  offsets_ = std::move(plan.offsets);
  row_elements_ = plan.row_elements;
  check(row_elements_, "the activations");
}

void NetworkExecutor::check_inputs(std::span<const std::span<const float>> inputs,
                                   int64_t images) const {
  if (images < 1 || inputs.size() != inputs_.size()) {
    fail(ErrorCode::kInvalidArgument, "executor: the network has {} inputs; got {}, for {} images",
         inputs_.size(), inputs.size(), images);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t expected = elements(inputs_[i], images);
    if (static_cast<int64_t>(inputs[i].size()) == expected) continue;
    fail(ErrorCode::kInvalidArgument,
         "executor: the input '{}' is {}, for {} images {} numbers; got {}",
         graph_.value(graph_.inputs[i]).name, to_string(inputs_[i]), images, expected,
         inputs[i].size());
  }
}

std::vector<std::vector<float>> NetworkExecutor::run(std::span<const std::span<const float>> inputs,
                                                     int64_t images) {
  check_inputs(inputs, images);
  std::vector<std::vector<float>> outputs;
  for (const Shape& shape : outputs_) {
    outputs.emplace_back(static_cast<size_t>(elements(shape, images)));
  }
  const bool any_number = fixed_images_ == 0;
  const auto row_bytes = std::max<int64_t>(1, row_elements_ * int64_t{sizeof(float)});
  int64_t part = any_number ? std::clamp<int64_t>(kPartBytes / row_bytes, 1, kPartImages) : images;
  const bool apart = any_number && images >= pool_.threads();
  if (apart) part = std::min(part, ceil_div(images, pool_.threads()));
  const int64_t parts = ceil_div(images, part);

  while (arenas_.size() < static_cast<size_t>(apart ? pool_.threads() : 1)) {
    arenas_.push_back(std::make_unique<Arena>());
  }
  const auto run_one = [&](int64_t i, int thread, ThreadPool& pool) {
    check_interrupt();
    NetworkFrame frame(pool, graph_.values.size());
    frame.images = std::min(part, images - i * part);
    run_part(frame, *arenas_[static_cast<size_t>(thread)], inputs, i * part, outputs);
  };
  if (apart) {
    pool_.run(parts, [&](int64_t i, int thread) { run_one(i, thread, serial_); });
  } else {
    for (int64_t i = 0; i < parts; ++i) run_one(i, 0, pool_);
  }
  return outputs;
}

void NetworkExecutor::run_part(NetworkFrame& frame, Arena& arena,
                               std::span<const std::span<const float>> inputs, int64_t first,
                               std::vector<std::vector<float>>& outputs) const {
  arena.reserve(row_elements_ * frame.images + kSlackElements);
  for (size_t v = 0; v < offsets_.size(); ++v) {
    if (offsets_[v] != MemoryPlan::kNowhere) {
      frame.data_[v] = arena.data + offsets_[v] * frame.images;
    }
  }
  // Inputs and parameters are only read.
  for (const auto& [id, numbers] : decoded_) {
    frame.data_[static_cast<size_t>(id)] = const_cast<float*>(numbers.data());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t skipped = is_batched(inputs_[i]) ? first * row_elements(inputs_[i]) : 0;
    frame.data_[static_cast<size_t>(graph_.inputs[i])] =
        const_cast<float*>(inputs[i].data() + skipped);
  }
  for (const auto& step : steps_) step->run(frame);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const bool batched = is_batched(outputs_[i]);
    if (!batched && first > 0) continue;  // the same for all images
    const int64_t skipped = batched ? first * row_elements(outputs_[i]) : 0;
    std::copy_n(frame.data(graph_.outputs[i]), elements(outputs_[i], frame.images),
                outputs[i].begin() + skipped);
  }
}

std::vector<std::string> NetworkExecutor::kernel_names() const { return count_kernels(steps_); }

uint64_t NetworkExecutor::memory_bytes() const {
  uint64_t bytes = 0;
  for (const auto& arena : arenas_) bytes += static_cast<uint64_t>(arena->capacity) * sizeof(float);
  for (const auto& [id, numbers] : decoded_) bytes += numbers.size() * sizeof(float);
  for (const auto& step : steps_) bytes += step->memory_bytes();
  return bytes;
}

}  // namespace bitsmith

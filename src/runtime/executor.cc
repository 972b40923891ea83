#include "runtime/executor.h"

#include <algorithm>
#include <set>

#include "core/interrupt.h"
#include "core/mapped_file.h"
#include "runtime/executor_parts.h"
#include "runtime/fuse_graph.h"
#include "runtime/memory_plan.h"
#include "runtime/native_operator.h"
#include "runtime/rope_table.h"

namespace bitsmith {

void Executor::Buffer::reserve(int64_t elements) {
  if (elements <= capacity) return;
  constexpr int64_t kLine = 16;  // float32 in a cache line
  memory = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(elements + kLine));
  capacity = elements;
  const auto address = reinterpret_cast<uintptr_t>(memory.get());
  data = memory.get() + (uintptr_t{64} - address % 64) % 64 / sizeof(float);
}

Executor::Executor(const Graph& source, const std::map<std::string, CodedTensor>& parameters,
                   ThreadPool& pool, int64_t max_batch_tokens)
    : pool_(pool), max_batch_tokens_(max_batch_tokens) {
  if (max_batch_tokens < 1) {
    fail(ErrorCode::kInvalidArgument, "executor: a batch needs at least one token, not {}",
         max_batch_tokens);
  }
  const Graph graph = fuse_graph(source);
  Preparation preparation(graph, parameters);
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1 ||
      !preparation.is_token_input(graph.inputs[0])) {
    fail(ErrorCode::kUnsupported,
         "executor: only graphs with one input, tokens [B, T], and one output can be run");
  }
  output_ = graph.outputs[0];
  output_channels_ = preparation.channels(output_);
  vocabulary_ = int64_t{1} << 31;

  std::vector<std::vector<size_t>> in_place;
  channels_.assign(graph.values.size(), 0);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const NativeOperator* op = Registry<NativeOperator>::instance().find(node.op);
    if (op == nullptr) {
      fail(ErrorCode::kUnsupported, "executor: node '{}' is a '{}', which has no native operator",
           node.name, node.op);
    }
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || graph.value(id).kind != ValueKind::kInput) continue;
      if (node.op != "embedding") {
        fail(ErrorCode::kUnsupported, "executor: node '{}' ({}) reads the tokens themselves",
             node.name, node.op);
      }
      vocabulary_ = std::min(vocabulary_, graph.value(node.inputs[1]).shape[0]);
    }
    for (const ValueId id : node.outputs) {
      channels_[static_cast<size_t>(id)] = preparation.channels(id);
    }
    steps_.push_back(op->prepare(preparation, node));
    step_weights_.emplace_back();
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || graph.value(id).kind != ValueKind::kParameter) continue;
      if (graph.value(id).shape.size() > 1) step_weights_.back() = preparation.parameter(id).bytes;
    }
    in_place.push_back(op->in_place_inputs());
    const Operator* meaning = Registry<Operator>::instance().find(node.op);
    if (meaning != nullptr && !meaning->positionwise) narrow_before_ = n + 1;  // fused ones are
  }
  cache_shapes_ = preparation.cache_shapes_;
  for (const auto& [weight, kernel] : preparation.kernels_) kernels_.push_back(kernel);

  // Values that are made before the narrowing and read after it.
  const std::vector<int64_t> last = last_uses(graph);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId id : graph.nodes[n].outputs) {
      if (n < narrow_before_ &&
          last[static_cast<size_t>(id)] >= static_cast<int64_t>(narrow_before_)) {
        narrowed_.push_back(id);
      }
      output_outside_ = output_outside_ || (id == output_ && n >= narrow_before_);
    }
  }
  MemoryPlan plan = plan_memory(graph, channels_, in_place, output_outside_ ? output_ : kNoValue);
  offsets_ = std::move(plan.offsets);
  row_elements_ = plan.row_elements;
  batch_ = std::make_unique<Batch>(pool, graph.values.size());
  for (const Node& node : graph.nodes) {
    if (node.op != "round_tokens") continue;
    const int levels = (1 << (node.integer("bits") - 1)) - 1;
    batch_->row_levels_[static_cast<size_t>(node.outputs[0])] = levels;
  }
}

Executor::~Executor() = default;

std::span<const float> Executor::run(std::span<const Segment> segments, Logits logits) {
  int64_t rows_out = 0;
  std::set<const Sequence*> seen;
  for (const Segment& segment : segments) {
    BITSMITH_ASSERT(segment.sequence != nullptr && !segment.tokens.empty());
    BITSMITH_ASSERT(segment.sequence->caches_.size() == cache_shapes_.size());
    BITSMITH_ASSERT(seen.insert(segment.sequence).second);
    for (const TokenId token : segment.tokens) {
      if (token >= 0 && token < vocabulary_) continue;
      fail(ErrorCode::kInvalidArgument,
           "executor: token {} is outside the model's vocabulary of {} tokens", token, vocabulary_);
    }
    rows_out += logits == Logits::kAll ? static_cast<int64_t>(segment.tokens.size()) : 1;
  }
  logits_.reserve(rows_out * output_channels_);

  Batch& batch = *batch_;
  size_t s = 0;         // the segment in work,
  size_t consumed = 0;  // and how many of its tokens went into batches
  int64_t rows_done = 0;
  std::vector<int64_t> wanted;
  while (s < segments.size()) {
    check_interrupt();
    batch.tokens.clear();
    batch.positions.clear();
    batch.segments.clear();
    wanted.clear();
    while (s < segments.size() && batch.rows() < max_batch_tokens_) {
      const Segment& segment = segments[s];
      const std::span<const TokenId> rest = segment.tokens.subspan(consumed);
      const size_t count =
          std::min(rest.size(), static_cast<size_t>(max_batch_tokens_ - batch.rows()));
      const int64_t position = segment.sequence->length_;
      batch.segments.push_back(
          {segment.sequence, batch.rows(), static_cast<int64_t>(count), position});
      for (size_t i = 0; i < count; ++i) {
        if (logits == Logits::kAll || i + 1 == rest.size()) wanted.push_back(batch.rows());
        batch.tokens.push_back(rest[i]);
        batch.positions.push_back(position + static_cast<int64_t>(i));
      }
      consumed += count;
      if (consumed == segment.tokens.size()) {
        ++s;
        consumed = 0;
      }
    }
    const std::vector<BatchSegment> read = batch.segments;
    run_batch(wanted, logits_.data + rows_done * output_channels_);
    for (const BatchSegment& segment : read) segment.sequence->length_ += segment.count;
    rows_done += static_cast<int64_t>(wanted.size());
  }
  return {logits_.data, static_cast<size_t>(rows_out * output_channels_)};
}

void Executor::run_batch(std::span<const int64_t> wanted, float* logits) {
  Batch& batch = *batch_;
  arena_.reserve(row_elements_ * batch.rows());
  for (size_t v = 0; v < offsets_.size(); ++v) {
    const bool planned = offsets_[v] != MemoryPlan::kNowhere;
    batch.data_[v] = planned ? arena_.data + offsets_[v] * batch.rows() : nullptr;
  }
  if (output_outside_) batch.data_[static_cast<size_t>(output_)] = logits;
  batch.activations_of_ = kNoValue;

  for (size_t n = 0; n < steps_.size(); ++n) {
    if (n == narrow_before_) {
      narrow(wanted);
      if (wanted.empty()) return;
    }
    steps_[n]->run(batch);
    if (!release_weights_) continue;
    steps_[n]->release();
    release_pages(step_weights_[n]);
  }
  if (narrow_before_ == steps_.size()) narrow(wanted);
  if (!output_outside_) {
    std::copy_n(batch.data(output_), static_cast<int64_t>(wanted.size()) * output_channels_,
                logits);
  }
}

// Keeps the wanted rows (ascending) of everything that is still to be read.
void Executor::narrow(std::span<const int64_t> wanted) {
  Batch& batch = *batch_;
  batch.segments.clear();
  if (static_cast<int64_t>(wanted.size()) == batch.rows()) return;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto row = static_cast<size_t>(wanted[i]);
    batch.tokens[i] = batch.tokens[row];
    batch.positions[i] = batch.positions[row];
  }
  batch.tokens.resize(wanted.size());
  batch.positions.resize(wanted.size());
  for (const ValueId id : narrowed_) {
    const int64_t channels = channels_[static_cast<size_t>(id)];
    float* data = batch.data(id);
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] == static_cast<int64_t>(i)) continue;
      std::copy_n(data + wanted[i] * channels, channels, data + static_cast<int64_t>(i) * channels);
    }
  }
  batch.activations_of_ = kNoValue;
}

bool Executor::keep_decoded_weights(uint64_t limit) {
  uint64_t bytes = 0;
  for (const auto& kernel : kernels_) bytes += kernel->decoded_bytes();
  if (bytes == 0 || bytes > limit) return false;
  for (const auto& kernel : kernels_) {
    check_interrupt();
    if (kernel->decoded_bytes() > 0) kernel->keep_decoded(pool_);
  }
  decoded_bytes_ = bytes;
  return true;
}

std::vector<std::string> Executor::kernel_names() const { return count_kernels(steps_); }

uint64_t Executor::memory_bytes() const {
  uint64_t bytes = static_cast<uint64_t>(arena_.capacity + logits_.capacity) * sizeof(float);
  bytes += decoded_bytes_;
  for (const auto& step : steps_) bytes += step->memory_bytes();
  return bytes;
}

}  // namespace bitsmith

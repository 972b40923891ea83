#include "speed.h"

#include <algorithm>
#include <set>

#include "core/interrupt.h"
#include "core/random.h"
#include "core/seconds.h"
#include "core/system_memory.h"
#include "runtime/executor.h"
#include "runtime/kernels/bandwidth.h"
#include "runtime/kernels/linear.h"
#include "runtime/sampler.h"

namespace bitsmith {
namespace {

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// What one token costs.
struct Work {
  double weight_bytes = 0;          // all parameters but rows of tables that are only looked up
  double cache_bytes_position = 0;  // for each position before it
  double operations = 0;            // of linear layers but those that only the last token needs
  double float_operations = 0;      // the part of them that is not multiplied as bytes
};

//   decoded: weights without a kernel are read as float32
Work work_of(const Model& model, bool decoded) {
  Work work;
  size_t last_attention = 0;
  for (size_t n = 0; n < model.graph.nodes.size(); ++n) {
    if (model.graph.nodes[n].op == "attention") last_attention = n;
  }
  std::set<ValueId> seen;
  for (size_t n = 0; n < model.graph.nodes.size(); ++n) {
    const Node& node = model.graph.nodes[n];
    if (node.op == "attention") {
      // Keys and values in binary16.
      work.cache_bytes_position +=
          static_cast<double>(4 * node.integer("kv_heads") * node.integer("head_dim"));
    }
    if (node.op == "embedding") continue;
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || model.graph.value(id).kind != ValueKind::kParameter) continue;
      const CodedTensor& tensor = model.parameter(model.graph.value(id).name);
      const bool is_matrix = node.op == "linear" && tensor.shape.size() == 2;
      const auto kernel = is_matrix ? make_linear_kernel(tensor) : nullptr;
      if (seen.insert(id).second) {
        const uint64_t floats = decoded && kernel ? kernel->decoded_bytes() : 0;
        work.weight_bytes += static_cast<double>(floats > 0 ? floats : tensor.bytes.size());
      }
      if (node.op != "linear" || tensor.shape.size() != 2 || n > last_attention) continue;
      const double operations = 2 * static_cast<double>(element_count(tensor.shape).value_or(0));
      work.operations += operations;
      if (!kernel->name().starts_with("int8")) work.float_operations += operations;
    }
  }
  return work;
}

std::vector<TokenId> random_tokens(int64_t count, int64_t vocabulary) {
  Random random(0, "bench");
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<TokenId>(random.below(static_cast<uint64_t>(vocabulary))));
  }
  return tokens;
}

}  // namespace

Speed measure_speed(const Model& model, const SpeedOptions& options) {
  ThreadPool pool(options.threads);
  Executor executor(model, pool, std::min<int64_t>(options.prompt, 512));
  Sequence sequence = executor.make_sequence();
  sequence.reserve(options.prompt + options.tokens);
  const std::vector<TokenId> tokens = random_tokens(options.prompt, executor.output_channels());
  const bool decoded = executor.keep_decoded_weights(available_memory_bytes() / 2);
  const Work work = work_of(model, decoded);

  Speed speed;
  speed.threads = options.threads;
  speed.prompt = options.prompt;
  speed.tokens = options.tokens;
  const bool floats = work.float_operations > work.operations / 2;
  speed.peak_kind = floats ? "float32" : "int8";

  // Brings the model's pages into memory.
  executor.run(sequence, std::span(tokens).first(1), Executor::Logits::kLast);
  std::vector<double> prompt_seconds;
  std::vector<double> text_seconds;
  for (int run = 0; run < options.runs; ++run) {
    check_interrupt();
    speed.bandwidth = std::max(speed.bandwidth, measure_read_bandwidth(pool));
    sequence.reset();
    auto start = Clock::now();
    std::span<const float> logits = executor.run(sequence, tokens, Executor::Logits::kLast);
    prompt_seconds.push_back(seconds_since(start));
    check_logits(logits);
    speed.peak = std::max(speed.peak, floats ? measure_float_peak(pool) : measure_int8_peak(pool));
    start = Clock::now();
    for (int64_t i = 0; i < options.tokens; ++i) {
      const TokenId token = tokens[static_cast<size_t>(i % options.prompt)];
      logits = executor.run(sequence, {&token, 1}, Executor::Logits::kLast);
    }
    text_seconds.push_back(seconds_since(start));
    check_logits(logits);
  }

  speed.prompt_tokens_per_s = static_cast<double>(options.prompt) / median(prompt_seconds);
  speed.text_tokens_per_s = static_cast<double>(options.tokens) / median(text_seconds);
  const double mean_position =
      static_cast<double>(options.prompt) + static_cast<double>(options.tokens) / 2;
  speed.bytes_per_token = work.weight_bytes + work.cache_bytes_position * mean_position;
  speed.read_bytes_per_s = speed.bytes_per_token * speed.text_tokens_per_s;
  speed.operations_per_s = work.operations * speed.prompt_tokens_per_s;
  speed.kernels = executor.kernel_names();
  speed.executor_bytes = executor.memory_bytes();
  speed.cache_bytes = sequence.memory_bytes();
  speed.peak_memory_bytes = peak_memory_bytes();
  return speed;
}

nlohmann::json Speed::to_json() const {
  return {{"threads", threads},
          {"prompt_tokens", prompt},
          {"text_tokens", tokens},
          {"prompt_tokens_per_s", prompt_tokens_per_s},
          {"text_tokens_per_s", text_tokens_per_s},
          {"bytes_per_token", bytes_per_token},
          {"read_bytes_per_s", read_bytes_per_s},
          {"bandwidth_bytes_per_s", bandwidth},
          {"bandwidth_fraction", read_bytes_per_s / bandwidth},
          {"operations_per_s", operations_per_s},
          {"peak_operations_per_s", peak},
          {"peak_kind", peak_kind},
          {"peak_fraction", operations_per_s / peak},
          {"kernels", kernels},
          {"executor_bytes", executor_bytes},
          {"cache_bytes", cache_bytes},
          {"peak_memory_bytes", peak_memory_bytes}};
}

}  // namespace bitsmith

#include "image_speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "core/interrupt.h"
#include "core/random.h"
#include "core/system_memory.h"
#include "graph/cost.h"
#include "products_option.h"
#include "runtime/kernels/bandwidth.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

using Clock = std::chrono::steady_clock;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// Random inputs of a network for some images.
std::vector<std::vector<float>> random_inputs(const NetworkExecutor& executor, int64_t images) {
  std::vector<std::vector<float>> inputs;
  Random random(0, "bench");
  for (const Shape& shape : executor.inputs()) {
    int64_t count = 1;
    for (const int64_t extent : shape) count *= extent == kBatch ? images : extent;
    std::vector<float> numbers(static_cast<size_t>(count));
    for (float& x : numbers) x = static_cast<float>(random.normal());
    inputs.push_back(std::move(numbers));
  }
  return inputs;
}

class Runs {
 public:
  Runs(NetworkExecutor& executor, int64_t images)
      : executor_(executor), images_(images), inputs_(random_inputs(executor, images)) {
    for (const auto& input : inputs_) spans_.emplace_back(input);
  }

  struct Seconds {
    double clock = 0;
    double processor = 0;  // of all threads
  };
  // Of one run, the mean over those that fit into half a second.
  Seconds seconds() {
    check_interrupt();
    const auto start = Clock::now();
    const double start_processor = processor_seconds();
    double spent = 0;
    int64_t count = 0;
    while (spent < 0.5) {
      const auto outputs = executor_.run(spans_, images_);
      ++count;
      spent = std::chrono::duration<double>(Clock::now() - start).count();
      if (count == 1) check(outputs);
    }
    const auto runs = static_cast<double>(count);
    return {spent / runs, (processor_seconds() - start_processor) / runs};
  }

 private:
  static double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

  static void check(const std::vector<std::vector<float>>& outputs) {
    for (const auto& output : outputs) {
      if (std::ranges::all_of(output, [](float x) { return std::isfinite(x); })) continue;
      fail(ErrorCode::kCorrupt, "the network's outputs are not finite: its weights are damaged");
    }
  }

  NetworkExecutor& executor_;
  int64_t images_;
  std::vector<std::vector<float>> inputs_;
  std::vector<std::span<const float>> spans_;
};

}  // namespace

ImageSpeed measure_image_speed(const Model& model, const ImageSpeedOptions& options) {
  ThreadPool pool(options.threads);
  NetworkExecutor executor(model, pool, options.products);
  check_products(options.products, executor.arithmetic());
  const int64_t fixed = executor.fixed_images();
  ImageSpeed speed;
  speed.threads = options.threads;
  speed.batch = fixed > 0 ? fixed : options.batch;
  for (const Node& node : model.graph.nodes) {
    speed.operations += 2 * static_cast<double>(multiply_adds(model.graph, node));
  }
  speed.operations /= static_cast<double>(std::max<int64_t>(1, fixed));

  speed.arithmetic = executor.arithmetic();
  const bool integers =
      speed.arithmetic.integer_multiply_adds > speed.arithmetic.float_multiply_adds;
  speed.peak_kind = integers ? "int8" : "float32";
  Runs batches(executor, speed.batch);
  Runs single(executor, fixed > 0 ? fixed : 1);
  batches.seconds();  // brings everything into memory
  std::vector<double> batch_seconds;
  std::vector<double> batch_processor_seconds;
  std::vector<double> single_seconds;
  for (int run = 0; run < options.runs; ++run) {
    const Runs::Seconds taken = batches.seconds();
    batch_seconds.push_back(taken.clock);
    batch_processor_seconds.push_back(taken.processor);
    const double peak = integers ? measure_int8_peak(pool) : measure_float_peak(pool);
    speed.peak = std::max(speed.peak, peak);
    single_seconds.push_back(single.seconds().clock);
  }
  speed.images_per_s = static_cast<double>(speed.batch) / median(batch_seconds);
  speed.images_per_processor_s = static_cast<double>(speed.batch) / median(batch_processor_seconds);
  speed.single_seconds = median(single_seconds);
  speed.kernels = executor.kernel_names();
  speed.executor_bytes = executor.memory_bytes();
  speed.peak_memory_bytes = peak_memory_bytes();
  return speed;
}

nlohmann::json ImageSpeed::to_json() const {
  return {{"threads", threads},
          {"batch", batch},
          {"images_per_s", images_per_s},
          {"images_per_processor_s", images_per_processor_s},
          {"single_seconds", single_seconds},
          {"operations_per_image", operations},
          {"operations_per_s", operations_per_s()},
          {"peak_operations_per_s", peak},
          {"peak_kind", peak_kind},
          {"peak_fraction", operations_per_s() / peak},
          {"arithmetic", arithmetic.to_json()},
          {"kernels", kernels},
          {"executor_bytes", executor_bytes},
          {"peak_memory_bytes", peak_memory_bytes}};
}

}  // namespace bitsmith

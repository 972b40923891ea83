// `bitsmith bench`: how fast a model runs, as fractions of what the machine can do.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <memory>

#include "commands.h"
#include "core/interrupt.h"
#include "core/thread_pool.h"
#include "formats/resident.h"
#include "image_speed.h"
#include "model_options.h"
#include "products_option.h"
#include "report/table.h"
#include "report/units.h"
#include "runtime/kernels/cpu.h"
#include "speed.h"

namespace bitsmith {
namespace {

struct BenchOptions {
  std::string model;
  double read_bits = 0;
  std::vector<int> threads;
  SpeedOptions speed;
  int64_t batch = 64;
  Products products = Products::kAuto;
  bool text_options = false;   // --prompt or --tokens were given
  bool image_options = false;  // --batch or --products was given
  bool json = false;
};

std::string percent(double fraction) { return fmt::format("{:.0f} %", 100 * fraction); }

void print(const Model& model, const std::vector<Speed>& speeds) {
  const Speed& first = speeds.front();
  fmt::print("{}: {} weights, {}\n", model.path.string(), format_weights(model.parameter_count()),
             format_bytes(model.parameter_bytes()));
  fmt::print(
      "prompt of {} tokens at once, then {} tokens one by one; {} of weights and cache per "
      "token\n\n",
      first.prompt, first.tokens, format_bytes(static_cast<uint64_t>(first.bytes_per_token)));
  Table table({right("threads"), right("prompt tokens/s"),
               right(fmt::format("of {} peak", first.peak_kind)), right("text tokens/s"),
               right("GB/s"), right("of bandwidth"), right("peak memory")});
  for (const Speed& s : speeds) {
    table.add_row(
        {fmt::format("{}", s.threads), fmt::format("{:.1f}", s.prompt_tokens_per_s),
         fmt::format("{} of {:.0f} G/s", percent(s.operations_per_s / s.peak), s.peak / 1e9),
         fmt::format("{:.2f}", s.text_tokens_per_s),
         fmt::format("{:.2f}", s.read_bytes_per_s / 1e9),
         fmt::format("{} of {:.1f} GB/s", percent(s.read_bytes_per_s / s.bandwidth),
                     s.bandwidth / 1e9),
         format_bytes(s.peak_memory_bytes)});
  }
  fmt::print("{}\nkernels: {}; target {}\n", table.text(), fmt::join(first.kernels, "; "),
             cpu_target());
}

void print(const Model& model, const std::vector<ImageSpeed>& speeds) {
  const ImageSpeed& first = speeds.front();
  fmt::print("{}: {} weights, {}, {:.3g} M multiply-adds for an image\n", model.path.string(),
             format_weights(model.parameter_count()), format_bytes(model.parameter_bytes()),
             first.operations / 2e6);
  fmt::print("random images, {} at once and one by one\n\n", first.batch);
  Table table({right("threads"), right("images/s"), right("G/s"),
               right(fmt::format("of {} peak", first.peak_kind)), right("one image"),
               right("executor"), right("peak memory")});
  for (const ImageSpeed& s : speeds) {
    table.add_row(
        {fmt::format("{}", s.threads), fmt::format("{:.4g}", s.images_per_s),
         fmt::format("{:.1f}", s.operations_per_s() / 1e9),
         fmt::format("{} of {:.0f} G/s", percent(s.operations_per_s() / s.peak), s.peak / 1e9),
         fmt::format("{:.3f} ms", 1e3 * s.single_seconds), format_bytes(s.executor_bytes),
         format_bytes(s.peak_memory_bytes)});
  }
  fmt::print("{}\narithmetic: {}\nkernels: {}; target {}\n", table.text(), first.arithmetic.text(),
             fmt::join(first.kernels, "; "), cpu_target());
}

template <class Speeds>
void print_json(const Model& model, const Speeds& speeds) {
  nlohmann::json result = {{"model", model.path.string()},
                           {"weights", model.parameter_count()},
                           {"parameter_bytes", model.parameter_bytes()},
                           {"target", cpu_target()}};
  result["runs"] = nlohmann::json::array();
  for (const auto& speed : speeds) result["runs"].push_back(speed.to_json());
  fmt::print("{}\n", result.dump(2));
}

void bench_images(const Model& model, const std::vector<int>& threads,
                  const BenchOptions& options) {
  std::vector<ImageSpeed> speeds;
  for (const int count : threads) {
    speeds.push_back(
        measure_image_speed(model, {count, options.batch, options.speed.runs, options.products}));
  }
  if (options.json) {
    print_json(model, speeds);
  } else {
    print(model, speeds);
  }
}

void bench(const BenchOptions& options) {
  catch_interrupts();
  Model model = open_model(options.model);
  apply_read_bits(model, options.read_bits);
  std::vector<int> threads = options.threads;
  if (threads.empty()) {
    threads = {1};
    if (ThreadPool::processors() > 1) threads.push_back(ThreadPool::processors());
  }
  const bool is_language = is_language_model(model.graph);
  if (is_language ? options.image_options : options.text_options) {
    fail(ErrorCode::kInvalidArgument, "'{}' is {}; see --help for which options belong to which",
         model.path.string(),
         is_language ? "a language model: it has no --batch and --products"
                     : "no language model: it has no --prompt and --tokens");
  }
  if (!is_language) {
    bench_images(model, threads, options);
    return;
  }
  {
    ThreadPool pool;
    make_resident(model, pool);  // as `run` does
  }
  std::vector<Speed> speeds;
  for (const int count : threads) {
    SpeedOptions speed = options.speed;
    speed.threads = count;
    speeds.push_back(measure_speed(model, speed));
  }
  if (options.json) {
    print_json(model, speeds);
  } else {
    print(model, speeds);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand(
      "bench", "Tokens or images per second, beside the memory bandwidth and peak of the machine.");
  command->footer(
      "Examples:\n"
      "  bitsmith bench small.bitsmith\n"
      "  bitsmith bench small.bitsmith --threads 1,2,4 --prompt 512 --tokens 64 --json\n"
      "  bitsmith bench net.onnx --batch 32\n"
      "  bitsmith bench powers.bitsmith --products shift\n"
      "\n"
      "Bandwidth and peak are measured in the same run with the same threads. The peak is of the\n"
      "arithmetic that most weights use: int8 dot products or float32 multiply-add.");
  command
      ->add_option("MODEL", options->model,
                   "a bitsmith file, a GGUF file, a Hugging Face folder or an ONNX file")
      ->required();
  add_read_bits_option(*command, options->read_bits);
  command->add_option("--threads", options->threads, "numbers of threads (default: 1 and all)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  CLI::Option* prompt =
      command->add_option("--prompt", options->speed.prompt, "language models: tokens read at once")
          ->capture_default_str()
          ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  CLI::Option* tokens = command
                            ->add_option("--tokens", options->speed.tokens,
                                         "language models: tokens written one by one")
                            ->capture_default_str()
                            ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  CLI::Option* batch = command->add_option("--batch", options->batch, "networks: images at once")
                           ->capture_default_str()
                           ->check(CLI::Range(int64_t{1}, int64_t{1} << 16));
  CLI::Option* products = add_products_option(*command, options->products);
  command->add_option("--runs", options->speed.runs, "repetitions; medians are reported")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, prompt, tokens, batch, products] {
    options->text_options = prompt->count() + tokens->count() > 0;
    options->image_options = batch->count() + products->count() > 0;
    bench(*options);
  });
}

}  // namespace bitsmith

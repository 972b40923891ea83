// Speed of the linear kernels on the shape of TinyLlama-1.1B, beside what the machine can do.
//
//     kernels_bench [threads ...]
//     kernels_bench codecs [threads]
//
// Weights are random. Decode: all 22 layers and the head, one token, so that every weight comes
// from memory. Prefill: one layer, 512 tokens, times 22. Only linear layers, without attention.
// `codecs` compares decoding with other codecs to int4, in turn; with one thread (the default) by
// its processor time, which other work on the machine disturbs least, with more by the clock.
// BITSMITH_BENCH_SCHEME=int4 measures only codecs whose label has this in it.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <vector>

#include "codecs/level_matrix.h"
#include "core/random.h"
#include "runtime/kernels/attention.h"
#include "runtime/kernels/bandwidth.h"
#include "runtime/kernels/cpu.h"
#include "runtime/kernels/linear.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

constexpr int64_t kLayers = 22;
constexpr int64_t kWidth = 2048;
constexpr int64_t kKvWidth = 256;
constexpr int64_t kHidden = 5632;
constexpr int64_t kVocabulary = 32000;

// The shortest of several runs: other work on the machine only adds time.
double best_seconds(int runs, const std::function<void()>& run) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::min(best, seconds.count());
  }
  return best;
}

// Of this thread.
double processor_seconds(const std::function<void()>& run) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double begin = now();
  run();
  return now() - begin;
}

struct Linear {
  CodedTensor weights;
  std::unique_ptr<LinearKernel> kernel;
  MatrixShape shape;
};

// The matrices of a model, all in one buffer as in a file.
class Model {
 public:
  explicit Model(const Scheme& scheme) : scheme_(scheme) {
    const std::vector<MatrixShape> layer = {
        {kWidth, kWidth},  {kKvWidth, kWidth}, {kKvWidth, kWidth}, {kWidth, kWidth},
        {kHidden, kWidth}, {kHidden, kWidth},  {kWidth, kHidden}};
    std::vector<MatrixShape> shapes;
    for (int64_t i = 0; i < kLayers; ++i) shapes.insert(shapes.end(), layer.begin(), layer.end());
    shapes.push_back({kVocabulary, kWidth});
    std::vector<size_t> offsets;
    size_t total = 0;
    for (const MatrixShape& shape : shapes) {
      offsets.push_back(total);
      total += (scheme.codec->encoded_bytes(shape, scheme.options) + 63) / 64 * 64;
    }
    // Random bits are valid codes; as binary16 scales, 0x2c.. is about 0.07.
    bytes_.resize(total);
    Random random(1);
    for (size_t i = 0; i + 8 <= total; i += 8) {
      const uint64_t word = (random.next() & 0x83ff83ff83ff83ffU) | 0x2c002c002c002c00U;
      std::memcpy(bytes_.data() + i, &word, 8);
    }
    for (size_t i = 0; i < shapes.size(); ++i) {
      Linear linear;
      linear.shape = shapes[i];
      linear.weights = {"w",
                        {shapes[i].rows, shapes[i].cols},
                        scheme,
                        std::span(bytes_).subspan(
                            offsets[i], scheme.codec->encoded_bytes(shapes[i], scheme.options))};
      set_row_tables(linear.weights, bytes_.data() + offsets[i]);
      linear.kernel = make_linear_kernel(linear.weights);
      linears_.push_back(std::move(linear));
    }
    x_.resize(static_cast<size_t>(512 * kHidden));
    for (float& v : x_) v = static_cast<float>(random.uniform() - 0.5);
    y_.resize(static_cast<size_t>(512 * kHidden));
  }

  int64_t bytes() const { return static_cast<int64_t>(bytes_.size()); }
  std::string_view kernel() const { return linears_[0].kernel->name(); }

  static int64_t layer_weights() {
    return 2 * kWidth * kWidth + 2 * kKvWidth * kWidth + 3 * kHidden * kWidth;
  }

  // Layers [0, layers) and, for one token, the head.
  void run(int64_t layers, int64_t tokens, ThreadPool& pool) {
    for (int64_t layer = 0; layer < layers; ++layer) {
      const Linear* l = linears_.data() + layer * 7;
      input_.reset(x_.data(), tokens, kWidth);
      for (int i = 0; i < 3; ++i) multiply(l[i], pool);  // q, k, v
      input_.reset(x_.data(), tokens, kWidth);
      multiply(l[3], pool);  // o
      input_.reset(x_.data(), tokens, kWidth);
      for (int i = 4; i < 6; ++i) multiply(l[i], pool);  // gate, up
      input_.reset(x_.data(), tokens, kHidden);
      multiply(l[6], pool);  // down
    }
    if (tokens == 1) {
      input_.reset(x_.data(), 1, kWidth);
      multiply(linears_.back(), pool);
    }
  }

 private:
  // Random levels would be finer or coarser than those of real rows: the same distances instead.
  static void set_row_tables(const CodedTensor& weights, std::byte* bytes) {
    const auto* codec = dynamic_cast<const LevelCodec*>(&*weights.scheme.codec);
    if (codec == nullptr) return;
    const auto matrix =
        codec->level_matrix(weights.matrix(), weights.scheme.options, weights.bytes);
    if (!matrix || !matrix->table_per_row) return;
    const int levels = 1 << matrix->bits;
    for (int64_t row = 0; row < weights.matrix().rows; ++row) {
      for (int i = 0; i < levels; ++i) {
        const uint16_t level = float_to_f16(static_cast<float>(2 * i + 1 - levels) / 64.0F);
        std::memcpy(bytes + matrix->layout.parameter_offset(row, 0, i), &level, 2);
      }
    }
  }

  void multiply(const Linear& linear, ThreadPool& pool) {
    linear.kernel->multiply(input_, y_.data(), linear.shape.rows, pool);
  }

  Scheme scheme_;
  std::vector<std::byte> bytes_;
  std::vector<Linear> linears_;
  std::vector<float> x_;
  std::vector<float> y_;
  Activations input_;
};

void bench_attention(ThreadPool& pool) {
  ops::AttentionOptions options;
  options.heads = 32;
  options.kv_heads = 4;
  options.head_dim = 64;
  options.scale = 0.125;
  for (const int64_t length : {512, 4096}) {
    KvCache cache(4, 64);
    std::vector<float> k(static_cast<size_t>(length * 256), 0.1F);
    cache.append(k.data(), k.data(), length);
    std::vector<float> q(static_cast<size_t>(512 * kWidth), 0.1F);
    std::vector<float> out(q.size());
    const double decode =
        best_seconds(20, [&] { attention(q.data(), 1, cache, options, out.data(), pool); });
    fmt::print("  attention, 1 token at {:5}: {:8.1f} us, {:6.1f} GB/s\n", length, decode * 1e6,
               static_cast<double>(length * 1024) / decode * 1e-9);
    const double prefill =
        best_seconds(3, [&] { attention(q.data(), 512, cache, options, out.data(), pool); });
    const double pairs = 512.0 * (static_cast<double>(length) - 255.5);
    fmt::print("  attention, 512 tokens to {:5}: {:8.1f} ms, {:6.1f} GFLOP/s\n", length,
               prefill * 1e3, pairs * 32 * 64 * 4 / prefill * 1e-9);
  }
}

void bench(const std::vector<int>& thread_counts) {
  fmt::print("target {}\n", cpu_target());
  const std::vector<Scheme> schemes = {
      Scheme("int", {{"bits", 4}, {"group", 32}, {"symmetric", true}}),
      Scheme("int", {{"bits", 4}, {"group", 64}, {"symmetric", false}}),
      Scheme("int", {{"bits", 8}, {"group", 32}, {"symmetric", true}}),
      Scheme("int", {{"bits", 2}, {"group", 64}, {"symmetric", false}}),
      Scheme("int", {{"bits", 3}, {"group", 64}, {"symmetric", false}}),
      Scheme("int", {{"bits", 5}, {"group", 64}, {"symmetric", false}}),
      Scheme("int", {{"bits", 6}, {"group", 64}, {"symmetric", false}}),
      Scheme("f16", nlohmann::json::object()),
      Scheme("bf16", nlohmann::json::object())};
  const char* only = std::getenv("BITSMITH_BENCH_SCHEME");  // "int4"
  for (const Scheme& scheme : schemes) {
    if (only != nullptr && scheme.label().find(only) == std::string::npos) continue;
    Model model(scheme);
    fmt::print("{}, {}, {} MB\n", scheme.label(), model.kernel(), model.bytes() / 1'000'000);
    for (const int threads : thread_counts) {
      ThreadPool pool(threads);
      const bool integer = scheme.codec->info().id == "int";
      const double bandwidth = measure_read_bandwidth(pool);
      const double peak = integer ? measure_int8_peak(pool) : measure_float_peak(pool);
      const double decode = best_seconds(8, [&] { model.run(kLayers, 1, pool); });
      const double rate = static_cast<double>(model.bytes()) / decode;
      const double prefill = best_seconds(4, [&] { model.run(1, 512, pool); });
      const double operations = 2.0 * 512 * static_cast<double>(Model::layer_weights()) / prefill;
      fmt::print(
          "  {} threads: decode {:6.1f} tok/s, {:5.1f} of {:5.1f} GB/s ({:3.0f} %); prefill "
          "{:6.1f} "
          "tok/s, {:6.1f} of {:6.1f} GOP/s ({:3.0f} %)\n",
          threads, 1 / decode, rate * 1e-9, bandwidth * 1e-9, 100 * rate / bandwidth,
          512 / (prefill * kLayers), operations * 1e-9, peak * 1e-9, 100 * operations / peak);
    }
  }
  for (const int threads : thread_counts) {
    ThreadPool pool(threads);
    fmt::print("{} threads:\n", threads);
    if (only == nullptr) bench_attention(pool);
  }
}

void bench_codecs(int threads) {
  using nlohmann::json;
  const std::vector<Scheme> schemes = {
      Scheme("nf4", {{"group", 64}}),
      Scheme("minifloat", {{"group", 64}}),
      Scheme("mxfp", json::object()),
      Scheme("nvfp4", json::object()),
      Scheme("pot", {{"group", 64}}),
      Scheme("apot", {{"group", 64}}),
      Scheme("codebook", {{"scope", "tensor"}}),
      Scheme("codebook", {{"scope", "tensor_scaled"}, {"group", 64}}),
      Scheme("codebook", {{"scope", "row"}}),
      Scheme("codebook", {{"scope", "row"}, {"bits", 3}}),
      Scheme("minifloat", {{"exponent", 1}, {"mantissa", 1}, {"group", 64}}),
      Scheme("mxfp", {{"element", "e2m3"}}),
      Scheme("mxfp", {{"element", "e4m3"}}),
      Scheme("minifloat", {{"exponent", 4}, {"mantissa", 3}, {"group", 0}}),
      Scheme("mxint", json::object()),
      Scheme("ternary", json::object()),
      Scheme("binary", json::object()),
      Scheme("planes", {{"planes", 2}}),
      Scheme("planes", {{"planes", 2}, {"digit", "trit"}}),
      Scheme("e8", json::object()),
      Scheme("vector", {{"dim", 2}}),
      Scheme("vector", {{"dim", 4}}),
      Scheme("vector", {{"dim", 8}, {"stages", 2}}),
      Scheme("trellis", {{"bits", 2}, {"code", "lookup"}}),
      Scheme("trellis", {{"bits", 3}, {"code", "lookup"}}),
      Scheme("trellis", {{"bits", 4}, {"code", "lookup"}}),
      Scheme("trellis", {{"bits", 2}, {"code", "mul1"}}),
      Scheme("trellis", {{"bits", 3}, {"code", "mul1"}}),
      Scheme("trellis", {{"bits", 4}, {"code", "mul1"}}),
      Scheme("trellis", {{"bits", 2}, {"code", "3inst"}}),
      Scheme("trellis", {{"bits", 4}, {"code", "3inst"}}),
      Scheme("q4_0", json::object()),
      Scheme("q8_0", json::object()),
      Scheme("q2_k", json::object()),
      Scheme("q3_k", json::object()),
      Scheme("q4_k", json::object()),
      Scheme("q5_k", json::object()),
      Scheme("q6_k", json::object())};
  const char* only = std::getenv("BITSMITH_BENCH_SCHEME");
  ThreadPool pool(threads);
  const auto seconds = [&](const std::function<void()>& run) {
    return threads == 1 ? processor_seconds(run) : best_seconds(1, run);
  };
  Model base(Scheme("int", {{"bits", 4}, {"group", 64}, {"symmetric", true}}));
  fmt::print("target {}; {}, best of 12 runs in turn with int4 g64 sym\n", cpu_target(),
             threads == 1 ? "1 thread, processor time" : fmt::format("{} threads", threads));
  fmt::print("{:28} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8}  {}\n", "", "MB", "ms", "GB/s", "int4",
             "ratio", "prefill", "kernel");
  for (const Scheme& scheme : schemes) {
    if (only != nullptr && scheme.label().find(only) == std::string::npos) continue;
    Model model(scheme);
    double best = 1e30;
    double best_base = 1e30;
    const bool slow = model.kernel().starts_with("decoded");
    for (int i = 0; i < (slow ? 1 : 12); ++i) {
      best_base = std::min(best_base, seconds([&] { base.run(kLayers, 1, pool); }));
      best = std::min(best, seconds([&] { model.run(kLayers, 1, pool); }));
    }
    double prefill = 1e30;
    double prefill_base = 1e30;
    for (int i = 0; i < 2; ++i) {
      prefill_base = std::min(prefill_base, seconds([&] { base.run(1, 512, pool); }));
      prefill = std::min(prefill, seconds([&] { model.run(1, 512, pool); }));
    }
    const double rate = static_cast<double>(model.bytes()) / best * 1e-9;
    const double base_rate = static_cast<double>(base.bytes()) / best_base * 1e-9;
    fmt::print("{:28} {:6} {:6.1f} {:6.1f} {:6.1f} {:6.2f} {:8.2f}  {}\n", scheme.label(),
               model.bytes() / 1'000'000, best * 1e3, rate, base_rate, rate / base_rate,
               prefill_base / prefill, model.kernel());
  }
}

}  // namespace
}  // namespace bitsmith

int main(int argc, char** argv) {
  if (argc >= 2 && std::strcmp(argv[1], "codecs") == 0) {
    bitsmith::bench_codecs(argc == 3 ? std::max(1, std::atoi(argv[2])) : 1);
    return 0;
  }
  std::vector<int> threads;
  for (int i = 1; i < argc; ++i) threads.push_back(std::max(1, std::atoi(argv[i])));
  if (threads.empty()) threads = {1, bitsmith::ThreadPool::processors()};
  bitsmith::bench(threads);
}

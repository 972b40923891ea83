// Speed of convolutions on layers of known networks, one thread, as a share of what the CPU can do.
//
//     conv_bench [images [dense|sparse|shift|winograd]]
//
// Weights are random. Peaks are measured in the same run (bandwidth.h): int8 by the dot product
// that the kernels use, float32 by fused multiply-add. They are by the clock, layers by processor
// time: shares of the peak need a quiet machine.
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string_view>

#include "core/random.h"
#include "runtime/kernels/bandwidth.h"
#include "runtime/kernels/conv_float.h"
#include "runtime/kernels/conv_int8.h"
#include "runtime/kernels/conv_shapes.h"
#include "runtime/kernels/conv_shift.h"
#include "runtime/kernels/conv_sparse.h"
#include "runtime/kernels/conv_winograd.h"
#include "runtime/kernels/cpu.h"

namespace bitsmith {
namespace {

struct Layer {
  const char* name;
  ConvShape shape;
};

// Padded so that a stride of 1 keeps the image's size.
ConvShape layer(int64_t channels, int64_t size, int64_t outputs, int64_t kernel, int64_t stride = 1,
                int64_t groups = 1) {
  return grouped(square(channels, size, outputs, kernel, stride, kernel / 2), groups);
}

const std::vector<Layer>& layers() {
  static const std::vector<Layer> kLayers = {
      {"ResNet-20 stem 3x3, 3 to 16, 32x32", layer(3, 32, 16, 3)},
      {"ResNet-20 3x3, 16 to 16, 32x32", layer(16, 32, 16, 3)},
      {"ResNet-20 3x3, 32 to 32, 16x16", layer(32, 16, 32, 3)},
      {"ResNet-20 3x3, 64 to 64, 8x8", layer(64, 8, 64, 3)},
      {"ResNet-50 stem 7x7 / 2, 3 to 64, 224", layer(3, 224, 64, 7, 2)},
      {"ResNet-50 1x1, 64 to 256, 56x56", layer(64, 56, 256, 1)},
      {"ResNet-50 3x3, 64 to 64, 56x56", layer(64, 56, 64, 3)},
      {"ResNet-50 3x3, 128 to 128, 28x28", layer(128, 28, 128, 3)},
      {"ResNet-50 1x1, 1024 to 256, 14x14", layer(1024, 14, 256, 1)},
      {"ResNet-50 3x3, 256 to 256, 14x14", layer(256, 14, 256, 3)},
      {"ResNet-50 3x3, 512 to 512, 7x7", layer(512, 7, 512, 3)},
      {"MobileNet 1x1, 32 to 64, 112x112", layer(32, 112, 64, 1)},
      {"MobileNet 1x1, 144 to 24, 56x56", layer(144, 56, 24, 1)},
      {"MobileNet 1x1, 96 to 576, 14x14", layer(96, 14, 576, 1)},
      {"MobileNet depthwise 3x3, 32, 112x112", layer(32, 112, 32, 3, 1, 32)},
      {"MobileNet depthwise 3x3, 144, 56x56", layer(144, 56, 144, 3, 1, 144)},
      {"MobileNet depthwise 3x3 / 2, 192, 28x28", layer(192, 28, 192, 3, 2, 192)},
      {"MobileNet depthwise 3x3, 576, 14x14", layer(576, 14, 576, 3, 1, 576)},
      {"fully connected, 2048 to 1000", layer(2048, 1, 1000, 1)}};
  return kLayers;
}

// Processor time of this thread, from which other work on the machine takes none.
double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The shortest of many runs: other work empties caches.
double best_seconds(const std::function<void()>& run) {
  double best = 1e30;
  double spent = 0;
  for (int i = 0; i < 500 && spent < 0.1; ++i) {
    const double begin = thread_seconds();
    run();
    const double seconds = thread_seconds() - begin;
    best = std::min(best, seconds);
    spent += seconds;
  }
  return best;
}

void bench(int64_t images) {
  constexpr int kPasses = 64;  // of 10 ms: a busy machine leaves few of them alone
  ThreadPool pool(1);
  const double int8_peak = measure_int8_peak(pool, kPasses);
  const double float_peak = measure_float_peak(pool, kPasses);
  fmt::print("target {}, {} images, 1 thread; peaks: int8 {:.0f} GOP/s, float32 {:.0f} GFLOP/s\n\n",
             cpu_target(), images, int8_peak * 1e-9, float_peak * 1e-9);
  fmt::print("| layer | int8 us | GOP/s | of peak | float32 us | GFLOP/s | of peak |\n");
  fmt::print("|---|---|---|---|---|---|---|\n");
  Random random(1);
  for (const auto& [name, s] : layers()) {
    const auto inputs = static_cast<size_t>(images * s.height * s.width * s.channels);
    const auto outputs = static_cast<size_t>(images * s.pixels() * s.outputs);
    std::vector<float> x(inputs + kConvSlackBytes);
    std::vector<uint8_t> codes(inputs + kConvSlackBytes);
    for (float& v : x) v = static_cast<float>(random.uniform() - 0.5);
    for (uint8_t& v : codes) v = static_cast<uint8_t>(random.below(256));
    std::vector<float> weights(static_cast<size_t>(s.weights()));
    std::vector<int8_t> weight_codes(weights.size());
    for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5);
    for (int8_t& w : weight_codes) w = static_cast<int8_t>(random.below(255)) - 127;
    std::vector<Dyadic> scales(static_cast<size_t>(s.outputs), make_dyadic(1e-3));
    std::vector<float> y(outputs);
    std::vector<uint8_t> y_codes(outputs);

    const Int8Conv int8({s, weight_codes, {}, scales, 128, 128, 0, 255});
    const FloatConv float32({s, weights, {}});
    const double int8_seconds =
        best_seconds([&] { int8.run(codes.data(), images, y_codes.data(), pool); });
    const double float_seconds =
        best_seconds([&] { float32.run(x.data(), images, y.data(), pool); });
    const double operations = 2.0 * static_cast<double>(s.products() * images);
    fmt::print("| {} | {:.1f} | {:.0f} | {:.0f} % | {:.1f} | {:.0f} | {:.0f} % |\n", name,
               int8_seconds * 1e6, operations / int8_seconds * 1e-9,
               100 * operations / int8_seconds / int8_peak, float_seconds * 1e6,
               operations / float_seconds * 1e-9, 100 * operations / float_seconds / float_peak);
  }
}

// At which share of zeros skipping them starts to pay.
void bench_sparse(int64_t images) {
  ThreadPool pool(1);
  fmt::print("\n| sparse float32 against dense | 0 % zeros | 50 % | 70 % | 80 % | 90 % | 95 % |\n");
  fmt::print("|---|---|---|---|---|---|---|\n");
  Random random(2);
  for (const auto& [name, s] : layers()) {
    if (s.is_depthwise() || s.pixels() == 1) continue;
    std::vector<float> x(
        static_cast<size_t>(images * s.height * s.width * s.channels + kConvSlackBytes));
    for (float& v : x) v = static_cast<float>(random.uniform() - 0.5);
    std::vector<float> y(static_cast<size_t>(images * s.pixels() * s.outputs));
    std::string row = fmt::format("| {} |", name);
    for (const double zeros : {0.0, 0.5, 0.7, 0.8, 0.9, 0.95}) {
      std::vector<float> weights(static_cast<size_t>(s.weights()));
      for (float& w : weights) {
        w = random.uniform() < zeros ? 0.0F : static_cast<float>(random.uniform() - 0.5);
      }
      const FloatConv dense({s, weights, {}});
      const SparseConv sparse({s, weights, {}});
      const double dense_seconds =
          best_seconds([&] { dense.run(x.data(), images, y.data(), pool); });
      const double sparse_seconds =
          best_seconds([&] { sparse.run(x.data(), images, y.data(), pool); });
      row += fmt::format(" {:.2f}x |", dense_seconds / sparse_seconds);
    }
    fmt::print("{}\n", row);
  }
}

// A normal deviate as the nearest of 0 and +-2^k, k up to 6, the largest at three deviations.
int32_t draw_power(Random& random) {
  const double x = random.normal() * 64 / 3;
  int32_t power = 64;
  while (power > 0 && std::abs(x) < 0.75 * power) power /= 2;
  return x < 0 ? -power : power;
}

// Powers of two and sums of two of them, some of them zero.
void bench_shift(int64_t images) {
  ThreadPool pool(1);
  fmt::print(
      "\n| shift-and-add against int8 multiplication | powers of two | sums of two | 75 % zeros | "
      "90 % | 95 % |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  Random random(3);
  for (const auto& [name, s] : layers()) {
    std::vector<uint8_t> x(
        static_cast<size_t>(images * s.height * s.width * s.channels + kConvSlackBytes));
    for (uint8_t& v : x) v = static_cast<uint8_t>(random.below(256));
    std::vector<uint8_t> y(static_cast<size_t>(images * s.pixels() * s.outputs));
    const std::vector<Dyadic> scales(static_cast<size_t>(s.outputs), make_dyadic(1e-3));
    std::string row = fmt::format("| {} |", name);
    for (const auto& [words, zeros] :
         {std::pair(1, 0.0), {2, 0.0}, {1, 0.75}, {1, 0.9}, {1, 0.95}}) {
      std::vector<int32_t> weights(static_cast<size_t>(s.weights()), 0);
      for (int32_t& w : weights) {
        if (random.uniform() < zeros) continue;
        for (int word = 0; word < words; ++word) w += draw_power(random) / words;
      }
      const std::vector<int8_t> bytes(weights.begin(), weights.end());
      const Int8Conv multiply({s, bytes, {}, scales, 128, 128, 0, 255});
      const ShiftConv shift({s, weights, {}, scales, 128, 128, 0, 255});
      const double int8_seconds =
          best_seconds([&] { multiply.run(x.data(), images, y.data(), pool); });
      const double shift_seconds =
          best_seconds([&] { shift.run(x.data(), images, y.data(), pool); });
      row += fmt::format(" {:.2f}x |", int8_seconds / shift_seconds);
    }
    fmt::print("{}\n", row);
  }
}

// Fewer products between transforms, against sums of all of them.
void bench_winograd(int64_t images) {
  ThreadPool pool(1);
  fmt::print("\n| Winograd against direct float32 |  |\n|---|---|\n");
  Random random(4);
  for (const auto& [name, s] : layers()) {
    if (!WinogradConv::can(s)) continue;
    std::vector<float> x(
        static_cast<size_t>(images * s.height * s.width * s.channels + kConvSlackBytes));
    for (float& v : x) v = static_cast<float>(random.uniform() - 0.5);
    std::vector<float> weights(static_cast<size_t>(s.weights()));
    for (float& w : weights) w = static_cast<float>(random.uniform() - 0.5);
    std::vector<float> y(static_cast<size_t>(images * s.pixels() * s.outputs));
    const FloatConv direct({s, weights, {}});
    const WinogradConv winograd({s, weights, {}});
    const double direct_seconds =
        best_seconds([&] { direct.run(x.data(), images, y.data(), pool); });
    const double seconds = best_seconds([&] { winograd.run(x.data(), images, y.data(), pool); });
    fmt::print("| {} | {:.2f}x{} |\n", name, direct_seconds / seconds,
               WinogradConv::pays(s) ? "" : ", not taken");
  }
}

}  // namespace
}  // namespace bitsmith

int main(int argc, char** argv) {
  const int images = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  const std::string_view part = argc > 2 ? argv[2] : "";
  if (part.empty() || part == "dense") bitsmith::bench(images);
  if (part.empty() || part == "sparse") bitsmith::bench_sparse(images);
  if (part.empty() || part == "shift") bitsmith::bench_shift(images);
  if (part.empty() || part == "winograd") bitsmith::bench_winograd(images);
}

// What this machine can do at best, measured: memory reads and arithmetic.
#include "runtime/kernels/bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>

#include "core/huge_memory.h"
#include "runtime/kernels/prefetch.h"
#include "runtime/kernels/targets.h"
#include "tensor/shape.h"
#define HWY_WANT_AVX3_DL 1

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/bandwidth.cc"
#include "hwy/foreach_target.h"
//
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/int_vector-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Returns something that depends on all bytes, read in kStreams pieces side by side; count is a
// multiple of kStreams * 512, p of 64.
template <int64_t kStreams, int64_t kAheadBytes>
HWY_INLINE uint64_t read_all(const uint8_t* p, int64_t count) {
  const hn::ScalableTag<uint64_t> d;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(d) * 8);
  const int64_t distance = count / kStreams;
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  for (int64_t i = 0; i < distance; i += 512) {
    for (int64_t s = 0; s < kStreams; ++s) {
      const uint8_t* piece = p + s * distance + i;
      if constexpr (kAheadBytes > 0) {
        for (int64_t line = 0; line < 512; line += 64) prefetch_far(piece + kAheadBytes + line);
      }
      for (int64_t k = 0; k < 512; k += 2 * kStep) {
        a = hn::Xor(a, hn::Load(d, reinterpret_cast<const uint64_t*>(piece + k)));
        b = hn::Xor(b, hn::Load(d, reinterpret_cast<const uint64_t*>(piece + k + kStep)));
      }
    }
  }
  HWY_ALIGN uint64_t lanes[hn::MaxLanes(d)];
  hn::Store(hn::Xor(a, b), d, lanes);
  uint64_t all = 0;
  for (const uint64_t lane : lanes) all ^= lane;
  return all;
}

// Which way is faster depends on the machine.
uint64_t read_straight(const uint8_t* p, int64_t count) { return read_all<1, 0>(p, count); }
uint64_t read_streams(const uint8_t* p, int64_t count) { return read_all<4, 1024>(p, count); }

// Independent sums, enough to hide the latency of each. They start from different values, or the
// compiler would make one of them.
constexpr size_t kChains = 12;

// Returns the operations done by `rounds` rounds; `seed` keeps the compiler from knowing the
// values.
double multiply_floats(int64_t rounds, float seed, float* sink) {
  const hn::ScalableTag<float> d;
  const auto x = hn::Set(d, seed);
  hn::Vec<hn::ScalableTag<float>> sums[kChains];
  unroll<kChains>([&](auto i)
                      BITSMITH_UNROLLED { sums[i] = hn::Set(d, seed + static_cast<float>(i)); });
  for (int64_t round = 0; round < rounds; ++round) {
    unroll<kChains>([&](auto i) BITSMITH_UNROLLED { sums[i] = hn::MulAdd(sums[i], x, x); });
  }
  unroll<kChains>([&](auto i) BITSMITH_UNROLLED { *sink += hn::GetLane(sums[i]); });
  return static_cast<double>(rounds) * static_cast<double>(kChains * hn::MaxLanes(d)) * 2;
}

double multiply_bytes(int64_t rounds, uint8_t seed, int32_t* sink) {
#if HWY_TARGET == HWY_SCALAR
  int32_t sum = *sink;
  for (int64_t i = 0; i < rounds; ++i) sum = sum * seed + seed;
  *sink = sum;
  return static_cast<double>(rounds) * 2;
#else
  const Bytes x = hn::Set(BytesTag(), seed);
  Ints sums[kChains];
  unroll<kChains>([&](auto i) BITSMITH_UNROLLED {
    sums[i] = hn::Set(IntsTag(), *sink + static_cast<int32_t>(i));
  });
  for (int64_t round = 0; round < rounds; ++round) {
    unroll<kChains>([&](auto i) BITSMITH_UNROLLED {
      sums[i] = dot4<7>(sums[i], hn::BitCast(BytesTag(), sums[i]), x);
    });
  }
  unroll<kChains>([&](auto i) BITSMITH_UNROLLED { *sink += hn::GetLane(sums[i]); });
  return static_cast<double>(rounds) * static_cast<double>(kChains * kPartBytes) * 2;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {
namespace {

HWY_EXPORT(read_straight);
HWY_EXPORT(read_streams);
HWY_EXPORT(multiply_floats);
HWY_EXPORT(multiply_bytes);

// Units per second of `pass`, which returns how many units it did; the best of `passes`.
template <class Pass>
double best_rate(int passes, const Pass& pass) {
  double best = 0;
  for (int i = 0; i < passes; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const double units = pass();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, units / seconds.count());
  }
  return best;
}

// About 10 milliseconds of arithmetic per pass.
constexpr int64_t kRounds = 2'000'000;

}  // namespace

double measure_read_bandwidth(ThreadPool& pool, int64_t buffer_bytes, int passes) {
  constexpr int64_t kChunk = int64_t{1} << 20;
  const int64_t chunks = std::max<int64_t>(1, buffer_bytes / kChunk);
  const HugeMemory memory(static_cast<size_t>(chunks * kChunk));
  auto* buffer = reinterpret_cast<uint8_t*>(memory.bytes().data());
  // Written by the threads that will read it, which places its pages near them.
  pool.run(chunks, [&](int64_t i, int) {
    std::memset(buffer + i * kChunk, static_cast<int>(i), static_cast<size_t>(kChunk));
  });
  std::atomic<uint64_t> sink{0};
  const auto rate = [&](auto read) {
    return best_rate((passes + 1) / 2, [&] {
      pool.run(chunks, [&](int64_t i, int) { sink += read(buffer + i * kChunk, kChunk); });
      return static_cast<double>(chunks * kChunk);
    });
  };
  return std::max(rate([](const uint8_t* p, int64_t count) {
                    return HWY_DYNAMIC_DISPATCH(read_straight)(p, count);
                  }),
                  rate([](const uint8_t* p, int64_t count) {
                    return HWY_DYNAMIC_DISPATCH(read_streams)(p, count);
                  }));
}

double measure_int8_peak(ThreadPool& pool, int passes) {
  std::atomic<int32_t> sink{1};
  return best_rate(passes, [&] {
    std::atomic<double> operations{0};
    pool.run(pool.threads(), [&](int64_t, int) {
      int32_t local = sink;
      operations += HWY_DYNAMIC_DISPATCH(multiply_bytes)(kRounds, 3, &local);
      sink = local;
    });
    return operations.load();
  });
}

double measure_float_peak(ThreadPool& pool, int passes) {
  std::atomic<float> sink{0};
  return best_rate(passes, [&] {
    std::atomic<double> operations{0};
    pool.run(pool.threads(), [&](int64_t, int) {
      float local = 0;
      operations += HWY_DYNAMIC_DISPATCH(multiply_floats)(kRounds, 0.5F, &local);
      sink = local;
    });
    return operations.load();
  });
}

}  // namespace bitsmith
#endif

// Integer depthwise convolutions: four taps of a channel in each lane of a byte dot product.
#include "runtime/kernels/depthwise.h"
#include "runtime/kernels/targets.h"

#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/depthwise_int8.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/requantize-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void convolve_depthwise(const ConvPlan& plan, const ConvTask& task, std::span<const int64_t> taps,
                        const int8_t* weights, const int32_t* bias, const Requantization& to,
                        uint8_t* y) {
  const DepthwiseLayout layout(plan.shape());
  const int64_t channels = plan.shape().channels;
  const int64_t end = std::min(channels, task.panel_end * kDepthwiseBlock);
  for (int64_t pixel = 0; pixel < task.pixels; ++pixel) {
    const uint8_t* x = task.x + task.offsets[pixel];
    uint8_t* out = y + task.outputs[pixel] * channels;
    for (int64_t c = task.panel_begin * kDepthwiseBlock; c < end; ++c) {
      const int64_t slot = layout.slot(c);
      int32_t sum = bias[slot];
      for (size_t tap = 0; tap < taps.size(); ++tap) {
        if (taps[tap] == kOutsideTap) continue;
        sum += x[taps[tap] + c] * weights[layout.weight(c, static_cast<int64_t>(tap))];
      }
      const Dyadic scale = {to.multipliers[slot], to.shifts[slot], to.lefts[slot]};
      out[c] = requantize(sum, scale, to.zero, to.min, to.max);
    }
  }
}

#else

constexpr auto kChannels = static_cast<int64_t>(kPartBytes);  // of a vector of input
constexpr auto kUnits = kChannels / 16;

// The bytes of a, b, c and d at each channel as the 4 bytes of a lane; part j has the channels
// 4j .. 4j + 3 of each unit of 16.
HWY_INLINE void interleave4(Bytes a, Bytes b, Bytes c, Bytes d, Bytes* HWY_RESTRICT parts) {
  const BytesTag d8;
  const WordsTag d16;
  const auto low_ab = hn::BitCast(d16, hn::InterleaveLower(d8, a, b));
  const auto high_ab = hn::BitCast(d16, hn::InterleaveUpper(d8, a, b));
  const auto low_cd = hn::BitCast(d16, hn::InterleaveLower(d8, c, d));
  const auto high_cd = hn::BitCast(d16, hn::InterleaveUpper(d8, c, d));
  parts[0] = hn::BitCast(d8, hn::InterleaveLower(d16, low_ab, low_cd));
  parts[1] = hn::BitCast(d8, hn::InterleaveUpper(d16, low_ab, low_cd));
  parts[2] = hn::BitCast(d8, hn::InterleaveLower(d16, high_ab, high_cd));
  parts[3] = hn::BitCast(d8, hn::InterleaveUpper(d16, high_ab, high_cd));
}

// A byte for each channel, in order, from the parts of interleave4() that are only scaled.
// Saturation leaves what lies outside of [min, max] outside.
HWY_INLINE Bytes codes_of(const Ints* HWY_RESTRICT parts, const Requantization& to) {
  const BytesTag d8;
#if HWY_TARGET == HWY_AVX3_DL
  const __m512i zero = _mm512_set1_epi16(static_cast<int16_t>(to.zero));
  const __m512i low = _mm512_packs_epi32(parts[0].raw, parts[1].raw);
  const __m512i high = _mm512_packs_epi32(parts[2].raw, parts[3].raw);
  const Bytes codes{
      _mm512_packus_epi16(_mm512_adds_epi16(low, zero), _mm512_adds_epi16(high, zero))};
#elif HWY_TARGET == HWY_AVX2
  const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(to.zero));
  const __m256i low = _mm256_packs_epi32(parts[0].raw, parts[1].raw);
  const __m256i high = _mm256_packs_epi32(parts[2].raw, parts[3].raw);
  const Bytes codes{
      _mm256_packus_epi16(_mm256_adds_epi16(low, zero), _mm256_adds_epi16(high, zero))};
#else
  static_assert(kUnits == 1);  // then parts follow each other
  const hn::Rebind<uint8_t, IntsTag> d_part;
  const Ints zero = hn::Set(IntsTag(), to.zero);
  HWY_ALIGN uint8_t bytes[16];
  unroll<4>([&](auto j) BITSMITH_UNROLLED {
    hn::StoreU(hn::DemoteTo(d_part, hn::Add(parts[j], zero)), d_part, bytes + j * 4);
  });
  const Bytes codes = hn::Load(d8, bytes);
#endif
  const Bytes min = hn::Set(d8, static_cast<uint8_t>(to.min));
  return hn::Min(hn::Max(codes, min), hn::Set(d8, static_cast<uint8_t>(to.max)));
}

// The block of kChannels channels that begins at `channel`, for all pixels.
HWY_NOINLINE void convolve_block(const ConvPlan& plan, const ConvTask& task,
                                 std::span<const int64_t> taps, int64_t channel,
                                 const int8_t* HWY_RESTRICT weights,
                                 const int32_t* HWY_RESTRICT bias, const Requantization& to,
                                 uint8_t* HWY_RESTRICT y) {
  const DepthwiseLayout layout(plan.shape());
  const int64_t channels = plan.shape().channels;
  const int64_t count = std::min(kChannels, channels - channel);
  const int64_t unit = channel / 16;
  HWY_ALIGN static constexpr uint8_t kPadding[kPartBytes] = {};
  const auto slot = [&](size_t part) {
    return (static_cast<int64_t>(part) * layout.units + unit) * 4;
  };
  const VectorRequantizer requantizers[4] = {
      {to, slot(0)}, {to, slot(1)}, {to, slot(2)}, {to, slot(3)}};
  Ints start[4];
  unroll<4>([&](auto j) BITSMITH_UNROLLED { start[j] = hn::LoadU(IntsTag(), bias + slot(j)); });
  for (int64_t pixel = 0; pixel < task.pixels; ++pixel) {
    const uint8_t* x = task.x + task.offsets[pixel] + channel;
    Ints sums[4];
    unroll<4>([&](auto j) BITSMITH_UNROLLED { sums[j] = start[j]; });
    const int8_t* w = weights + unit * 16;
    for (size_t tap = 0; tap < taps.size(); tap += 4) {
      Bytes pixels[4];
      unroll<4>([&](auto i) BITSMITH_UNROLLED {
        const int64_t offset = taps[tap + i];
        const bool outside = offset == kOutsideTap;
        pixels[i] = hn::LoadU(BytesTag(), outside ? kPadding : x + offset);
      });
      Bytes parts[4];
      interleave4(pixels[0], pixels[1], pixels[2], pixels[3], parts);
      unroll<4>([&](auto j) BITSMITH_UNROLLED {
        const int8_t* at = w + static_cast<int64_t>(j) * layout.units * 16;
        sums[j] =
            dot4<8>(sums[j], parts[j], hn::LoadU(BytesTag(), reinterpret_cast<const uint8_t*>(at)));
      });
      w += layout.units * 64;
    }
    unroll<4>([&](auto j) BITSMITH_UNROLLED { sums[j] = requantizers[j].scaled(sums[j]); });
    const Bytes codes = codes_of(sums, to);
    uint8_t* out = y + task.outputs[pixel] * channels + channel;
    if (HWY_LIKELY(count == kChannels)) {
      hn::StoreU(codes, BytesTag(), out);
    } else {
      HWY_ALIGN uint8_t all[kPartBytes];
      hn::Store(codes, BytesTag(), all);
      std::memcpy(out, all, static_cast<size_t>(count));
    }
  }
}

void convolve_depthwise(const ConvPlan& plan, const ConvTask& task, std::span<const int64_t> taps,
                        const int8_t* weights, const int32_t* bias, const Requantization& to,
                        uint8_t* y) {
  const int64_t end = std::min(plan.shape().channels, task.panel_end * kDepthwiseBlock);
  for (int64_t c = task.panel_begin * kDepthwiseBlock; c < end; c += kChannels) {
    convolve_block(plan, task, taps, c, weights, bias, to, y);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(convolve_depthwise);

void set_depthwise_taps(const ConvPlan& plan, const ConvTask& task, std::vector<int64_t>& taps) {
  const ConvWindow& window = task.window;
  const int64_t columns = plan.shape().kernel_w;
  const int64_t first = window.weights / 64;  // a step is a tap
  taps.assign(static_cast<size_t>(ceil_div(plan.shape().kernel_h * columns, 4) * 4), kOutsideTap);
  for (int64_t row = 0; row < window.rows; ++row) {
    for (int64_t run = 0; run < window.runs; ++run) {
      taps[static_cast<size_t>(first + row * columns + run)] =
          row * window.x_row + run * window.x_run;
    }
  }
}

void convolve_depthwise_int8(const ConvPlan& plan, const ConvTask& task,
                             std::span<const int64_t> taps, const int8_t* weights,
                             const int32_t* bias, const Requantization& to, uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(convolve_depthwise)(plan, task, taps, weights, bias, to, y);
}

}  // namespace bitsmith
#endif

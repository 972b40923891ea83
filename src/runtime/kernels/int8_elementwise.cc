// Operators on 8-bit codes between convolutions.
#include "runtime/kernels/int8_elementwise.h"

#include <cmath>

#include "runtime/kernels/targets.h"

#define HWY_WANT_AVX3_DL 1
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (BITSMITH_DISABLED_TARGETS | HWY_AVX3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/int8_elementwise.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "runtime/kernels/requantize-inl.h"
#endif

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
constexpr auto kLanes = static_cast<int64_t>(kPartRows);
using CodesTag = hn::Rebind<uint8_t, IntsTag>;

HWY_INLINE Ints load_codes(const uint8_t* p) {
  return hn::PromoteTo(IntsTag(), hn::LoadU(CodesTag(), p));
}
#endif

void add_codes(const Int8Add& add, const uint8_t* a, const uint8_t* b, int64_t count, uint8_t* y) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const IntsTag di;
  const Ints a_multiplier = hn::Set(di, add.scales.a_multiplier);
  const Ints b_multiplier = hn::Set(di, add.scales.b_multiplier);
  // The zero points' share and the rounding in one.
  const Ints start =
      hn::Set(di, (int32_t{1} << (add.scales.shift - 1)) - add.a_zero * add.scales.a_multiplier -
                      add.b_zero * add.scales.b_multiplier);
  const Ints zero = hn::Set(di, add.y_zero);
  const Ints min = hn::Set(di, add.y_min);
  const Ints max = hn::Set(di, add.y_max);
  for (; i + kLanes <= count; i += kLanes) {
    Ints sum = hn::Add(start, hn::Mul(load_codes(a + i), a_multiplier));
    sum = hn::Add(sum, hn::Mul(load_codes(b + i), b_multiplier));
    const Ints code = hn::Add(hn::ShiftRightSame(sum, add.scales.shift), zero);
    store_codes(hn::Min(hn::Max(code, min), max), y + i, kLanes);
  }
#endif
  for (; i < count; ++i) y[i] = add(a[i], b[i]);
}

void multiply_codes(const Int8Multiply& multiply, const uint8_t* a, const uint8_t* b, int64_t count,
                    uint8_t* y) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const IntsTag di;
  const VectorRequantizer requantizer(multiply.scale);
  const Ints a_zero = hn::Set(di, multiply.a_zero);
  const Ints b_zero = hn::Set(di, multiply.b_zero);
  for (; i + kLanes <= count; i += kLanes) {
    const Ints product =
        hn::Mul(hn::Sub(load_codes(a + i), a_zero), hn::Sub(load_codes(b + i), b_zero));
    const Ints codes = requantizer(product, multiply.y_zero, multiply.y_min, multiply.y_max);
    store_codes(codes, y + i, kLanes);
  }
#endif
  for (; i < count; ++i) y[i] = multiply(a[i], b[i]);
}

void look_up_codes(const Int8Table& table, const uint8_t* x, int64_t count, uint8_t* y) {
  int64_t i = 0;
#if HWY_TARGET == HWY_AVX3_DL
  // Two lookups of 128 entries, chosen by the highest bit.
  const __m512i t0 = _mm512_loadu_si512(table.data());
  const __m512i t1 = _mm512_loadu_si512(table.data() + 64);
  const __m512i t2 = _mm512_loadu_si512(table.data() + 128);
  const __m512i t3 = _mm512_loadu_si512(table.data() + 192);
  for (; i + 64 <= count; i += 64) {
    const __m512i codes = _mm512_loadu_si512(x + i);
    const __m512i low = _mm512_permutex2var_epi8(t0, codes, t1);
    const __m512i high = _mm512_permutex2var_epi8(t2, codes, t3);
    _mm512_storeu_si512(y + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high));
  }
#endif
  for (; i < count; ++i) y[i] = table[x[i]];
}

void quantize_floats(const float* x, float scale, int32_t zero, int64_t count, uint8_t* y) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const FloatsTag df;
  const Floats divisor = hn::Set(df, scale);
  const Floats bound = hn::Set(df, 512.0F);
  const Ints offset = hn::Set(IntsTag(), zero);
  for (; i + kLanes <= count; i += kLanes) {
    Floats v = hn::Div(hn::LoadU(df, x + i), divisor);
    v = hn::IfThenElseZero(hn::Eq(v, v), hn::Min(hn::Max(v, hn::Neg(bound)), bound));
    store_codes(hn::Add(hn::NearestInt(v), offset), y + i, kLanes);
  }
#endif
  for (; i < count; ++i) {
    const float v = x[i] / scale;
    const float bounded = std::isnan(v) ? 0.0F : std::clamp(v, -512.0F, 512.0F);
    y[i] = static_cast<uint8_t>(
        std::clamp(static_cast<int32_t>(std::nearbyint(bounded)) + zero, 0, 255));
  }
}

void dequantize_codes(const uint8_t* x, float scale, int32_t zero, int64_t count, float* y) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const FloatsTag df;
  const Floats factor = hn::Set(df, scale);
  const Ints offset = hn::Set(IntsTag(), zero);
  for (; i + kLanes <= count; i += kLanes) {
    const Ints codes = hn::Sub(load_codes(x + i), offset);
    hn::StoreU(hn::Mul(hn::ConvertTo(df, codes), factor), df, y + i);
  }
#endif
  for (; i < count; ++i) y[i] = static_cast<float>(x[i] - zero) * scale;
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(add_codes);
HWY_EXPORT(multiply_codes);
HWY_EXPORT(look_up_codes);
HWY_EXPORT(quantize_floats);
HWY_EXPORT(dequantize_codes);

void add(const Int8Add& add, const uint8_t* a, const uint8_t* b, int64_t count,
         uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(add_codes)(add, a, b, count, y);
}

void multiply(const Int8Multiply& multiply, const uint8_t* a, const uint8_t* b, int64_t count,
              uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(multiply_codes)(multiply, a, b, count, y);
}

void look_up(const Int8Table& table, const uint8_t* x, int64_t count, uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(look_up_codes)(table, x, count, y);
}

Int8Table rescaling_table(double scale, int32_t x_zero, int32_t y_zero) {
  const Dyadic d = make_dyadic(scale);
  Int8Table table;
  for (int32_t code = 0; code < 256; ++code) {
    table[static_cast<size_t>(code)] = requantize(code - x_zero, d, y_zero, 0, 255);
  }
  return table;
}

void quantize(const float* x, float scale, int32_t zero, int64_t count, uint8_t* y) noexcept {
  HWY_DYNAMIC_DISPATCH(quantize_floats)(x, scale, zero, count, y);
}

void dequantize(const uint8_t* x, float scale, int32_t zero, int64_t count, float* y) noexcept {
  HWY_DYNAMIC_DISPATCH(dequantize_codes)(x, scale, zero, count, y);
}

}  // namespace bitsmith
#endif

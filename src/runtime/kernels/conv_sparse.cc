// Sparse convolutions: a weight at a time, on registers of neighbouring pixels.
#include "runtime/kernels/conv_sparse.h"

#include "core/error.h"
#include "runtime/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/conv_sparse.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

// One output channel at kCount vectors of positions from x and y on.
struct SparseRow {
  const int32_t* offsets;
  const float* values;
  int64_t weights;
  float bias;
  float min;
  float max;

  template <size_t kCount>
  HWY_INLINE void run(const float* HWY_RESTRICT x, float* HWY_RESTRICT y) const {
    const Tag d;
    const size_t lanes = hn::Lanes(d);
    Vector sums[kCount];
    unroll<kCount>([&](auto i) BITSMITH_UNROLLED { sums[i] = hn::Set(d, bias); });
    for (int64_t k = 0; k < weights; ++k) {
      const float* HWY_RESTRICT from = x + offsets[k];
      const Vector w = hn::Set(d, values[k]);
      unroll<kCount>([&](auto i) BITSMITH_UNROLLED {
        sums[i] = hn::MulAdd(hn::LoadU(d, from + i * lanes), w, sums[i]);
      });
    }
    const Vector low = hn::Set(d, min);
    const Vector high = hn::Set(d, max);
    unroll<kCount>([&](auto i) BITSMITH_UNROLLED {
      // NaN stays NaN.
      const Vector above = hn::IfThenElse(hn::Lt(sums[i], low), low, sums[i]);
      hn::StoreU(hn::IfThenElse(hn::Gt(above, high), high, above), d, y + i * lanes);
    });
  }
};

// Reads and writes up to a vector beyond `positions`.
void convolve_sparse(const SparseRow& row, const float* x, int64_t positions, float* y) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Tag()));
  int64_t at = 0;
  for (; at + 8 * lanes <= positions; at += 8 * lanes) row.run<8>(x + at, y + at);
  switch (ceil_div(positions - at, lanes)) {
    case 1:
      return row.run<1>(x + at, y + at);
    case 2:
      return row.run<2>(x + at, y + at);
    case 3:
      return row.run<3>(x + at, y + at);
    case 4:
      return row.run<4>(x + at, y + at);
    case 5:
      return row.run<5>(x + at, y + at);
    case 6:
      return row.run<6>(x + at, y + at);
    case 7:
      return row.run<7>(x + at, y + at);
    case 8:
      return row.run<8>(x + at, y + at);
    default:
      return;
  }
}

void convolve_sparse_row(const int32_t* offsets, const float* values, int64_t weights, float bias,
                         float min, float max, const float* x, int64_t positions, float* y) {
  convolve_sparse({offsets, values, weights, bias, min, max}, x, positions, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {
namespace {

HWY_EXPORT(convolve_sparse_row);

// What vectors may read or write beyond the end.
constexpr int64_t kSlack = 64;

int64_t kept_weights(std::span<const float> weights) {
  return static_cast<int64_t>(weights.size()) - std::ranges::count(weights, 0.0F);
}

}  // namespace

bool SparseConv::pays(const FloatConvSpec& spec) {
  // Products of the dense kernel that take as long as a weight here, and as a plane made or read.
  constexpr double kWeight = 3;
  constexpr double kPlane = 40;
  constexpr int64_t kFewestPixels = 32;
  const ConvShape& shape = spec.shape;
  if (shape.is_depthwise() || shape.pixels() < kFewestPixels) return false;
  // Offsets are of 32 bits.
  const int64_t padded =
      (shape.padded_height() + shape.stride_h) * (shape.padded_width() + shape.stride_w);
  if (padded > (int64_t{1} << 30) / shape.channels) return false;
  return kWeight * static_cast<double>(kept_weights(spec.weights)) +
             kPlane * static_cast<double>(shape.channels + shape.outputs) <
         static_cast<double>(spec.weights.size());
}

SparseConv::SparseConv(const FloatConvSpec& spec)
    : shape_(spec.shape), planes_(spec.shape, 1), y_min_(spec.y_min), y_max_(spec.y_max) {
  BITSMITH_ASSERT(spec.weights.size() == static_cast<size_t>(shape_.weights()));
  BITSMITH_ASSERT(spec.bias.empty() || spec.bias.size() == static_cast<size_t>(shape_.outputs));
  BITSMITH_ASSERT(planes_.channel_size <= INT32_MAX / shape_.channels);

  const int64_t kept = kept_weights(spec.weights);
  offsets_ = AlignedArray<int32_t>(kept);
  values_ = AlignedArray<float>(kept);
  bias_ = AlignedArray<float>(shape_.outputs);
  std::ranges::copy(spec.bias, bias_.data());
  const int64_t inputs = shape_.group_channels();
  const int64_t taps = shape_.kernel_h * shape_.kernel_w;
  int64_t next = 0;
  for (int64_t o = 0; o < shape_.outputs; ++o) {
    begin_.push_back(next);
    const int64_t first = o / shape_.group_outputs() * inputs;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t offset = planes_.tap_offset(shape_, tap);
      for (int64_t c = 0; c < inputs; ++c) {
        const float w = spec.weights[static_cast<size_t>((o * inputs + c) * taps + tap)];
        if (w == 0) continue;
        offsets_[next] = static_cast<int32_t>((first + c) * planes_.channel_size + offset);
        values_[next++] = w;
      }
    }
  }
  begin_.push_back(next);
}

// Padding is there already, as zeros.
void SparseConv::make_planes(const float* image, int64_t first, int64_t end, float* planes) const {
  for (int64_t y = 0; y < shape_.height; ++y) {
    const float* row = image + y * shape_.width * shape_.channels;
    for (int64_t col = 0; col < std::min(shape_.stride_w, shape_.width); ++col) {
      float* pixel = planes + planes_.offset(shape_, y + shape_.pad_top, col + shape_.pad_left);
      for (int64_t x = col; x < shape_.width; x += shape_.stride_w, ++pixel) {
        const float* from = row + x * shape_.channels;
        for (int64_t c = first; c < end; ++c) pixel[c * planes_.channel_size] = from[c];
      }
    }
  }
}

void SparseConv::run(const float* x, int64_t images, float* y, ThreadPool& pool) const {
  constexpr int64_t kTogether = 16;  // channels of a task
  thread_local std::vector<float> scratch;
  const int64_t input_size = shape_.channels * planes_.channel_size + kSlack;
  const int64_t positions = planes_.positions(1);
  const int64_t output_stride = ceil_div(positions, kSlack) * kSlack + kSlack;
  const auto needed = static_cast<size_t>(input_size + shape_.outputs * output_stride);
  if (scratch.size() < needed) scratch.resize(needed);
  float* const input = scratch.data();
  std::fill_n(input, input_size, 0.0F);  // padding
  float* const outputs = input + input_size;
  const int64_t out_height = shape_.out_height();
  const int64_t out_width = shape_.out_width();
  for (int64_t i = 0; i < images; ++i) {
    const float* image = x + i * shape_.height * shape_.width * shape_.channels;
    float* out = y + i * shape_.pixels() * shape_.outputs;
    pool.run(ceil_div(shape_.channels, kTogether), [&](int64_t task, int) {
      const int64_t first = task * kTogether;
      make_planes(image, first, std::min(shape_.channels, first + kTogether), input);
    });
    pool.run(ceil_div(shape_.outputs, kTogether), [&](int64_t task, int) {
      const int64_t first = task * kTogether;
      const int64_t end = std::min(shape_.outputs, first + kTogether);
      for (int64_t o = first; o < end; ++o) {
        const int64_t begin = begin_[static_cast<size_t>(o)];
        HWY_DYNAMIC_DISPATCH(convolve_sparse_row)
        (offsets_.data() + begin, values_.data() + begin,
         begin_[static_cast<size_t>(o) + 1] - begin, bias_[o], y_min_, y_max_, input, positions,
         outputs + o * output_stride);
      }
      for (int64_t row = 0; row < out_height; ++row) {
        for (int64_t col = 0; col < out_width; ++col) {
          const float* from = outputs + row * planes_.width + col;
          float* to = out + (row * out_width + col) * shape_.outputs;
          for (int64_t o = first; o < end; ++o) to[o] = from[o * output_stride];
        }
      }
    });
  }
}

}  // namespace bitsmith
#endif

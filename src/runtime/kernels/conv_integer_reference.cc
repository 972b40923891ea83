// The specifications of integer convolutions: one product at a time.
#include "runtime/kernels/conv_integer.h"

namespace bitsmith {
namespace {

// Sums are modulo 2^32: only the last must fit.
uint32_t add_product(uint32_t sum, int32_t x, int8_t w) {
  return sum + static_cast<uint32_t>(x * w);
}

uint32_t add_product(uint32_t sum, int32_t x, int32_t w) {
  const bool negative = w < 0;
  auto bits = static_cast<uint32_t>(w);
  if (negative) bits = 0 - bits;
  auto shifted = static_cast<uint32_t>(x);
  for (; bits != 0; bits >>= 1, shifted <<= 1) {
    if ((bits & 1) != 0) sum = negative ? sum - shifted : sum + shifted;
  }
  return sum;
}

template <class Weight>
uint32_t add_products(uint32_t sum, const IntegerConvSpec<Weight>& spec, const uint8_t* image,
                      int64_t o, int64_t row, int64_t col) {
  const ConvShape& s = spec.shape;
  const int64_t inputs = s.group_channels();
  const int64_t first = o / s.group_outputs() * inputs;
  for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const int64_t y = row * s.stride_h + ky * s.dilation_h - s.pad_top;
      const int64_t x = col * s.stride_w + kx * s.dilation_w - s.pad_left;
      if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
      for (int64_t c = 0; c < inputs; ++c) {
        const int32_t code = image[(y * s.width + x) * s.channels + first + c];
        const auto w = static_cast<size_t>(((o * inputs + c) * s.kernel_h + ky) * s.kernel_w + kx);
        sum = add_product(sum, code - spec.x_zero, spec.weights[w]);
      }
    }
  }
  return sum;
}

// finish(output channel, sum) for every element of y, in its order.
template <class Weight, class Finish>
void for_sums(const IntegerConvSpec<Weight>& spec, const uint8_t* x, int64_t images,
              const Finish& finish) {
  const ConvShape& s = spec.shape;
  for (int64_t image = 0; image < images; ++image) {
    const uint8_t* in = x + image * s.height * s.width * s.channels;
    for (int64_t row = 0; row < s.out_height(); ++row) {
      for (int64_t col = 0; col < s.out_width(); ++col) {
        for (int64_t o = 0; o < s.outputs; ++o) {
          const int32_t bias = spec.bias.empty() ? 0 : spec.bias[static_cast<size_t>(o)];
          const uint32_t sum = add_products(static_cast<uint32_t>(bias), spec, in, o, row, col);
          finish(static_cast<size_t>(o), static_cast<int32_t>(sum));
        }
      }
    }
  }
}

template <class Weight>
void convolve(const IntegerConvSpec<Weight>& spec, const uint8_t* x, int64_t images, uint8_t* y) {
  for_sums(spec, x, images, [&](size_t o, int32_t sum) {
    *y++ = requantize(sum, spec.scales[o], spec.y_zero, spec.y_min, spec.y_max);
  });
}

template <class Weight>
void convolve(const IntegerConvSpec<Weight>& spec, const uint8_t* x, int64_t images, float* y) {
  for_sums(spec, x, images, [&](size_t o, int32_t sum) {
    *y++ = std::clamp(spec.number_scales[o] * static_cast<float>(sum), spec.low, spec.high);
  });
}

}  // namespace

void convolve_int8_reference(const Int8ConvSpec& spec, const uint8_t* x, int64_t images,
                             uint8_t* y) {
  convolve(spec, x, images, y);
}

void convolve_int8_reference(const Int8ConvSpec& spec, const uint8_t* x, int64_t images, float* y) {
  convolve(spec, x, images, y);
}

void convolve_shift_reference(const ShiftConvSpec& spec, const uint8_t* x, int64_t images,
                              uint8_t* y) {
  convolve(spec, x, images, y);
}

void convolve_shift_reference(const ShiftConvSpec& spec, const uint8_t* x, int64_t images,
                              float* y) {
  convolve(spec, x, images, y);
}

}  // namespace bitsmith

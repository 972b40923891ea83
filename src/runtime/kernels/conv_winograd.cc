// Winograd convolutions: tiles of the input are transformed, multiplied place by place, and
// transformed back.
#include "runtime/kernels/conv_winograd.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/kernels/targets.h"

namespace bitsmith {
#ifndef BITSMITH_CONV_WINOGRAD_ONCE_
#define BITSMITH_CONV_WINOGRAD_ONCE_

constexpr size_t kTile = 4;          // m: output pixels of a tile, down and across
constexpr size_t kSide = kTile + 2;  // input pixels

// The matrices of F(4, 3), for the points 0, 1, -1, 2 and -2.
constexpr float kInput[kSide][kSide] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0},
                                        {0, 4, -4, -1, 1, 0}, {0, -2, -1, 2, 1, 0},
                                        {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
constexpr double kKernel[kSide][3] = {{1.0 / 4, 0, 0},
                                      {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                      {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                      {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                      {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                      {0, 0, 1}};
constexpr float kOutput[kTile][kSide] = {
    {1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};

// Some tiles of all, in the order of images, rows and columns.
struct WinogradBlock {
  int64_t first;
  int64_t tiles;
  float y_min;
  float y_max;
};

// Where a tile lies: the output pixel of its first one.
struct WinogradTile {
  WinogradTile(const ConvShape& shape, int64_t number) {
    const auto m = static_cast<int64_t>(kTile);
    const int64_t rows = ceil_div(shape.out_height(), m);
    const int64_t columns = ceil_div(shape.out_width(), m);
    image = number / (rows * columns);
    row = number / columns % rows * m;
    column = number % columns * m;
  }
  int64_t image;
  int64_t row;
  int64_t column;
};
#endif
}  // namespace bitsmith

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/kernels/conv_winograd.cc"
#include "hwy/foreach_target.h"
//
#include "runtime/kernels/target-inl.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Tag>;
constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(Tag()));

// kMatrix[kRow] * x, x[j] = in[j * kStride], without products by 0, 1 and -1.
template <const auto& kMatrix, size_t kRow, size_t kLength, size_t kStride>
HWY_INLINE Vector row_product(const Vector* HWY_RESTRICT in) {
  const Tag d;
  Vector sum = hn::Zero(d);
  unroll<kLength>([&](auto j) BITSMITH_UNROLLED {
    constexpr float kFactor = kMatrix[kRow][decltype(j)::value];
    if constexpr (kFactor == 1) {
      sum = hn::Add(sum, in[j * kStride]);
    } else if constexpr (kFactor == -1) {
      sum = hn::Sub(sum, in[j * kStride]);
    } else if constexpr (kFactor != 0) {
      sum = hn::MulAdd(in[j * kStride], hn::Set(d, kFactor), sum);
    }
  });
  return sum;
}

// kMatrix * in * kMatrix^T; in [kLength][kLength], out [kRows][kRows]
template <const auto& kMatrix, size_t kRows, size_t kLength>
HWY_INLINE void transform(const Vector* HWY_RESTRICT in, Vector* HWY_RESTRICT out) {
  Vector half[kRows * kLength];
  unroll<kRows>([&](auto i) BITSMITH_UNROLLED {
    unroll<kLength>([&](auto j) BITSMITH_UNROLLED {
      half[i * kLength + j] =
          row_product<kMatrix, decltype(i)::value, kLength, kLength>(in + decltype(j)::value);
    });
  });
  unroll<kRows>([&](auto i) BITSMITH_UNROLLED {
    unroll<kRows>([&](auto j) BITSMITH_UNROLLED {
      out[i * kRows + j] =
          row_product<kMatrix, decltype(j)::value, kLength, 1>(half + decltype(i)::value * kLength);
    });
  });
}

// x: all images. to [(m + 2)^2][tiles][channels]; zeros: a pixel of padding.
void transform_input(const ConvShape& s, const WinogradBlock& block, const float* x,
                     const float* zeros, float* to) {
  const Tag d;
  for (int64_t t = 0; t < block.tiles; ++t) {
    const WinogradTile tile(s, block.first + t);
    const float* pixels[kSide * kSide];
    for (int64_t i = 0; i < static_cast<int64_t>(kSide * kSide); ++i) {
      const int64_t r = tile.row - s.pad_top + i / static_cast<int64_t>(kSide);
      const int64_t c = tile.column - s.pad_left + i % static_cast<int64_t>(kSide);
      const bool inside = r >= 0 && r < s.height && c >= 0 && c < s.width;
      pixels[i] = inside ? x + ((tile.image * s.height + r) * s.width + c) * s.channels : zeros;
    }
    for (int64_t c = 0; c < s.channels; c += kLanes) {
      Vector in[kSide * kSide];
      Vector out[kSide * kSide];
      unroll<kSide * kSide>([&](auto i) BITSMITH_UNROLLED { in[i] = hn::LoadU(d, pixels[i] + c); });
      transform<kInput, kSide, kSide>(in, out);
      unroll<kSide * kSide>([&](auto i) BITSMITH_UNROLLED {
        hn::StoreU(out[i], d, to + (static_cast<int64_t>(i) * block.tiles + t) * s.channels + c);
      });
    }
  }
}

// from [(m + 2)^2][tiles][outputs]; y: all images.
void transform_output(const ConvShape& s, const WinogradBlock& block, const float* from,
                      const float* bias, float* y) {
  const Tag d;
  const Vector low = hn::Set(d, block.y_min);
  const Vector high = hn::Set(d, block.y_max);
  const int64_t height = s.out_height();
  const int64_t width = s.out_width();
  for (int64_t t = 0; t < block.tiles; ++t) {
    const WinogradTile tile(s, block.first + t);
    float* to = y + ((tile.image * height + tile.row) * width + tile.column) * s.outputs;
    for (int64_t o = 0; o < s.outputs; o += kLanes) {
      Vector in[kSide * kSide];
      Vector out[kTile * kTile];
      unroll<kSide * kSide>([&](auto i) BITSMITH_UNROLLED {
        in[i] = hn::LoadU(d, from + (static_cast<int64_t>(i) * block.tiles + t) * s.outputs + o);
      });
      transform<kOutput, kTile, kSide>(in, out);
      const Vector start = hn::LoadU(d, bias + o);
      unroll<kTile>([&](auto i) BITSMITH_UNROLLED {
        unroll<kTile>([&](auto j) BITSMITH_UNROLLED {
          constexpr auto kRow = static_cast<int64_t>(decltype(i)::value);
          constexpr auto kColumn = static_cast<int64_t>(decltype(j)::value);
          if (tile.row + kRow < height && tile.column + kColumn < width) {
            const Vector v = hn::Add(out[i * kTile + j], start);
            // NaN stays NaN.
            const Vector above = hn::IfThenElse(hn::Lt(v, low), low, v);
            hn::StoreU(hn::IfThenElse(hn::Gt(above, high), high, above), d,
                       to + (kRow * width + kColumn) * s.outputs + o);
          }
        });
      });
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {
namespace {

HWY_EXPORT(transform_input);
HWY_EXPORT(transform_output);

constexpr auto kPlaces = static_cast<int64_t>(kSide * kSide);

// Of images, in all.
int64_t tiles_of(const ConvShape& shape, int64_t images) {
  const auto m = static_cast<int64_t>(kTile);
  return images * ceil_div(shape.out_height(), m) * ceil_div(shape.out_width(), m);
}

// Entry (place / kSide, place % kSide) of G w G^T, w [3][3].
float transformed_kernel(const float* w, size_t place) {
  double sum = 0;
  for (size_t k = 0; k < 9; ++k) {
    sum +=
        kKernel[place / kSide][k / 3] * kKernel[place % kSide][k % 3] * static_cast<double>(w[k]);
  }
  return static_cast<float>(sum);
}

}  // namespace

bool WinogradConv::can(const ConvShape& s) {
  return s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 1 && s.stride_w == 1 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.groups == 1 && s.channels % 16 == 0 &&
         s.outputs % 16 == 0;
}

bool WinogradConv::pays(const ConvShape& s) {
  // Products that take as long as the transform of a value.
  constexpr int64_t kTransform = 32;
  if (!can(s)) return false;
  const int64_t tile = kPlaces * (s.channels * s.outputs + kTransform * (s.channels + s.outputs));
  return tiles_of(s, 1) * tile < s.products();
}

WinogradConv::WinogradConv(const FloatConvSpec& spec)
    : shape_(spec.shape), y_min_(spec.y_min), y_max_(spec.y_max), bias_(spec.shape.outputs) {
  BITSMITH_ASSERT(can(shape_));
  BITSMITH_ASSERT(spec.weights.size() == static_cast<size_t>(shape_.weights()));
  BITSMITH_ASSERT(spec.bias.empty() || spec.bias.size() == static_cast<size_t>(shape_.outputs));
  std::ranges::copy(spec.bias, bias_.data());
  ConvShape pointwise;
  pointwise.channels = shape_.channels;
  pointwise.outputs = shape_.outputs;
  std::vector<float> weights(static_cast<size_t>(pointwise.weights()));
  for (size_t place = 0; place < kSide * kSide; ++place) {
    for (size_t k = 0; k < weights.size(); ++k) {
      weights[k] = transformed_kernel(spec.weights.data() + k * 9, place);
    }
    products_.emplace_back(FloatConvSpec{pointwise, weights, {}});
  }
}

int64_t WinogradConv::memory_bytes() const {
  int64_t bytes = bias_.bytes();
  for (const FloatConv& product : products_) bytes += product.memory_bytes();
  return bytes;
}

void WinogradConv::run(const float* x, int64_t images, float* y, ThreadPool& pool) const {
  // Of tiles, transformed and multiplied: what stays in the L2 cache beside the weights of a place.
  constexpr int64_t kBlockBytes = 512 * 1024;
  constexpr int64_t kFewest = 24;
  const int64_t tiles = tiles_of(shape_, images);
  const int64_t tile_bytes = kPlaces * (shape_.channels + shape_.outputs) * 4;
  int64_t most = std::max(kFewest, kBlockBytes / tile_bytes);
  if (pool.threads() > 1) most = std::min(most, std::max(kFewest, ceil_div(tiles, pool.threads())));
  const int64_t blocks = ceil_div(tiles, most);
  const std::vector<float> zeros(static_cast<size_t>(shape_.channels), 0.0F);
  pool.run(blocks, [&](int64_t i, int) {
    thread_local std::vector<float> scratch;
    thread_local ThreadPool serial(1);
    const WinogradBlock block = {i * most, std::min(most, tiles - i * most), y_min_, y_max_};
    const int64_t in_size = block.tiles * shape_.channels;
    const int64_t out_size = block.tiles * shape_.outputs;
    const auto needed = static_cast<size_t>(kPlaces * (in_size + out_size) + kConvSlackBytes);
    if (scratch.size() < needed) scratch.resize(needed);
    float* const products = scratch.data();
    float* const inputs = products + kPlaces * out_size;
    HWY_DYNAMIC_DISPATCH(transform_input)(shape_, block, x, zeros.data(), inputs);
    for (int64_t p = 0; p < kPlaces; ++p) {
      products_[static_cast<size_t>(p)].run(inputs + p * in_size, block.tiles,
                                            products + p * out_size, serial);
    }
    HWY_DYNAMIC_DISPATCH(transform_output)(shape_, block, products, bias_.data(), y);
  });
}

}  // namespace bitsmith
#endif

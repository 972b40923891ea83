#include "images/resize.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace bitsmith {
namespace {

constexpr int kWeightBits = 22;

// Which input pixels make an output pixel, and their weights.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;  // in 1/2^22
};

std::vector<Taps> make_taps(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(scale, 1.0);
  std::vector<Taps> taps(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    Taps& tap = taps[static_cast<size_t>(i)];
    // Pixels whose centre is less than `support` away, rounded outwards to whole ones.
    tap.first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
    const int64_t last = std::min(static_cast<int64_t>(centre + support + 0.5), in);
    std::vector<double> weights;
    double sum = 0;
    for (int64_t x = tap.first; x < last; ++x) {
      const double distance = std::abs(static_cast<double>(x) + 0.5 - centre) / support;
      weights.push_back(std::max(0.0, 1.0 - distance));
      sum += weights.back();
    }
    for (const double weight : weights) {
      tap.weights.push_back(
          static_cast<int32_t>(std::floor(weight / sum * (1 << kWeightBits) + 0.5)));
    }
  }
  return taps;
}

// One output row or column element: `in` steps from tap to tap by `stride`.
uint8_t apply(const Taps& taps, const uint8_t* in, int64_t stride) {
  int64_t sum = int64_t{1} << (kWeightBits - 1);
  for (size_t k = 0; k < taps.weights.size(); ++k) {
    sum += int64_t{taps.weights[k]} * in[(taps.first + static_cast<int64_t>(k)) * stride];
  }
  return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kWeightBits, 0, 255));
}

Image empty_image(int64_t height, int64_t width, int64_t channels) {
  Image image{height, width, channels, {}, {}};
  image.pixels.resize(static_cast<size_t>(height * width * channels));
  return image;
}

}  // namespace

Image resize_bilinear(const Image& image, int64_t height, int64_t width) {
  BITSMITH_ASSERT(height > 0 && width > 0 && image.height > 0 && image.width > 0);
  if (height == image.height && width == image.width) return image;
  const int64_t channels = image.channels;
  Image wide = empty_image(image.height, width, channels);
  const std::vector<Taps> across = make_taps(image.width, width);
  for (int64_t y = 0; y < image.height; ++y) {
    const uint8_t* row = image.pixels.data() + y * image.width * channels;
    uint8_t* out = wide.pixels.data() + y * width * channels;
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        *out++ = apply(across[static_cast<size_t>(x)], row + c, channels);
      }
    }
  }
  Image result = empty_image(height, width, channels);
  const std::vector<Taps> down = make_taps(image.height, height);
  uint8_t* out = result.pixels.data();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width * channels; ++x) {
      *out++ = apply(down[static_cast<size_t>(y)], wide.pixels.data() + x, width * channels);
    }
  }
  return result;
}

Image centre_crop(const Image& image, int64_t height, int64_t width) {
  if (height > image.height || width > image.width) {
    fail(ErrorCode::kInvalidArgument,
         "an image of {} x {} pixels cannot be cut to {} x {}: resize it first", image.height,
         image.width, height, width);
  }
  const int64_t top = (image.height - height) / 2;
  const int64_t left = (image.width - width) / 2;
  Image result = empty_image(height, width, image.channels);
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* in = image.pixels.data() + ((top + y) * image.width + left) * image.channels;
    std::copy_n(in, width * image.channels, result.pixels.data() + y * width * image.channels);
  }
  return result;
}

}  // namespace bitsmith

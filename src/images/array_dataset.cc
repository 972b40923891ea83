#include "images/array_dataset.h"

#include <cstring>

#include "core/error.h"

namespace bitsmith {
namespace {

class ArrayDataset final : public ImageDataset {
 public:
  explicit ArrayDataset(ImageArray array) : array_(std::move(array)) {
    elements_ = *element_count(array_.shape);
    const int64_t image_bytes = elements_ * (array_.floats ? 4 : 1);
    BITSMITH_ASSERT(array_.count >= 0 && array_.offset + image_bytes <= array_.stride);
    BITSMITH_ASSERT(array_.count * array_.stride <= static_cast<int64_t>(array_.bytes.size()));
    BITSMITH_ASSERT(array_.labels.empty() ||
                    static_cast<int64_t>(array_.labels.size()) == array_.count);
  }

  int64_t size() const override { return array_.count; }

  Image image(int64_t i) const override {
    const std::byte* in = array_.bytes.data() + i * array_.stride + array_.offset;
    Image image;
    if (array_.floats) {
      image.values.resize(static_cast<size_t>(elements_));
      std::memcpy(image.values.data(), in, image.values.size() * sizeof(float));
      return image;
    }
    image.height = array_.shape[0];
    image.width = array_.shape[1];
    image.channels = array_.shape[2];
    image.pixels.resize(static_cast<size_t>(elements_));
    if (array_.order == PixelOrder::kInterleaved) {
      std::memcpy(image.pixels.data(), in, image.pixels.size());
      return image;
    }
    const int64_t plane = image.height * image.width;
    for (int64_t c = 0; c < image.channels; ++c) {
      for (int64_t p = 0; p < plane; ++p) {
        image.pixels[static_cast<size_t>(p * image.channels + c)] =
            std::to_integer<uint8_t>(in[c * plane + p]);
      }
    }
    return image;
  }

  int64_t label(int64_t i) const override {
    return array_.labels.empty() ? kNoLabel : array_.labels[static_cast<size_t>(i)];
  }

  std::string name(int64_t i) const override {
    return fmt::format("image {} of '{}'", i, array_.file);
  }

  std::vector<std::string> classes() const override { return array_.classes; }

 private:
  ImageArray array_;
  int64_t elements_ = 0;
};

}  // namespace

std::unique_ptr<ImageDataset> make_array_dataset(ImageArray array) {
  return std::make_unique<ArrayDataset>(std::move(array));
}

int64_t checked_pixels(const Shape& shape, const std::string& file) {
  constexpr int64_t kLargestExtent = int64_t{1} << 20;
  constexpr int64_t kLargestImage = int64_t{1} << 32;
  int64_t pixels = 1;
  for (const int64_t extent : shape) {
    if (extent < 1 || extent > kLargestExtent || pixels > kLargestImage / extent) {
      fail(ErrorCode::kCorrupt, "'{}': {} is no shape of an image", file, to_string(shape));
    }
    pixels *= extent;
  }
  return pixels;
}

}  // namespace bitsmith

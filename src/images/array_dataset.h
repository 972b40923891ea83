// Datasets whose images all have one shape and lie one after the other in memory or a mapped file.
#pragma once

#include <memory>
#include <span>

#include "core/mapped_file.h"
#include "images/dataset.h"

namespace bitsmith {

// Where pixels lie within an image.
enum class PixelOrder {
  kInterleaved,  // [height, width, channels]
  kPlanar,       // [channels, height, width], as in CIFAR-10
};

// Bytes and what keeps them alive.
struct ImageArray {
  std::string file;  // for messages
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  bool floats = false;  // float32, else uint8
  int64_t count = 0;
  int64_t stride = 0;  // bytes from an image to the next
  int64_t offset = 0;  // bytes from the start of an image's entry to its pixels
  Shape shape;         // [height, width, channels]; for floats any
  PixelOrder order = PixelOrder::kInterleaved;
  std::vector<int64_t> labels;  // [count], or empty
  std::vector<std::string> classes = {};
};

// The array must lie within `bytes` (asserted).
std::unique_ptr<ImageDataset> make_array_dataset(ImageArray array);

// The product of extents that come from a file; kCorrupt if one is below 1, larger than 2^20, or
// the product is beyond 2^32.
int64_t checked_pixels(const Shape& shape, const std::string& file);

}  // namespace bitsmith

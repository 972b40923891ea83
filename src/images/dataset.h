// Images with labels, from the files that image datasets come in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tensor/shape.h"

namespace bitsmith {

// One image, row by row, channels side by side: element (y, x, c) at (y * width + x) * channels +
// c.
struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;         // 3: red, green, blue; 1: grey
  std::vector<uint8_t> pixels;  // [height, width, channels]
  // Instead of pixels: the network's input as it is, [any shape]; nothing is done to it.
  std::vector<float> values;
};

// Not changed after opening: image() may be called from several threads.
class ImageDataset {
 public:
  static constexpr int64_t kNoLabel = -1;

  virtual ~ImageDataset() = default;
  virtual int64_t size() const = 0;
  // Decodes image i. Throws kCorrupt, naming it.
  virtual Image image(int64_t i) const = 0;
  virtual int64_t label(int64_t i) const = 0;     // kNoLabel if it has none
  virtual std::string name(int64_t i) const = 0;  // for messages
  // Names of the labels, if the files say them; else empty.
  virtual std::vector<std::string> classes() const { return {}; }
};

struct ImageSource {
  std::filesystem::path images;
  std::filesystem::path labels;  // empty: the images' own; see read_labels()
  Shape raw_shape;               // [height, width, channels] of files without a header
};

// Looks at what `images` is:
//   a folder or a .tar of JPEG and PNG files: the folder that a file lies in is its class; classes
//     are numbered in alphabetical order, images in that of their paths
//   MNIST's idx file, also .gz
//   a CIFAR-10 batch, binary (3073 bytes for each image) or pickled
//   a .npy array [n, height, width, channels] or [n, height, width] of uint8, or [n, ...] of
//   float32 anything else with `raw_shape`: uint8 images one after the other
// Throws kNotFound, kCorrupt or kUnsupported; sizes are checked before memory is taken.
std::unique_ptr<ImageDataset> open_images(const ImageSource& source);

}  // namespace bitsmith

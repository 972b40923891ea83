// From images to the input of a network.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "images/dataset.h"

namespace bitsmith {

// In this order: resize, crop, channels, then for each channel (pixel * scale - mean) / deviation.
// The same numbers for any number of threads.
struct Preprocessing {
  // 0, 0: as it is. height only (width 0): the shorter side becomes that, the other in proportion
  // rounded down. Both: exactly.
  int64_t resize_height = 0;
  int64_t resize_width = 0;
  int64_t crop_height = 0;  // of the middle; 0: no crop
  int64_t crop_width = 0;
  int64_t channels = 3;      // 1: grey = (19595 r + 38470 g + 7471 b + 2^15) >> 16 (ITU-R BT.601)
  bool bgr = false;          // blue first; mean and deviation are in the order of the channels then
  double scale = 1;          // 1/255: pixels from 0 to 1
  std::vector<double> mean;  // one number, or one for each channel; empty: 0
  std::vector<double> deviation;  // the same; empty: 1
  bool channels_last = false;     // [height, width, channels]; else [channels, height, width]

  // {"resize": [h, w] or h, "crop": [h, w], "channels": 3, "order": "rgb", "scale": 1,
  //  "mean": [...], "std": [...], "layout": "nchw"}; what is left out has its default.
  nlohmann::json to_json() const;
  // kInvalidArgument for unknown keys and values out of bounds.
  static Preprocessing from_json(const nlohmann::json& json);
  friend bool operator==(const Preprocessing&, const Preprocessing&) = default;

  // The shape of one network input made from an image of this size: [C, H, W] or [H, W, C].
  Shape output_shape(int64_t height, int64_t width) const;
};

// Extents as people write them: "224" or "224x256" (height x width), for resize and crop.
// kInvalidArgument, naming `option`.
std::vector<int64_t> parse_extents(const std::string& text, const std::string& option);

// "0.5", "1/255", "0.485,0.456,0.406"
std::vector<double> parse_numbers(const std::string& text, const std::string& option);

// One network input, [output_shape()]; an image that holds values gives them as they are.
std::vector<float> preprocess(const Preprocessing& preprocessing, const Image& image);

// Images [begin, begin + count) of a dataset, decoded and prepared on all threads:
// [count, output_shape()]. kInvalidArgument, naming the image, if two differ in size.
std::vector<float> preprocess_batch(const Preprocessing& preprocessing, const ImageDataset& dataset,
                                    int64_t begin, int64_t count, ThreadPool& pool);

}  // namespace bitsmith

// Scaling and cutting images.
#pragma once

#include "images/dataset.h"

namespace bitsmith {

// Bilinear, with the triangle widened by the scale where the image shrinks, so that every pixel
// counts (what Pillow and torchvision do); the horizontal pass comes first and is rounded to bytes.
// Weights are integers in 1/2^22: the same bytes on every machine, within one level of Pillow's.
Image resize_bilinear(const Image& image, int64_t height, int64_t width);

// The middle [height, width]; where the rest is odd, the pixel more is cut at the bottom and right.
// Throws kInvalidArgument if the image is smaller.
Image centre_crop(const Image& image, int64_t height, int64_t width);

}  // namespace bitsmith

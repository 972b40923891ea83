// JPEG and PNG files.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "images/dataset.h"

namespace bitsmith {

// More pixels than this in one image are refused, before anything is allocated.
inline constexpr int64_t kMaxPixels = int64_t{1} << 26;

// Whether a file's name ends like an image's: .jpg .jpeg .png, in any case.
bool is_image_name(const std::string& name);

// Red, green and blue of a JPEG or PNG file; grey images are spread over the three, transparency is
// dropped. kCorrupt, naming the file. Bit by bit the same on one machine; another decoder may
// differ by a level or two.
Image decode_image(std::span<const std::byte> bytes, const std::string& file);

}  // namespace bitsmith

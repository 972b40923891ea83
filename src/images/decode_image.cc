#include "images/decode_image.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <memory>

#include "core/error.h"

// Only the two formats that are needed, and only from memory.
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS 65536
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace bitsmith {

bool is_image_name(const std::string& name) {
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower.ends_with(".jpg") || lower.ends_with(".jpeg") || lower.ends_with(".png");
}

Image decode_image(std::span<const std::byte> bytes, const std::string& file) {
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const auto size = static_cast<int>(bytes.size());
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    fail(ErrorCode::kCorrupt, "'{}' has {} bytes: too large for an image", file, bytes.size());
  }
  int width = 0;
  int height = 0;
  int channels = 0;
  const auto refuse = [&] {
    const char* reason = stbi_failure_reason();
    fail(ErrorCode::kCorrupt, "'{}' is no JPEG or PNG image that can be read: {}", file,
         reason != nullptr ? reason : "damaged");
  };
  if (stbi_info_from_memory(data, size, &width, &height, &channels) == 0) refuse();
  if (width < 1 || height < 1 || int64_t{width} * height > kMaxPixels) {
    fail(ErrorCode::kCorrupt, "'{}': an image of {} x {} pixels is too large", file, width, height);
  }
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(data, size, &width, &height, &channels, 3), stbi_image_free);
  if (pixels == nullptr) refuse();
  Image image{height, width, 3, {}, {}};
  image.pixels.assign(pixels.get(), pixels.get() + int64_t{3} * width * height);
  return image;
}

}  // namespace bitsmith

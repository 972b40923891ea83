#include "images/idx.h"

#include "core/error.h"

namespace bitsmith {

bool is_idx(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && bytes[0] == std::byte{0} && bytes[1] == std::byte{0} &&
         bytes[2] == std::byte{8} && bytes[3] >= std::byte{1} && bytes[3] <= std::byte{4};
}

IdxArray read_idx(std::span<const std::byte> bytes, const std::string& file) {
  if (!is_idx(bytes)) {
    fail(ErrorCode::kCorrupt, "'{}' is no idx file of unsigned bytes in 1 to 4 dimensions", file);
  }
  IdxArray array;
  const size_t extents = std::to_integer<size_t>(bytes[3]);
  if (bytes.size() < 4 + 4 * extents) {
    fail(ErrorCode::kCorrupt, "'{}' ends within its header", file);
  }
  for (size_t i = 0; i < extents; ++i) {
    int64_t extent = 0;
    for (size_t k = 0; k < 4; ++k) {
      extent = extent << 8 | std::to_integer<int64_t>(bytes[4 + 4 * i + k]);
    }
    array.shape.push_back(extent);
  }
  array.elements = bytes.subspan(4 + 4 * extents);
  const auto count = element_count(array.shape);
  if (!count || static_cast<uint64_t>(*count) != array.elements.size()) {
    fail(ErrorCode::kCorrupt, "'{}' holds {} bytes of the array {} (truncated download?)", file,
         array.elements.size(), to_string(array.shape));
  }
  return array;
}

}  // namespace bitsmith

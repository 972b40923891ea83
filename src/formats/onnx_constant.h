// Tensors whose elements are known while an ONNX file is imported.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "formats/onnx_file.h"

namespace bitsmith::onnx {

// Extents of a shape that are known only when the network runs, as Shape's result carries them.
// They go through gathering, joining and reshaping as they are; arithmetic makes them kUnknownMark.
inline constexpr int64_t kBatchMark = std::numeric_limits<int64_t>::min() + 0x1B175317;
inline constexpr int64_t kUnknownMark = kBatchMark + 1;

// Owns nothing: the elements, row-major and little-endian, lie in a file or in Buffers.
struct Constant {
  ElementType type = kUndefined;
  Shape shape;
  std::string_view bytes;  // count() * element_bytes(type)

  int64_t count() const { return *element_count(shape); }
};

// The memory of constants that were computed, with a limit for all of them together.
class Buffers {
 public:
  using Buffer = std::vector<std::byte>;

  explicit Buffers(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // A new buffer of zeros; kUnsupported beyond the limit.
  Buffer& add(uint64_t bytes);
  std::vector<std::shared_ptr<Buffer>> take() { return std::move(buffers_); }

  // Elements converted to `type`: floats rounded to nearest, integers wrapped.
  Constant numbers(ElementType type, Shape shape, const std::vector<double>& elements);
  Constant integers(ElementType type, Shape shape, const std::vector<int64_t>& elements);
  // A copy of elements of the same type.
  Constant bytes(ElementType type, Shape shape, std::string_view elements);

 private:
  Constant constant(ElementType type, Shape shape, const Buffer& buffer);

  uint64_t limit_bytes_;
  uint64_t used_bytes_ = 0;
  std::vector<std::shared_ptr<Buffer>> buffers_;
};

// Of 8- and 16-bit integers, which codes of activations may be; nothing for other types.
struct CodeRange {
  int64_t low = 0;
  int64_t high = 0;
};
std::optional<CodeRange> code_range(ElementType type);

bool is_number(ElementType type);  // one that bitsmith reads
// Elements as float64 (64-bit integers beyond 2^53 rounded), or of integer types exactly.
std::vector<double> numbers_of(const Constant& constant);
std::vector<int64_t> integers_of(const Constant& constant);

}  // namespace bitsmith::onnx

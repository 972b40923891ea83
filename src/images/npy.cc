#include "images/npy.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/error.h"

namespace bitsmith {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kLargestHeader = 1 << 16;

// The Python literal of the header, read word by word.
class Header {
 public:
  Header(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  NpyArray read() {
    NpyArray array;
    bool type = false;
    bool order = false;
    bool shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !type) {
        if (peek() == '[') unsupported("a structured type");
        array.type = quoted();
        type = true;
      } else if (key == "fortran_order" && !order) {
        if (word() != "False") unsupported("Fortran order; save it with numpy.ascontiguousarray");
        order = true;
      } else if (key == "shape" && !shape) {
        read_shape(array.shape);
        shape = true;
      } else {
        corrupt();
      }
      if (!accept(',') && peek() != '}') corrupt();
    }
    if (!type || !order || !shape) corrupt();
    return array;
  }

 private:
  [[noreturn]] void corrupt() const {
    fail(ErrorCode::kCorrupt, "'{}': its header is no NumPy header", file_);
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    fail(ErrorCode::kUnsupported, "'{}' is an array of {}", file_, what);
  }

  void skip_space() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }
  char peek() {
    skip_space();
    if (text_.empty()) corrupt();
    return text_[0];
  }
  bool accept(char c) {
    if (peek() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) corrupt();
  }
  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') corrupt();
    const size_t end = text_.find(quote, 1);
    if (end == std::string_view::npos) corrupt();
    std::string result(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return result;
  }
  std::string word() {
    skip_space();
    const size_t end = std::min(text_.find_first_of(" ,})"), text_.size());
    std::string result(text_.substr(0, end));
    text_.remove_prefix(end);
    return result;
  }
  void read_shape(Shape& shape) {
    expect('(');
    while (!accept(')')) {
      const std::string digits = word();
      if (digits.empty() || digits.size() > 12 || shape.size() >= 8 ||
          digits.find_first_not_of("0123456789") != std::string::npos) {
        corrupt();
      }
      shape.push_back(std::stoll(digits));
      if (!accept(',') && peek() != ')') corrupt();
    }
  }

  std::string_view text_;
  const std::string& file_;
};

// Bytes of one element of "<f4"; 0 if the type is not one that can be read.
int64_t element_bytes(const std::string& type) {
  const bool plain = type.size() == 3 && (type[0] == '<' || type[0] == '|') &&
                     std::string_view("uif").find(type[1]) != std::string_view::npos &&
                     std::string_view("1248").find(type[2]) != std::string_view::npos;
  return plain && (type[0] == '<' || type[2] == '1') ? type[2] - '0' : 0;
}

}  // namespace

bool is_npy(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

NpyArray read_npy(std::span<const std::byte> bytes, const std::string& file) {
  const size_t major = is_npy(bytes) && bytes.size() >= 12 ? std::to_integer<size_t>(bytes[6]) : 0;
  if (major < 1 || major > 3) {
    fail(ErrorCode::kCorrupt, "'{}' is no .npy file of version 1 to 3", file);
  }
  const size_t size_bytes = major == 1 ? 2 : 4;
  size_t size = 0;
  for (size_t i = 0; i < size_bytes; ++i) size |= std::to_integer<size_t>(bytes[8 + i]) << (8 * i);
  const size_t begin = 8 + size_bytes;
  if (size > kLargestHeader || begin + size > bytes.size()) {
    fail(ErrorCode::kCorrupt, "'{}': a header of {} bytes is too large", file, size);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + begin, size);
  NpyArray array = Header(text, file).read();
  const int64_t element = element_bytes(array.type);
  if (element == 0) {
    fail(ErrorCode::kUnsupported, "'{}' is an array of type '{}'; little-endian numbers are needed",
         file, array.type);
  }
  array.elements = bytes.subspan(begin + size);
  const auto count = element_count(array.shape);
  if (!count || *count > (int64_t{1} << 48) ||
      static_cast<uint64_t>(*count * element) != array.elements.size()) {
    fail(ErrorCode::kCorrupt, "'{}' holds {} bytes of the array {} of '{}' (truncated?)", file,
         array.elements.size(), to_string(array.shape), array.type);
  }
  return array;
}

}  // namespace bitsmith

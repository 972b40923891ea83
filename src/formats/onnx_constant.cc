#include "formats/onnx_constant.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith::onnx {
namespace {

static_assert(std::endian::native == std::endian::little);

template <class T>
T load(std::string_view bytes, size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void store(Buffers::Buffer& buffer, size_t i, T value) {
  std::memcpy(buffer.data() + i * sizeof(T), &value, sizeof(T));
}

// Calls use(T{}) with the C++ type of an integer element type; false for other types.
template <class Use>
bool with_integer_type(ElementType type, const Use& use) {
  switch (type) {
    case kUint8:
    case kBool:
      use(uint8_t{});
      return true;
    case kInt8:
      use(int8_t{});
      return true;
    case kUint16:
      use(uint16_t{});
      return true;
    case kInt16:
      use(int16_t{});
      return true;
    case kInt32:
      use(int32_t{});
      return true;
    case kUint32:
      use(uint32_t{});
      return true;
    case kInt64:
      use(int64_t{});
      return true;
    case kUint64:
      use(uint64_t{});
      return true;
    default:
      return false;
  }
}

double load_float(ElementType type, std::string_view bytes, size_t i) {
  switch (type) {
    case kFloat:
      return load<float>(bytes, i);
    case kDouble:
      return load<double>(bytes, i);
    case kFloat16:
      return f16_to_float(load<uint16_t>(bytes, i));
    default:
      BITSMITH_ASSERT(type == kBfloat16);
      return bf16_to_float(load<uint16_t>(bytes, i));
  }
}

void store_float(ElementType type, Buffers::Buffer& buffer, size_t i, double value) {
  switch (type) {
    case kFloat:
      store(buffer, i, static_cast<float>(value));
      break;
    case kDouble:
      store(buffer, i, value);
      break;
    case kFloat16:
      store(buffer, i, float_to_f16(static_cast<float>(value)));
      break;
    default:
      BITSMITH_ASSERT(type == kBfloat16);
      store(buffer, i, float_to_bf16(static_cast<float>(value)));
      break;
  }
}

// Out of range, and NaN, become the nearest end, or 0: a cast would be undefined.
int64_t saturated(double value) {
  if (std::isnan(value)) return 0;
  if (value >= 0x1p63) return std::numeric_limits<int64_t>::max();
  if (value < -0x1p63) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

}  // namespace

std::optional<CodeRange> code_range(ElementType type) {
  switch (type) {
    case kUint8:
      return CodeRange{0, 255};
    case kInt8:
      return CodeRange{-128, 127};
    case kUint16:
      return CodeRange{0, 65535};
    case kInt16:
      return CodeRange{-32768, 32767};
    default:
      return std::nullopt;
  }
}

bool is_number(ElementType type) { return element_bytes(type) > 0; }

Buffers::Buffer& Buffers::add(uint64_t bytes) {
  if (bytes > limit_bytes_ - used_bytes_) {
    fail(
        ErrorCode::kUnsupported,
        "onnx: the constants computed from the file's need more than {} MB, far more than the file",
        limit_bytes_ >> 20);
  }
  used_bytes_ += bytes;
  buffers_.push_back(std::make_shared<Buffer>(bytes));
  return *buffers_.back();
}

Constant Buffers::constant(ElementType type, Shape shape, const Buffer& buffer) {
  return {type, std::move(shape),
          std::string_view(reinterpret_cast<const char*>(buffer.data()), buffer.size())};
}

Constant Buffers::numbers(ElementType type, Shape shape, const std::vector<double>& elements) {
  if (is_integer(type)) {
    std::vector<int64_t> converted;
    converted.reserve(elements.size());
    for (const double x : elements) {
      converted.push_back(type == kBool ? x != 0 : saturated(x));
    }
    return integers(type, std::move(shape), converted);
  }
  Buffer& buffer = add(elements.size() * element_bytes(type));
  for (size_t i = 0; i < elements.size(); ++i) store_float(type, buffer, i, elements[i]);
  return constant(type, std::move(shape), buffer);
}

Constant Buffers::integers(ElementType type, Shape shape, const std::vector<int64_t>& elements) {
  Buffer& buffer = add(elements.size() * element_bytes(type));
  const bool done = with_integer_type(type, [&]<class T>(T) {
    for (size_t i = 0; i < elements.size(); ++i) {
      const int64_t x = type == kBool ? elements[i] != 0 : elements[i];
      store(buffer, i, static_cast<T>(x));
    }
  });
  for (size_t i = 0; !done && i < elements.size(); ++i) {
    store_float(type, buffer, i, static_cast<double>(elements[i]));
  }
  return constant(type, std::move(shape), buffer);
}

Constant Buffers::bytes(ElementType type, Shape shape, std::string_view elements) {
  Buffer& buffer = add(elements.size());
  if (!elements.empty()) std::memcpy(buffer.data(), elements.data(), elements.size());
  return constant(type, std::move(shape), buffer);
}

std::vector<double> numbers_of(const Constant& constant) {
  std::vector<double> result(static_cast<size_t>(constant.count()));
  const bool done = with_integer_type(constant.type, [&]<class T>(T) {
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] = static_cast<double>(load<T>(constant.bytes, i));
    }
  });
  for (size_t i = 0; !done && i < result.size(); ++i) {
    result[i] = load_float(constant.type, constant.bytes, i);
  }
  return result;
}

std::vector<int64_t> integers_of(const Constant& constant) {
  std::vector<int64_t> result(static_cast<size_t>(constant.count()));
  const bool done = with_integer_type(constant.type, [&]<class T>(T) {
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] = static_cast<int64_t>(load<T>(constant.bytes, i));
    }
  });
  for (size_t i = 0; !done && i < result.size(); ++i) {
    result[i] = saturated(load_float(constant.type, constant.bytes, i));
  }
  return result;
}

}  // namespace bitsmith::onnx

// Codec `f32`: numbers as IEEE binary32.
#include "codecs/plain.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

struct Float32 {
  using Bits = uint32_t;
  static constexpr float kLargest = std::numeric_limits<float>::max();
  static constexpr bool kByteExponent = true;
  static Bits to_bits(float x) { return std::bit_cast<uint32_t>(x); }
  static float to_float(Bits bits) { return std::bit_cast<float>(bits); }
  static PartInfo info() {
    return {.id = "f32", .summary = "numbers as IEEE binary32", .source = "IEEE 754-2019"};
  }
};

const Registration<Codec, PlainCodec<Float32>> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `f16`: numbers as IEEE binary16.
#include "codecs/plain.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

struct Float16 {
  using Bits = uint16_t;
  static constexpr float kLargest = 65504.0F;
  static constexpr bool kByteExponent = false;
  static Bits to_bits(float x) { return float_to_f16(x); }
  static float to_float(Bits bits) { return f16_to_float(bits); }
  static PartInfo info() {
    return {.id = "f16", .summary = "numbers as IEEE binary16", .source = "IEEE 754-2019"};
  }
};

const Registration<Codec, PlainCodec<Float16>> kRegistration;

}  // namespace
}  // namespace bitsmith

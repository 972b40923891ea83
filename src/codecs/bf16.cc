// Codec `bf16`: numbers as bfloat16.
#include "codecs/plain.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

struct BFloat16 {
  using Bits = uint16_t;
  static constexpr float kLargest = 0x1.fep127F;
  static constexpr bool kByteExponent = true;
  static Bits to_bits(float x) { return float_to_bf16(x); }
  static float to_float(Bits bits) { return bf16_to_float(bits); }
  static PartInfo info() {
    return {.id = "bf16",
            .summary = "numbers as bfloat16",
            .source = "Kalamkar et al. 2019, arXiv:1905.12322"};
  }
};

const Registration<Codec, PlainCodec<BFloat16>> kRegistration;

}  // namespace
}  // namespace bitsmith

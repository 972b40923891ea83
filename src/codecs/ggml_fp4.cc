// Codecs `mxfp4_ggml`, `nvfp4_ggml`: FP4 E2M1 codes with 8-bit float scales, in ggml's order.
//
//     mxfp4_ggml   e (E8M0) | 16 bytes: codes, halves            w = 2^(e - 128) T[c],  blocks of
//     32 nvfp4_ggml   4 scales s (E4M3) | 4 x 8 bytes: codes, halves
//                                          w = tensor_scale s T[c] / 2,  blocks of 64, sub-blocks
//                                          of 16
//
// T: twice the E2M1 numbers; bit 3 of a code is the sign. The order differs from the consecutive
// pairs of safetensors files. Open Compute Project, Microscaling Formats (MX) 1.0; NVIDIA's format
// has an E4M3 scale for 16 weights and one float32 for the tensor.
#include "codecs/ggml_bits.h"

namespace bitsmith {
namespace {

std::vector<float> e2m1_levels(float one) {
  std::vector<float> levels;
  for (const float sign : {1.0F, -1.0F}) {
    for (const float x : {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F}) {
      levels.push_back(x == 0.0F ? 0.0F : sign * x * one);  // ggml has no -0
    }
  }
  return levels;
}

void pack_mx(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  bytes[0] = static_cast<uint8_t>(header.scale[0]);
  put_halves(codes.data(), 16, bytes + 1);
}

void unpack_mx(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  header.scale[0] = bytes[0];
  get_halves(bytes + 1, 16, codes.data());
}

void pack_nv(const GgmlHeader& header, const GgmlCodes& codes, uint8_t* bytes) {
  for (size_t j = 0; j < 4; ++j) {
    bytes[j] = static_cast<uint8_t>(header.scale[j]);
    put_halves(codes.data() + 16 * j, 8, bytes + 4 + 8 * j);
  }
}

void unpack_nv(const uint8_t* bytes, GgmlHeader& header, GgmlCodes& codes) {
  for (size_t j = 0; j < 4; ++j) {
    header.scale[j] = bytes[j];
    get_halves(bytes + 4 + 8 * j, 8, codes.data() + 16 * j);
  }
}

GgmlFormat mxfp4() {
  GgmlFormat f{.id = "mxfp4_ggml",
               .label = "MXFP4",
               .summary = "ggml: FP4 with a power of two for every 32 columns",
               .block_cols = 32,
               .block_bytes = 17,
               .sub_cols = 32,
               .levels = e2m1_levels(2),
               .used_codes = 16,
               .scales = GgmlScale::kE8M0};
  f.pack = pack_mx;
  f.unpack = unpack_mx;
  return f;
}

GgmlFormat nvfp4() {
  GgmlFormat f{.id = "nvfp4_ggml",
               .label = "NVFP4",
               .summary = "ggml: FP4 with an FP8 scale for every 16 columns",
               .block_cols = 64,
               .block_bytes = 36,
               .sub_cols = 16,
               .levels = e2m1_levels(1),
               .used_codes = 16,
               .scales = GgmlScale::kE4M3};
  f.pack = pack_nv;
  f.unpack = unpack_nv;
  return f;
}

const Registration<Codec, GgmlCodecOf<mxfp4>> kMxfp4;
const Registration<Codec, GgmlCodecOf<nvfp4>> kNvfp4;

}  // namespace
}  // namespace bitsmith

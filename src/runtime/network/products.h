// How layers on integers come by their products.
#pragma once

namespace bitsmith {

enum class Products {
  kAuto,      // the faster of the two, where a layer can have both
  kMultiply,  // 8-bit codes are multiplied; layers of wider weights compute in float32
  kShift,     // input codes are shifted and added (runtime/kernels/conv_shift.h)
};

}  // namespace bitsmith

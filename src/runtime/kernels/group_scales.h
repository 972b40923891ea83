// Where the scales of a coded matrix lie and what they mean: the specification for kernels.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "codecs/grouped.h"
#include "codecs/scales.h"
#include "tensor/dtype.h"

namespace bitsmith {

enum class ScaleKind : uint8_t {
  kOne,   // factor, for all groups
  kRow,   // row_factors[row]
  kF16,   // binary16 * factor
  kE8m0,  // 2^(byte - 127) * factor; 255, which is no number, gives infinity
  kE4m3,  // (byte without its highest bit, as E4M3) * factor
  kE5m3,  // (byte as E5M3 without a sign) * factor
};

// The scale of every group of every row, all arithmetic in float32, each operation rounded.
struct GroupScales {
  ScaleKind kind = ScaleKind::kOne;
  float factor = 1.0F;
  const float* row_factors = nullptr;  // [rows, rounded up to 16], for kRow
  // That of row 0 of a panel's group; those of the other 15 follow.
  const uint8_t* scales = nullptr;
  int64_t group_bytes = 0;  // from group to group
  int64_t panel_bytes = 0;  // from panel to panel

  GroupScales() = default;
  // Parameter `index` of each group, of the type `format`.
  GroupScales(const GroupedLayout& layout, const uint8_t* bytes, int index, ScaleFormat format,
              float factor_in)
      : kind(format == ScaleFormat::kF16    ? ScaleKind::kF16
             : format == ScaleFormat::kE8m0 ? ScaleKind::kE8m0
             : format == ScaleFormat::kE4m3 ? ScaleKind::kE4m3
                                            : ScaleKind::kE5m3),
        factor(factor_in),
        scales(bytes + layout.parameter_offset(0, 0, index)),
        group_bytes(layout.group_bytes * CodePlanes::kPanelRows),
        panel_bytes(group_bytes * layout.groups) {}

  // E4M3 and E5M3 moved to the place of a binary32 are smaller by 2^(difference of the biases).
  static constexpr float kE4m3Power = 0x1p120F;
  static constexpr float kE5m3Power = 0x1p112F;

  float at(int64_t row, int64_t group) const {
    if (kind == ScaleKind::kRow) return row_factors[row];
    if (kind == ScaleKind::kOne) return factor;
    const int64_t lane = row % CodePlanes::kPanelRows;
    const uint8_t* in =
        scales + row / CodePlanes::kPanelRows * panel_bytes + group * group_bytes + lane;
    switch (kind) {
      case ScaleKind::kF16:
        return f16_to_float(static_cast<uint16_t>(in[lane] | in[lane + 1] << 8)) * factor;
      case ScaleKind::kE8m0:
        return std::bit_cast<float>(std::max(uint32_t{*in} << 23, 0x400000u)) * factor;
      case ScaleKind::kE4m3:
        return std::bit_cast<float>((*in & 0x7fu) << 20) * kE4m3Power * factor;
      default:
        return std::bit_cast<float>(uint32_t{*in} << 20) * kE5m3Power * factor;
    }
  }
};

}  // namespace bitsmith

// Depthwise convolutions: one filter for each channel, a lane for each channel.
#pragma once

#include <limits>
#include <span>
#include <vector>

#include "runtime/kernels/conv_plan.h"
#include "runtime/kernels/requantization.h"

namespace bitsmith {

// Taps of byte weights are taken four at a time, a QUAD, in units of 16 channels, so that the taps
// of a channel lie in one 32-bit lane once the bytes of four pixels are interleaved:
//
//     [quads][4 parts][units][4 lanes][4 taps]     channel = unit * 16 + part * 4 + lane
//
// which is the order that interleaving within 16-byte blocks gives on every target. Missing taps
// and channels have zero weights; units are filled to a multiple of 4 (64 bytes). Biases and scales
// are in the same order, [4 parts][units][4 lanes].
struct DepthwiseLayout {
  explicit DepthwiseLayout(const ConvShape& shape)
      : quads(ceil_div(shape.kernel_h * shape.kernel_w, 4)),
        units(ceil_div(shape.channels, 64) * 4) {}

  int64_t quads;
  int64_t units;

  int64_t channels() const { return units * 16; }
  int64_t weight_bytes() const { return quads * units * 64; }
  // Of bias and scale.
  int64_t slot(int64_t channel) const {
    return (channel % 16 / 4 * units + channel / 16) * 4 + channel % 4;
  }
  int64_t weight(int64_t channel, int64_t tap) const {
    return (tap / 4 * units * 16 + slot(channel)) * 4 + tap % 4;
  }
};

// Blocks of channels to share among threads: the `panels` of their tasks.
inline constexpr int64_t kDepthwiseBlock = 64;

// Where the taps of a task's pixels lie, in whole quads: bytes from the pixel's first tap,
// kOutsideTap for those that meet padding, which is then 0, or do not exist.
inline constexpr int64_t kOutsideTap = std::numeric_limits<int64_t>::min();
void set_depthwise_taps(const ConvPlan& plan, const ConvTask& task, std::vector<int64_t>& taps);

void convolve_depthwise_int8(const ConvPlan& plan, const ConvTask& task,
                             std::span<const int64_t> taps, const int8_t* weights,
                             const int32_t* bias, const Requantization& to, uint8_t* y) noexcept;

// Weights and biases [taps][channels] and [channels], channels filled with zeros to whole blocks.
void convolve_depthwise_float(const ConvPlan& plan, const ConvTask& task, const float* weights,
                              const float* bias, float min, float max, float* y) noexcept;

}  // namespace bitsmith

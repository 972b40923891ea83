#include "runtime/network/window.h"

#include "core/system_memory.h"
#include "runtime/network/network_operator.h"

namespace bitsmith {

WindowAxes window_axes(const Node& node, const Shape& x, std::span<const int64_t> kernel) {
  const size_t n = kernel.size();
  const std::vector<int64_t>& pads = node.integers("pads");
  WindowAxes axes;
  for (size_t i = 0; i < n; ++i) {
    WindowAxis axis;
    axis.input = x[i + 2];
    axis.kernel = kernel[i];
    axis.stride = node.integers("strides")[i];
    axis.dilation = node.integers("dilations")[i];
    axis.pad_begin = pads[i];
    axis.pad_end = pads[n + i];
    const int64_t reach = axis.dilation * (axis.kernel - 1) + 1;
    axis.output = (axis.input + axis.pad_begin + axis.pad_end - reach) / axis.stride + 1;
    axes.push_back(axis);
  }
  return axes;
}

int64_t window_cells(const WindowAxes& axes) {
  int64_t cells = 1;
  for (const WindowAxis& axis : axes) cells *= axis.kernel;
  return cells;
}

int64_t window_pixels(const WindowAxes& axes) {
  int64_t pixels = 1;
  for (const WindowAxis& axis : axes) pixels *= axis.output;
  return pixels;
}

int64_t pixel_offset(const WindowAxes& axes, int64_t pixel, std::span<const int64_t> strides) {
  int64_t offset = 0;
  for (size_t a = axes.size(); a-- > 0;) {
    offset += pixel % axes[a].output * strides[a];
    pixel /= axes[a].output;
  }
  return offset;
}

void check_padding(const Node& node, const ConvShape& shape, size_t element_bytes) {
  const auto pixels = checked_multiply(static_cast<uint64_t>(shape.padded_height()),
                                       static_cast<uint64_t>(shape.padded_width()));
  const auto bytes = checked_multiply(pixels.value_or(UINT64_MAX),
                                      static_cast<uint64_t>(shape.channels) * element_bytes);
  const uint64_t available = available_memory_bytes();
  if (bytes && *bytes < (uint64_t{1} << 62) && (available == 0 || *bytes <= available)) return;
  refuse_node(node, fmt::format("pads its input to {} x {} pixels, more than memory holds",
                                shape.padded_height(), shape.padded_width()));
}

}  // namespace bitsmith

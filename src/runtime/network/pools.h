// Pools of signals and images by a kernel, what float32 and codes share.
#pragma once

#include "runtime/kernels/pool.h"
#include "runtime/network/network_operator.h"
#include "runtime/network/window.h"

namespace bitsmith {

// Of a pool node of one or two spatial axes that reads a value of shape `x` [B, C, X...].
inline PoolShape pool_shape(const Node& node, const Shape& x) {
  PoolShape shape;
  set_window(window_axes(node, x, node.integers("kernel")), shape);
  shape.channels = x[1];
  return shape;
}

// pool(from, to) for each image of x and y, channels last.
template <class T, class Pool>
void pool_images(const NetworkFrame& frame, const PoolShape& shape, int64_t images, const T* x,
                 T* y, const Pool& pool) {
  const int64_t in = shape.height * shape.width * shape.channels;
  const int64_t out = shape.out_height() * shape.out_width() * shape.channels;
  frame.pool->run(images, [&](int64_t i, int) { pool(x + i * in, y + i * out); });
}

}  // namespace bitsmith

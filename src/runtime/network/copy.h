// Copies between tensors that lie in memory in different ways.
#pragma once

#include "core/thread_pool.h"
#include "tensor/shape.h"

namespace bitsmith {

// Part of a tensor: element [i0, i1, ...] lies at data + the sum of i * strides.
template <class T>
struct StridedView {
  T* data = nullptr;
  Shape strides;
};

// to[i...] = from[i...] for all i below `extents`; the two must not overlap.
// Instantiated for float and uint8_t.
template <class T>
void copy(const Shape& extents, const StridedView<const T>& from, const StridedView<T>& to,
          ThreadPool& pool);

}  // namespace bitsmith

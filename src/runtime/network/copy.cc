#include "runtime/network/copy.h"

#include <algorithm>

#include "runtime/network/strided_loop.h"

namespace bitsmith {

template <class T>
void copy(const Shape& extents, const StridedView<const T>& from, const StridedView<T>& to,
          ThreadPool& pool) {
  const StridedLoop<2> loop(extents, {to.strides, from.strides});
  const int64_t to_step = loop.step(0);
  const int64_t from_step = loop.step(1);
  loop.run(pool, 1, [&](const std::array<int64_t, 2>& at, int64_t count) {
    T* y = to.data + at[0];
    const T* x = from.data + at[1];
    if (to_step == 1 && from_step == 1) {
      std::copy_n(x, count, y);
    } else {
      for (int64_t i = 0; i < count; ++i) y[i * to_step] = x[i * from_step];
    }
  });
}

template void copy(const Shape&, const StridedView<const float>&, const StridedView<float>&,
                   ThreadPool&);
template void copy(const Shape&, const StridedView<const uint8_t>&, const StridedView<uint8_t>&,
                   ThreadPool&);

}  // namespace bitsmith

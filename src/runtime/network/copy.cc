#include "runtime/network/copy.h"

#include <algorithm>

#include "runtime/network/strided_loop.h"

namespace bitsmith {

void copy(const Shape& extents, const StridedView<const float>& from, const StridedView<float>& to,
          ThreadPool& pool) {
  const StridedLoop<2> loop(extents, {to.strides, from.strides});
  const int64_t to_step = loop.step(0);
  const int64_t from_step = loop.step(1);
  loop.run(pool, 1, [&](const std::array<int64_t, 2>& at, int64_t count) {
    float* y = to.data + at[0];
    const float* x = from.data + at[1];
    if (to_step == 1 && from_step == 1) {
      std::copy_n(x, count, y);
    } else {
      for (int64_t i = 0; i < count; ++i) y[i * to_step] = x[i * from_step];
    }
  });
}

}  // namespace bitsmith

// The measurements end and are positive; how fast a machine is cannot be asserted.
#include "runtime/kernels/bandwidth.h"

#include "runtime/kernels/targets_test.h"

namespace bitsmith {
namespace {

class Bandwidth : public EachTarget {};

TEST_P(Bandwidth, IsMeasured) {
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    EXPECT_GT(measure_read_bandwidth(pool, 1 << 20, 1), 1e6);
    EXPECT_GT(measure_int8_peak(pool, 1), 1e6);
    EXPECT_GT(measure_float_peak(pool, 1), 1e6);
  }
}

BITSMITH_EACH_TARGET(Bandwidth);

}  // namespace
}  // namespace bitsmith

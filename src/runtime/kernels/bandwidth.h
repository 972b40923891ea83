// What this machine can do at best, measured: memory reads and arithmetic.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"

namespace bitsmith {

// Each takes a fraction of a second and returns the best of several passes, because other work on
// the machine can only make a pass slower. All threads of the pool take part.

// Bytes per second of reading a buffer of this size, which should exceed the last cache level.
double measure_read_bandwidth(ThreadPool& pool, int64_t buffer_bytes = int64_t{512} << 20,
                              int passes = 8);

// Operations per second (a product and a sum are two) of the integer kernels' dot product of bytes
// and of float32 multiply-add, with all operands in registers.
double measure_int8_peak(ThreadPool& pool, int passes = 8);
double measure_float_peak(ThreadPool& pool, int passes = 8);

}  // namespace bitsmith

// Single-threaded BLAS inside the tasks of our own thread pool.
#pragma once

#include <cblas.h>

#include <functional>

#include "core/thread_pool.h"

namespace bitsmith {

// Runs body(i, thread) for i in [0, count) like ThreadPool::run, with every BLAS call inside
// running on its caller's thread. The results then depend only on the shapes of the calls, so tiles
// of fixed size give the same bits for any number of threads. Afterwards BLAS has its threads
// again.
void run_blas_tasks(ThreadPool& pool, int64_t count,
                    const std::function<void(int64_t i, int thread)>& body);

// The same for tiles of 128 of [0, size).
void run_blas_tiles(ThreadPool& pool, int64_t size,
                    const std::function<void(int64_t begin, int64_t count)>& tile);

}  // namespace bitsmith

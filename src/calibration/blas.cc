#include "calibration/blas.h"

#include <dlfcn.h>

#include <algorithm>

#include "tensor/shape.h"

namespace bitsmith {
namespace {

// OpenBLAS comes with one of two kinds of threads. Its OpenMP build asks omp_get_max_threads(),
// which is a setting of the calling thread; its pthreads build has one setting for the process. The
// OpenMP runtime is found at run time, because only OpenBLAS links it.
struct OpenMp {
  int (*get_max_threads)() = nullptr;
  void (*set_num_threads)(int) = nullptr;

  OpenMp() {
    if (openblas_get_parallel() != OPENBLAS_OPENMP) return;
    get_max_threads = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
    set_num_threads = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  }
  bool found() const { return get_max_threads != nullptr && set_num_threads != nullptr; }
};

const OpenMp& open_mp() {
  static const OpenMp instance;
  return instance;
}

// One thread for this thread's BLAS calls while it lives; for the OpenMP build.
class OneThreadHere {
 public:
  OneThreadHere() : threads_(open_mp().get_max_threads()) { open_mp().set_num_threads(1); }
  ~OneThreadHere() { open_mp().set_num_threads(threads_); }
  OneThreadHere(const OneThreadHere&) = delete;
  OneThreadHere& operator=(const OneThreadHere&) = delete;

 private:
  int threads_;
};

// The same for the whole process; for the other builds.
class OneThreadEverywhere {
 public:
  OneThreadEverywhere() : threads_(openblas_get_num_threads()) { openblas_set_num_threads(1); }
  ~OneThreadEverywhere() { openblas_set_num_threads(threads_); }
  OneThreadEverywhere(const OneThreadEverywhere&) = delete;
  OneThreadEverywhere& operator=(const OneThreadEverywhere&) = delete;

 private:
  int threads_;
};

}  // namespace

void run_blas_tasks(ThreadPool& pool, int64_t count,
                    const std::function<void(int64_t, int)>& body) {
  if (open_mp().found()) {
    pool.run(count, [&](int64_t i, int thread) {
      const OneThreadHere guard;
      body(i, thread);
    });
    return;
  }
  const OneThreadEverywhere guard;
  pool.run(count, body);
}

void run_blas_tiles(ThreadPool& pool, int64_t size,
                    const std::function<void(int64_t, int64_t)>& tile) {
  constexpr int64_t kTile = 128;
  run_blas_tasks(pool, ceil_div(size, kTile),
                 [&](int64_t i, int) { tile(i * kTile, std::min(kTile, size - i * kTile)); });
}

}  // namespace bitsmith

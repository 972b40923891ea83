#include "core/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bitsmith {
namespace {

// Iterations of the spin before a waiting thread sleeps: some hundred microseconds, longer than
// the serial parts between the loops of one token.
constexpr int kSpins = 8000;

thread_local bool inside_loop = false;

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The gate of the loop in progress, in one word so that joining and closing are atomic:
//     bits 0..30  workers inside the loop        bit 31  open        bits 32..63  loop number
constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kInside = kOpen - 1;
constexpr uint64_t loop_number(uint64_t gate) { return gate >> 32; }

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::atomic<uint64_t> gate{0};
  std::atomic<bool> stop{false};
  // The loop in progress; read by a worker only while it is inside the gate.
  Loop loop;
  int64_t count = 0;
  std::atomic<int64_t> next{0};
  std::mutex error_mutex;
  std::exception_ptr error;
  std::mutex run_mutex;  // one loop at a time
  // Sleeping workers.
  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::atomic<int> sleepers{0};

  void work(int thread) {
    inside_loop = true;
    for (;;) {
      const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= count) break;
      try {
        loop.call(loop.object, i, thread);
      } catch (...) {
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(count, std::memory_order_relaxed);
      }
    }
    inside_loop = false;
  }

  // Makes a new loop visible. Sequential consistency orders this store and the read of `sleepers`
  // against a worker's announcement and its last look at the gate: one of the two sees the other.
  void open(uint64_t new_gate) {
    gate.store(new_gate, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) > 0) {
      { const std::lock_guard lock(sleep_mutex); }
      wake.notify_all();
    }
  }

  // Waits for a loop other than `seen` and returns its gate.
  uint64_t wait_for_loop(uint64_t seen) {
    for (int spins = 0; spins < kSpins; ++spins) {
      const uint64_t now = gate.load(std::memory_order_acquire);
      if (loop_number(now) != seen) return now;
      pause();
    }
    std::unique_lock lock(sleep_mutex);
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    wake.wait(lock, [&] { return loop_number(gate.load(std::memory_order_seq_cst)) != seen; });
    sleepers.fetch_sub(1, std::memory_order_relaxed);
    return gate.load(std::memory_order_acquire);
  }

  void worker_main(int thread) {
    uint64_t seen = 0;
    for (;;) {
      uint64_t now = wait_for_loop(seen);
      if (stop.load(std::memory_order_acquire)) return;
      bool joined = false;
      while ((now & kOpen) != 0 && !joined) {
        joined = gate.compare_exchange_weak(now, now + 1, std::memory_order_acquire);
      }
      seen = loop_number(now);
      if (!joined) continue;  // all iterations were taken before this thread came
      work(thread);
      gate.fetch_sub(1, std::memory_order_release);
    }
  }
};

int ThreadPool::processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads <= 0) threads = processors();
  for (int t = 1; t < threads; ++t) {
    state_->workers.emplace_back([state = state_.get(), t] { state->worker_main(t); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_release);
  state_->open((loop_number(state_->gate.load()) + 1) << 32);
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run_loop(int64_t count, Loop loop) {
  if (count <= 0) return;
  if (inside_loop || state_->workers.empty() || count == 1) {
    for (int64_t i = 0; i < count; ++i) loop.call(loop.object, i, 0);
    return;
  }
  State& state = *state_;
  const std::lock_guard run_lock(state.run_mutex);
  state.loop = loop;
  state.count = count;
  state.error = nullptr;
  state.next.store(0, std::memory_order_relaxed);
  const uint64_t number = loop_number(state.gate.load(std::memory_order_relaxed)) + 1;
  state.open((number << 32) | kOpen);
  state.work(0);
  // From here on nobody joins; who is inside finishes the iterations it took.
  uint64_t inside = state.gate.fetch_and(~kOpen, std::memory_order_acq_rel) & kInside;
  for (int spins = 0; inside != 0; inside = state.gate.load(std::memory_order_acquire) & kInside) {
    if (++spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (state.error) std::rethrow_exception(state.error);
}

}  // namespace bitsmith

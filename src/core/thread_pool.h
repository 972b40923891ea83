// A fixed set of threads that run the iterations of one loop at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace bitsmith {

// Goals: cheap enough for loops of a few microseconds (threads spin briefly between loops, then
// sleep); no nesting surprises (a loop started from inside a loop runs on the calling thread).
// Non-goals: futures, priorities, work stealing.
//
// Determinism is the caller's: give every iteration its own output and never let the arithmetic
// depend on `thread` or on the number of threads.
class ThreadPool {
 public:
  // `threads` >= 1 counts the calling thread; 0 means one per processor the process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Runs body(i, thread) for i in [0, count), in unspecified order; returns when all are done.
  // `thread` is in [0, threads()). The first exception thrown by a body is rethrown here, after the
  // remaining iterations have been abandoned.
  void run(int64_t count, const std::function<void(int64_t i, int thread)>& body);

  // The number of processors this process may run on.
  static int processors();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bitsmith

// A fixed set of threads that run the iterations of one loop at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace bitsmith {

// Goals: cheap enough for loops of a few microseconds (threads spin briefly between loops, then
// sleep; a loop never waits for a thread that has not joined it); no allocation per loop; no
// nesting surprises (a loop started from inside a loop runs on the calling thread).
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

  // Runs body(int64_t i, int thread) for i in [0, count), in unspecified order; returns when all
  // are done. `thread` is in [0, threads()). The first exception thrown by a body is rethrown here,
  // after the remaining iterations have been abandoned. Loops started by several threads at once
  // run one after the other.
  template <class Body>
  void run(int64_t count, const Body& body) {
    static_assert(std::is_invocable_v<const Body&, int64_t, int>);
    run_loop(count, {&body, [](const void* object, int64_t i, int thread) {
                       (*static_cast<const Body*>(object))(i, thread);
                     }});
  }

  // The number of processors this process may run on.
  static int processors();

 private:
  // A reference to the caller's body: unlike std::function it never allocates.
  struct Loop {
    const void* object = nullptr;
    void (*call)(const void* object, int64_t i, int thread) = nullptr;
  };
  void run_loop(int64_t count, Loop loop);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bitsmith

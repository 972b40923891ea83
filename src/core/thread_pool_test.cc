#include "core/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace bitsmith {
namespace {

TEST(ThreadPool, RunsEveryIterationOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 2, 3, 64, 1000}) {
      std::vector<int> hits(static_cast<size_t>(count), 0);
      pool.run(count, [&](int64_t i, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, threads);
        ++hits[static_cast<size_t>(i)];
      });
      for (const int n : hits) EXPECT_EQ(n, 1);
    }
  }
}

// Loops so short that workers come late, one after the other: writes of a loop are visible after
// it, and no worker takes an iteration of an old loop.
TEST(ThreadPool, ManyShortLoops) {
  ThreadPool pool(4);
  std::vector<int64_t> sums(8, 0);
  for (int64_t round = 0; round < 20000; ++round) {
    pool.run(8, [&](int64_t i, int) { sums[static_cast<size_t>(i)] += round; });
  }
  for (const int64_t sum : sums) EXPECT_EQ(sum, 20000 * 19999 / 2);
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> count{0};
    pool.run(3, [&](int64_t, int) {
      ++count;
      // Nobody can do all iterations alone: each waits for the others.
      while (count.load() < 3) std::this_thread::yield();
    });
    EXPECT_EQ(count.load(), 3);
  }
}

TEST(ThreadPool, RethrowsAndGoesOn) {
  ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(pool.run(100,
                          [&](int64_t i, int) {
                            if (i == 37) throw std::runtime_error("stop");
                          }),
                 std::runtime_error);
    std::atomic<int> count{0};
    pool.run(10, [&](int64_t, int) { ++count; });
    EXPECT_EQ(count.load(), 10);
  }
}

TEST(ThreadPool, NestedLoopsRunOnTheCallingThread) {
  ThreadPool pool(3);
  std::vector<int> hits(12, 0);
  pool.run(3, [&](int64_t i, int) {
    pool.run(4, [&](int64_t j, int) { ++hits[static_cast<size_t>(4 * i + j)]; });
  });
  for (const int n : hits) EXPECT_EQ(n, 1);
}

TEST(ThreadPool, SeveralCallersTakeTurns) {
  ThreadPool pool(3);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        pool.run(5, [&](int64_t i, int) { total += i; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 3 * 200 * 10);
}

}  // namespace
}  // namespace bitsmith

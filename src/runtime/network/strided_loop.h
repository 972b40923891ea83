// Loops over tensors of the same extents that lie in memory in different ways.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/thread_pool.h"
#include "tensor/shape.h"

namespace bitsmith {

// Element [i0, i1, ...] of operand k lies at the sum of i * strides[k]; strides may be 0 (the
// operand is broadcast) or negative. Axes are walked in the order of operand 0 in memory, and
// neighbours that are one run for every operand are joined.
template <size_t N>
class StridedLoop {
 public:
  using Offsets = std::array<int64_t, N>;

  // extents [rank], all >= 1;  strides: of each operand [rank], in elements
  StridedLoop(const Shape& extents, const std::array<Shape, N>& strides) {
    std::vector<size_t> order(extents.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order,
                             [&](size_t a, size_t b) { return strides[0][a] > strides[0][b]; });
    for (const size_t axis : order) {
      if (extents[axis] == 1) continue;
      Axis next{extents[axis], {}};
      for (size_t k = 0; k < N; ++k) next.strides[k] = strides[k][axis];
      if (!axes_.empty() && joins(axes_.back(), next)) {
        next.extent *= axes_.back().extent;
        axes_.back() = next;
      } else {
        axes_.push_back(next);
      }
    }
    if (axes_.empty()) axes_.push_back({1, {}});
    inner_ = axes_.back();
    axes_.pop_back();
    for (const Axis& axis : axes_) runs_ *= axis.extent;
    // Long runs are cut, so that they can be shared among threads.
    piece_ = std::min<int64_t>(inner_.extent, 4096);
    pieces_ = ceil_div(inner_.extent, piece_);
  }

  int64_t step(size_t k) const { return inner_.strides[k]; }  // between elements of a run

  // body(offsets, count) for all pieces of runs: elements offsets[k] + i * step(k), 0 <= i < count.
  template <class Body>
  void run(const Body& body) const {
    run_pieces(0, runs_ * pieces_, body);
  }

  // The same on all threads, if the work is worth it. Operand 0 must not be broadcast.
  //   cost: of an element, in simple float operations
  template <class Body>
  void run(ThreadPool& pool, int64_t cost, const Body& body) const {
    constexpr int64_t kPart = 1 << 15;  // some ten microseconds
    const int64_t all = runs_ * pieces_;
    const int64_t part = std::max<int64_t>(1, kPart / std::max<int64_t>(1, cost * piece_));
    if (all <= part || pool.threads() == 1) {
      run(body);
      return;
    }
    pool.run(ceil_div(all, part),
             [&](int64_t i, int) { run_pieces(i * part, std::min(all, (i + 1) * part), body); });
  }

 private:
  struct Axis {
    int64_t extent = 1;
    Offsets strides = {};
  };

  static bool joins(const Axis& outer, const Axis& inner) {
    for (size_t k = 0; k < N; ++k) {
      if (outer.strides[k] != inner.strides[k] * inner.extent) return false;
    }
    return true;
  }

  template <class Body>
  void run_pieces(int64_t begin, int64_t end, const Body& body) const {
    std::vector<int64_t> index(axes_.size());
    Offsets offsets = {};
    int64_t rest = begin / pieces_;
    for (size_t i = axes_.size(); i-- > 0;) {
      index[i] = rest % axes_[i].extent;
      rest /= axes_[i].extent;
      for (size_t k = 0; k < N; ++k) offsets[k] += index[i] * axes_[i].strides[k];
    }
    int64_t piece = begin % pieces_;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = piece * piece_;
      Offsets at = offsets;
      for (size_t k = 0; k < N; ++k) at[k] += first * inner_.strides[k];
      body(at, std::min(piece_, inner_.extent - first));
      if (++piece < pieces_) continue;
      piece = 0;
      advance(index, offsets);
    }
  }

  void advance(std::vector<int64_t>& index, Offsets& offsets) const {
    for (size_t i = axes_.size(); i-- > 0;) {
      const bool more = ++index[i] < axes_[i].extent;
      const int64_t moved = more ? 1 : 1 - axes_[i].extent;
      for (size_t k = 0; k < N; ++k) offsets[k] += moved * axes_[i].strides[k];
      if (more) return;
      index[i] = 0;
    }
  }

  std::vector<Axis> axes_;  // but the innermost
  Axis inner_;
  int64_t runs_ = 1;
  int64_t piece_ = 1;
  int64_t pieces_ = 1;
};

}  // namespace bitsmith

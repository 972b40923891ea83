// Register tiles of a convolution, per target: some pixels times a panel or two of outputs.

#if defined(BITSMITH_CONV_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITSMITH_CONV_TILE_INL_H_
#undef BITSMITH_CONV_TILE_INL_H_
#else
#define BITSMITH_CONV_TILE_INL_H_
#endif

#include <algorithm>

#include "runtime/kernels/conv_plan.h"
#include "runtime/kernels/dot-inl.h"

BITSMITH_BEFORE_NAMESPACE();
namespace bitsmith {
namespace HWY_NAMESPACE {

// Arithmetic is what integer and float kernels differ in:
//     Sums                                  a vector of kPartRows sums
//     Weights load(const uint8_t*)          kPartBytes of a panel's step
//     Input broadcast(const uint8_t*)       4 bytes of input, in every lane
//     Sums multiply_add(Sums, Input, Weights)
//     Sums start(int64_t slot)              the sums before the first product, of slots [slot, ...)
//     Finish finish(int64_t slot)           what writes: finish(sums, int64_t index, int64_t count)
//                                           to output elements [index, index + count)
//     PairFinish finish_pair(int64_t slot)  where two panels are faster written together:
//                                           finish(sums, more_sums, index), all of both
// Sums run over runs and steps in ascending order, whatever the tile.

// Writes the sums [kPixels][2] of a tile whose Arithmetic has finish_pair(). A function of its own,
// so that the loop that makes sums has all registers: their way through memory costs less.
template <size_t kPixels, class Arithmetic>
HWY_NOINLINE void finish_pairs(const ConvPlan& plan, const Arithmetic& arithmetic,
                               const typename Arithmetic::Sums* HWY_RESTRICT sums,
                               const ConvTask& task, int64_t panel, int64_t pixel) {
  const ConvShape& shape = plan.shape();
  const int64_t slot = panel * ConvPlan::kPanel;
  const int64_t group = panel / plan.group_panels();
  const int64_t in_group = (panel - group * plan.group_panels()) * ConvPlan::kPanel;
  const int64_t output = group * shape.group_outputs() + in_group;
  const int64_t rest = shape.group_outputs() - in_group - ConvPlan::kPanel;  // of the second
  const int64_t pixels = std::min(static_cast<int64_t>(kPixels), task.pixels - pixel);
  const auto at = [&](int64_t p) { return task.outputs[pixel + p] * shape.outputs + output; };
  if (HWY_LIKELY(rest >= ConvPlan::kPanel)) {
    const auto finish = arithmetic.finish_pair(slot);
    for (int64_t p = 0; p < pixels; ++p) finish(sums[p * 2], sums[p * 2 + 1], at(p));
    return;
  }
  const auto first = arithmetic.finish(slot);
  const auto second = arithmetic.finish(slot + ConvPlan::kPanel);
  for (int64_t p = 0; p < pixels; ++p) {
    first(sums[p * 2], at(p), ConvPlan::kPanel);
    second(sums[p * 2 + 1], at(p) + ConvPlan::kPanel, rest);
  }
}

// Registers: kPixels * kVectors sums, kVectors weights, an input. A vector is a part of a panel;
// where a panel is one vector, a tile may take two panels.
template <size_t kPixels, size_t kVectors, class Arithmetic>
HWY_NOINLINE void convolve_tile(const ConvPlan& plan, const Arithmetic& arithmetic,
                                const uint8_t* panels, const ConvTask& task, int64_t panel,
                                int64_t pixel) {
  const ConvShape& shape = plan.shape();
  const int64_t group = panel / plan.group_panels();
  const int64_t slot = panel * ConvPlan::kPanel;
  const uint8_t* x[kPixels];
  const uint8_t* first = task.x + group * shape.group_channels() * Arithmetic::kElementBytes;
  unroll<kPixels>([&](auto p) BITSMITH_UNROLLED {
    x[p] = first + task.offsets[pixel + static_cast<int64_t>(p)];
  });
  const int64_t panel_bytes = plan.panel_bytes();
  const uint8_t* first_weights = panels + panel * panel_bytes + task.window.weights;

  typename Arithmetic::Sums sums[kPixels][kVectors];
  unroll<kVectors>([&](auto v) BITSMITH_UNROLLED {
    const auto start = arithmetic.start(slot + static_cast<int64_t>(v * kPartRows));
    unroll<kPixels>([&](auto p) BITSMITH_UNROLLED { sums[p][v] = start; });
  });
  const ConvWindow& window = task.window;
  for (int64_t row = 0; row < window.rows; ++row) {
    for (int64_t run = 0; run < window.runs; ++run) {
      const int64_t begin = row * window.x_row + run * window.x_run;
      const uint8_t* HWY_RESTRICT w = first_weights + row * window.w_row + run * window.w_run;
      for (int64_t i = begin; i < begin + window.run_bytes; i += 4) {
        typename Arithmetic::Weights weights[kVectors];
        unroll<kVectors>([&](auto v) BITSMITH_UNROLLED {
          constexpr size_t kV = decltype(v)::value;
          const int64_t at = static_cast<int64_t>(kV % kParts * kPartBytes);
          weights[v] = Arithmetic::load(w + static_cast<int64_t>(kV / kParts) * panel_bytes + at);
        });
        w += 64;
        unroll<kPixels>([&](auto p) BITSMITH_UNROLLED {
          const auto input = Arithmetic::broadcast(x[p] + i);
          unroll<kVectors>([&](auto v) BITSMITH_UNROLLED {
            sums[p][v] = Arithmetic::multiply_add(sums[p][v], input, weights[v]);
          });
        });
      }
    }
  }

  if constexpr (kVectors == 2 && requires { arithmetic.finish_pair(slot); }) {
    HWY_ALIGN typename Arithmetic::Sums all[kPixels * 2];
    unroll<kPixels>([&](auto p) BITSMITH_UNROLLED {
      all[p * 2] = sums[p][0];
      all[p * 2 + 1] = sums[p][1];
    });
    finish_pairs<kPixels>(plan, arithmetic, all, task, panel, pixel);
    return;
  }
  const auto pixels = static_cast<size_t>(std::min<int64_t>(kPixels, task.pixels - pixel));
  const int64_t in_group = (panel - group * plan.group_panels()) * ConvPlan::kPanel;
  const int64_t output = group * shape.group_outputs() + in_group;
  unroll<kVectors>([&](auto v) BITSMITH_UNROLLED {
    constexpr auto kFirst = static_cast<int64_t>(decltype(v)::value * kPartRows);
    const int64_t rest = shape.group_outputs() - in_group - kFirst;
    const int64_t count = std::min(static_cast<int64_t>(kPartRows), rest);
    if (count > 0) {
      const auto finish = arithmetic.finish(slot + kFirst);
      unroll<kPixels>([&](auto p) BITSMITH_UNROLLED {
        if (p < pixels) {
          const int64_t at = task.outputs[pixel + static_cast<int64_t>(p)] * shape.outputs;
          finish(sums[p][v], at + output + kFirst, count);
        }
      });
    }
  });
}

// All pixels of a task times kVectors vectors, in the largest tiles that registers allow; a last
// tile with pixels to spare repeats the last one.
template <size_t kVectors, class Arithmetic>
HWY_INLINE void convolve_pixels(const ConvPlan& plan, const Arithmetic& arithmetic,
                                const uint8_t* panels, const ConvTask& task, int64_t panel) {
  constexpr size_t kMost = Arithmetic::kTilePixels;
  for (int64_t pixel = 0; pixel < task.pixels;) {
    const int64_t rest = task.pixels - pixel;
    if constexpr (kMost >= 12) {
      if (rest > 8) {
        convolve_tile<12, kVectors>(plan, arithmetic, panels, task, panel, pixel);
        pixel += 12;
        continue;
      }
      if (rest > 4) {
        convolve_tile<8, kVectors>(plan, arithmetic, panels, task, panel, pixel);
        break;
      }
      convolve_tile<4, kVectors>(plan, arithmetic, panels, task, panel, pixel);
      break;
    } else {
      convolve_tile<kMost, kVectors>(plan, arithmetic, panels, task, panel, pixel);
      pixel += static_cast<int64_t>(kMost);
    }
  }
}

// A panel stays in the L1 cache while the pixels of a part's tasks pass by.
template <class Arithmetic>
HWY_INLINE void convolve_tasks(const ConvPlan& plan, const Arithmetic& arithmetic,
                               const uint8_t* panels, std::span<const ConvTask> tasks) {
  const int64_t end = tasks.front().panel_end;
  for (int64_t panel = tasks.front().panel_begin; panel < end; ++panel) {
    if constexpr (kParts == 1) {
      const bool last_of_group = (panel + 1) % plan.group_panels() == 0;
      if (!last_of_group && panel + 1 < end) {
        for (const ConvTask& task : tasks) {
          convolve_pixels<2>(plan, arithmetic, panels, task, panel);
        }
        ++panel;
        continue;
      }
    }
    for (const ConvTask& task : tasks) {
      convolve_pixels<kParts>(plan, arithmetic, panels, task, panel);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace bitsmith
HWY_AFTER_NAMESPACE();

#endif  // BITSMITH_CONV_TILE_INL_H_

// Shows calibration images to a network and what its values are to whoever asks.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "formats/model.h"

namespace bitsmith {

// Inputs of a network, made when they are asked for.
struct CalibrationInputs {
  int64_t images = 0;
  // Images [begin, begin + count): for each of the network's inputs [count, ...], plain.
  std::function<std::vector<std::vector<float>>(int64_t begin, int64_t count)> batch;
};

// Runs the native executor over all images and calls take(i, x, images) for value i of `values` and
// each batch: x [images, ...] plain, all finite. Batches come in order; calls for different values
// may come at the same time. Values whose activations would take more than `bytes` together are
// seen in several passes over the images. Throws kInvalidArgument if there are no images, kCorrupt,
// naming the value, for numbers that are not finite.
void observe_values(
    const Model& model, std::span<const ValueId> values, const CalibrationInputs& inputs,
    ThreadPool& pool,
    const std::function<void(size_t i, std::span<const float> x, int64_t images)>& take,
    int64_t bytes = int64_t{1} << 28);

}  // namespace bitsmith

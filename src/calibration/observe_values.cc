#include "calibration/observe_values.h"

#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {
namespace {

constexpr int64_t kMostImages = 32;  // in a batch

int64_t image_bytes(const Graph& graph, ValueId id) {
  int64_t bytes = sizeof(float);
  for (const int64_t extent : graph.value(id).shape) bytes *= std::max<int64_t>(extent, 1);
  return bytes;
}

void check_finite(const Graph& graph, ValueId id, std::span<const float> x) {
  if (std::ranges::all_of(x, [](float v) { return std::isfinite(v); })) return;
  fail(ErrorCode::kCorrupt,
       "calibration: the value '{}' is not finite for some image: the network's weights are damaged"
       " or the images are not prepared as it expects",
       graph.value(id).name);
}

}  // namespace

void observe_values(
    const Model& model, std::span<const ValueId> values, const CalibrationInputs& inputs,
    ThreadPool& pool,
    const std::function<void(size_t i, std::span<const float> x, int64_t images)>& take,
    int64_t bytes) {
  if (inputs.images < 1) {
    fail(ErrorCode::kInvalidArgument, "calibration: there are no images to calibrate with");
  }
  for (size_t begin = 0; begin < values.size();) {
    size_t end = begin;
    int64_t together = 0;
    while (end < values.size()) {
      const int64_t own = image_bytes(model.graph, values[end]);
      if (end > begin && together + own > bytes) break;
      together += own;
      ++end;
    }
    Model part = model;
    part.graph.outputs.assign(values.begin() + static_cast<std::ptrdiff_t>(begin),
                              values.begin() + static_cast<std::ptrdiff_t>(end));
    remove_dead_nodes(part.graph);
    NetworkExecutor executor(std::move(part), pool);
    const int64_t fixed = executor.fixed_images();
    const int64_t most = std::clamp<int64_t>(bytes / together, 1, kMostImages);
    if (fixed > inputs.images) {
      fail(ErrorCode::kInvalidArgument,
           "calibration: the network takes {} images at a time, there are {}", fixed,
           inputs.images);
    }
    for (int64_t first = 0; first < inputs.images;) {
      check_interrupt();
      // A network for a fixed number of images sees the last ones twice.
      if (fixed > 0) first = std::min(first, inputs.images - fixed);
      const int64_t count = fixed > 0 ? fixed : std::min(most, inputs.images - first);
      const std::vector<std::vector<float>> batch = inputs.batch(first, count);
      const std::vector<std::span<const float>> spans(batch.begin(), batch.end());
      const std::vector<std::vector<float>> outputs = executor.run(spans, count);
      pool.run(static_cast<int64_t>(outputs.size()), [&](int64_t i, int) {
        const size_t value = begin + static_cast<size_t>(i);
        const std::vector<float>& x = outputs[static_cast<size_t>(i)];
        check_finite(model.graph, values[value], x);
        take(value, x, count);
      });
      first += count;
    }
    begin = end;
  }
}

}  // namespace bitsmith

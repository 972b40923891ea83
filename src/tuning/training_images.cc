#include "tuning/training_images.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace bitsmith {
namespace {

// in and out [channels, height, width]; out(y, x) = in(y + dy, x + dx), mirrored first.
void move_image(const float* in, const Shape& shape, bool mirrored, int64_t dy, int64_t dx,
                float* out) {
  const int64_t height = shape[1];
  const int64_t width = shape[2];
  for (int64_t c = 0; c < shape[0]; ++c) {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const int64_t from_y = y + dy;
        const int64_t from_x = x + dx;
        const bool inside = from_y >= 0 && from_y < height && from_x >= 0 && from_x < width;
        const int64_t column = mirrored ? width - 1 - from_x : from_x;
        *out++ = inside ? in[(c * height + from_y) * width + column] : 0.0F;
      }
    }
  }
}

}  // namespace

TrainingImages::TrainingImages(const ImageDataset& images, Preprocessing preprocessing,
                               const Shape& input, int64_t label_offset,
                               const Augmentation& augmentation, uint64_t seed)
    : images_(images),
      preprocessing_(std::move(preprocessing)),
      input_(input.begin() + 1, input.end()),
      elements_(*element_count(input_)),
      label_offset_(label_offset),
      augmentation_(augmentation),
      seed_(seed) {
  if (images.size() == 0) fail(ErrorCode::kInvalidArgument, "there are no images to train on");
  for (int64_t i = 0; i < images.size(); ++i) {
    if (images.label(i) == ImageDataset::kNoLabel) {
      fail(ErrorCode::kInvalidArgument,
           "{} has no label; training needs one for each image (folders as classes, or --labels)",
           images.name(i));
    }
  }
  const bool moves = augmentation.flip || augmentation.shift > 0;
  if (moves && (input_.size() != 3 || preprocessing_.channels_last)) {
    fail(ErrorCode::kInvalidArgument,
         "the network's input is {}; only images [batch, channels, height, width] can be mirrored "
         "or shifted: set tune.flip to false and tune.shift to 0",
         to_string(input));
  }
}

std::vector<int64_t> TrainingImages::order(int64_t epoch) const {
  std::vector<int64_t> order(static_cast<size_t>(size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random random(seed_, fmt::format("order/{}", epoch));
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

Shard TrainingImages::shard(int64_t epoch, const std::vector<int64_t>& order, int64_t begin,
                            int64_t count) const {
  BITSMITH_ASSERT(begin >= 0 && count > 0 && begin + count <= static_cast<int64_t>(order.size()));
  Shape shape = {count};
  shape.insert(shape.end(), input_.begin(), input_.end());
  Shard shard{at::empty(shape), at::empty({count}, at::kLong)};
  float* out = shard.inputs.data_ptr<float>();
  for (int64_t i = 0; i < count; ++i, out += elements_) {
    const int64_t index = order[static_cast<size_t>(begin + i)];
    const std::vector<float> values = preprocess(preprocessing_, images_.image(index));
    if (static_cast<int64_t>(values.size()) != elements_) {
      fail(ErrorCode::kInvalidArgument,
           "{} becomes {} numbers, the network's input is {}; give an exact --resize or a --crop",
           images_.name(index), values.size(), to_string(input_));
    }
    shard.labels.data_ptr<int64_t>()[i] = images_.label(index) + label_offset_;
    if (!augmentation_.flip && augmentation_.shift == 0) {
      std::ranges::copy(values, out);
      continue;
    }
    Random random(seed_, fmt::format("augment/{}/{}", epoch, begin + i));
    const bool mirrored = augmentation_.flip && random.below(2) == 1;
    const auto step = [&] {
      const auto reach = static_cast<uint64_t>(2 * augmentation_.shift + 1);
      return static_cast<int64_t>(random.below(reach)) - augmentation_.shift;
    };
    const int64_t dy = step();
    const int64_t dx = step();
    move_image(values.data(), input_, mirrored, dy, dx, out);
  }
  return shard;
}

}  // namespace bitsmith

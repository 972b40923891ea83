// Images with labels as batches of a network's inputs: order, augmentation, shards.
#pragma once

#include <cstdint>
#include <vector>

#include "images/dataset.h"
#include "images/preprocessing.h"
#include "reference/torch.h"

namespace bitsmith {

// What is done to a training image, drawn anew for each epoch. For inputs [C, H, W] only.
struct Augmentation {
  bool flip = false;  // mirrored left to right, every second image
  int64_t shift = 0;  // moved by up to so many pixels each way; what comes in is 0
};

// Some images of a batch: inputs [n, ...] float32, labels [n] int64 (the network's classes).
struct Shard {
  at::Tensor inputs;
  at::Tensor labels;
};

// The images of a dataset in an order that is drawn for each epoch. An image is decoded when it is
// asked for: beside what training it costs, that is nothing.
class TrainingImages {
 public:
  // `input`: of the network, its first extent is the batch. Throws kInvalidArgument for images
  // without labels or augmentation of what is no image.
  TrainingImages(const ImageDataset& images, Preprocessing preprocessing, const Shape& input,
                 int64_t label_offset, const Augmentation& augmentation, uint64_t seed);

  int64_t size() const { return images_.size(); }
  // The order of one epoch: image indices, [size()], by the stream "order/<epoch>".
  std::vector<int64_t> order(int64_t epoch) const;
  // Images order[begin, begin + count) of an epoch; the stream of the image at position p is
  // "augment/<epoch>/<p>". May be called from several threads.
  Shard shard(int64_t epoch, const std::vector<int64_t>& order, int64_t begin, int64_t count) const;

 private:
  const ImageDataset& images_;
  Preprocessing preprocessing_;
  Shape input_;
  int64_t elements_;  // of one input
  int64_t label_offset_;
  Augmentation augmentation_;
  uint64_t seed_;
};

}  // namespace bitsmith

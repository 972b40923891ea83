// Some images of a dataset.
#pragma once

#include <memory>
#include <vector>

#include "images/dataset.h"

namespace bitsmith {

// `count` images spread evenly over the dataset, so that one sorted by class gives some of each:
// its image i is image floor(i * size / count). All of them if there are no more.
std::unique_ptr<ImageDataset> spread_images(std::unique_ptr<ImageDataset> dataset, int64_t count);

// The images of these numbers, in their order.
std::unique_ptr<ImageDataset> select_images(std::shared_ptr<const ImageDataset> dataset,
                                            std::vector<int64_t> numbers);

}  // namespace bitsmith

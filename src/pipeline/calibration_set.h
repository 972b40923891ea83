// The text, or the images, that statistics are measured on.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/progress.h"
#include "core/thread_pool.h"
#include "formats/model.h"
#include "images/dataset.h"
#include "images/preprocessing.h"

namespace bitsmith {

// Samples: token sequences of equal length, or images. The first `count` feed the second moments;
// the `probes` after them are kept apart, to measure sensitivities and the final error on what no
// code was fitted to.
struct CalibrationSet {
  int64_t length = 0;  // tokens of a sample; 1 for images
  int64_t count = 0;
  int64_t probes = 0;
  std::vector<std::vector<TokenId>> sequences;  // [count + probes][length], or empty
  Shape input;                                  // of one image as the network takes it: [1, ...]
  std::vector<float> images;                    // [count + probes, input], or empty
  std::vector<int64_t> numbers;                 // [count + probes]: which of the dataset's images
  nlohmann::json description;  // for the checkpoint: where it is from, its checksum
};

// Images for a network that takes images.
struct CalibrationImages {
  std::shared_ptr<const ImageDataset> dataset;
  Preprocessing preprocessing;
  int64_t label_offset = 0;  // the network's class of label i is i + this
};

// The extents of a value for one sample: one image, or one sequence of the set's length.
Shape sample_shape(const Graph& graph, ValueId value, const CalibrationSet& calibration);

struct CalibrationRequest {
  std::filesystem::path text;  // empty: sampled from the model itself
  int64_t sequences = 128;
  int64_t length = 0;  // 0: the model's context, at most 512
  uint64_t seed = 0;
  uint64_t ram_bytes = uint64_t{4} << 30;  // bounds what sampling takes; the text is the same
  const CalibrationImages* images = nullptr;  // instead of a text
};

// The sizes of the set, without its samples: an upper bound, since a text may be short. Throws
// kInvalidArgument if the length is beyond the model's context, or the network takes images and
// there are none.
CalibrationSet plan_calibration(const Model& model, const CalibrationRequest& request);

// Cuts the text into windows and takes evenly spread ones (as many as there are, if the text is
// short; kInvalidArgument if it has not even two windows). Of images too those that are evenly
// spread over the dataset.
CalibrationSet make_calibration_set(const Model& model, const CalibrationRequest& request,
                                    ThreadPool& pool, Progress& progress);

}  // namespace bitsmith

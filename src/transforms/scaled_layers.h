// What scales of channels do to the layers that read them.
#pragma once

#include <vector>

#include "transforms/channel_groups.h"

namespace bitsmith {

// Samples of rows of the layers that read a group's channels, of those that will be coded.
class ScaledLayers {
 public:
  //   rows: at most this many of each layer, evenly spaced
  ScaledLayers(const Network& network, const ChannelGroup& group, int64_t rows, ThreadPool& pool);

  bool empty() const { return layers_.empty(); }

  // The squared error of the layers' outputs, summed over the samples, when their weights times the
  // factors are rounded to the nearest codes and their inputs are divided by them.
  //   moment [cols, cols]: of the inputs before that;  factors [channels of the group]
  double coding_error(const std::vector<double>& moment, const std::vector<float>& factors,
                      ThreadPool& pool) const;

  // The same when each input, divided by its factor, has an error of its own of variance 1.
  double noise_error(const std::vector<float>& factors) const;

 private:
  struct Sample {
    MatrixShape shape;
    std::vector<float> weights;
    Scheme code = {};
  };
  std::vector<double> factors_of_columns(const std::vector<float>& factors) const;

  ChannelGroup group_;
  std::vector<Sample> layers_;
};

}  // namespace bitsmith

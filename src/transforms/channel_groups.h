// Channels between layers that can be scaled without changing the function of a network.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "transforms/network.h"

namespace bitsmith {

// An activation that only linear layers with weights of their own read, and whose channels can be
// scaled where it is made, in one of three ways:
//   norm       the gains (and biases) of an rms_norm or layer_norm
//   layer      the rows of a linear layer, behind which the activation is a product with something
//              else, or is read as it is
//   attention  the rows of the layer that makes the values; query heads that share a value head
//              share its factors
struct ChannelGroup {
  std::vector<size_t> readers;  // nodes, linear
  size_t maker = 0;             // node: a norm, or the linear layer
  int64_t channels = 0;         // that the maker makes: how many factors there are
  // Channel c of what readers read has the factor of channel source(c) of the maker.
  int64_t head_dim = 0;         // 0: the same channels; else of attention
  int64_t heads_per_value = 1;  // query heads that share a value head

  int64_t source(int64_t c) const {
    if (head_dim == 0) return c;
    return c / (head_dim * heads_per_value) * head_dim + c % head_dim;
  }
};

// In order of their first reader.
std::vector<ChannelGroup> find_channel_groups(const Network& network);

// The same; throws kUnsupported, in the name of a transform, if there are none.
std::vector<ChannelGroup> scalable_groups(const Network& network, std::string_view transform);

// Divides the channels of a group by `factors` [channels] where they are made and multiplies them
// where they are read.
void scale_channels(Network& network, const ChannelGroup& group, const std::vector<float>& factors);

}  // namespace bitsmith

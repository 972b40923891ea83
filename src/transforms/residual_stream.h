// The residual stream of a network: another basis for every value of it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "transforms/network.h"

namespace bitsmith {

// An orthogonal change of the stream's channels: a value h of the stream becomes h Q.
class StreamBasis {
 public:
  virtual ~StreamBasis() = default;
  // The channels that are kept of h Q, the first ones; all, or fewer if the stream is sliced.
  virtual int64_t kept(int64_t channels) const { return channels; }
  // W becomes W Q, for layers that read the stream; a vector of outputs (a bias) too.
  virtual ParameterEdit of_inputs(int64_t channels) const = 0;
  // W becomes Qᵀ W, for layers that write into it.
  virtual ParameterEdit of_outputs(int64_t channels) const = 0;
  // A new node: `value` times Q (the kept channels of it), or times Qᵀ; its output.
  virtual ValueId add_operator(Network& network, ValueId value, bool inverse) const = 0;
};

// A norm that divides by the root mean square does not see Q once its gains are folded into the
// layers that read it, which become W diag(gain) Q. Where a weight is shared (a tied head) or
// something else reads the stream, an operator changes the basis there instead, so any graph stays
// the function that it was.
class ResidualStream {
 public:
  // The values that sums and scalings connect with the rows of an embedding, where `allowed` of
  // their channels.
  ResidualStream(Network& network, const std::function<bool(int64_t channels)>& allowed);

  // How many values it has.
  int64_t size() const;

  // The channels of its values, if they are of one width; else 0.
  int64_t channels() const;

  // The linear layers that read it in the changed basis, in ascending order, and the gains of the
  // norm in front of each; kNoValue: there is none.
  struct Reader {
    size_t node = 0;
    ValueId gains = kNoValue;
  };
  std::vector<Reader> readers() const;

  // New nodes are appended; Network::place_new_nodes() is for the caller.
  void change(const StreamBasis& basis, ThreadPool& pool);

  // A linear layer or embedding whose matrix, and bias, nobody else reads.
  bool owns_weight(size_t n) const;
  // Whether only such linear layers read a value.
  bool read_by_own_weights(ValueId value) const;
  const std::vector<Use>& uses(ValueId value) const { return uses_[static_cast<size_t>(value)]; }
  size_t producer(ValueId value) const { return producers_[static_cast<size_t>(value)]; }
  void redirect(const std::vector<Use>& uses, ValueId to);

 private:
  bool holds(ValueId id) const { return stream_[static_cast<size_t>(id)]; }
  bool is_sum(size_t n) const;
  bool made_changed(ValueId id) const;  // by a sum or a layer, not by an operator
  bool reads_changed(ValueId id, const Use& use) const;
  void change_where_made(ValueId id, const StreamBasis& basis);
  void change_where_read(ValueId id, const StreamBasis& basis, ThreadPool& pool);
  void change_norm(Node& node, int64_t channels, const StreamBasis& basis, ThreadPool& pool);
  int64_t channels_of(ValueId id) const { return channels_[static_cast<size_t>(id)]; }

  Network& network_;
  Graph& graph_;
  size_t nodes_;  // before any was added
  std::vector<size_t> producers_;
  std::vector<std::vector<Use>> uses_;
  std::vector<bool> stream_;       // [values]
  std::vector<int64_t> channels_;  // [values], before any was changed; of the stream's
};

}  // namespace bitsmith

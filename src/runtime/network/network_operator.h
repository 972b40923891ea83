// How the native executor computes an operator of a network of tensors: the interface of the
// operators_<group>.cc.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/registry.h"
#include "core/thread_pool.h"
#include "formats/model.h"
#include "graph/graph.h"
#include "runtime/kernels/linear.h"
#include "runtime/network/products.h"

namespace bitsmith {

// How the elements of a value [B, C, extents...] lie in memory.
enum class Layout {
  kPlain,         // row-major
  kChannelsLast,  // as if it were [B, extents..., C]; values of fewer than three axes are plain
};

// What a value's codes, one uint8 for each element, stand for: scale * (code - zero).
struct Encoding {
  double scale = 1;
  int32_t zero = 0;
  int32_t low = 0;  // codes lie in [low, high]
  int32_t high = 255;
  friend bool operator==(const Encoding&, const Encoding&) = default;
};
using Encodings = std::vector<std::optional<Encoding>>;  // [values]; nullopt: float32

// Of a tensor of known extents, in elements.
Shape strides_of(const Shape& extents, Layout layout);

// Whether a value's elements lie the same way in both layouts.
bool is_same_in_both_layouts(const Shape& shape);

// Strides with which a tensor is read as if it had been broadcast to `rank` axes: 0 on the axes
// that it lacks or that have extent 1 there.
Shape broadcast_strides(const Shape& extents, const Shape& strides, size_t rank);

// What a step sees of a run: some images, and where their values lie. A value whose shape begins
// with kBatch has `images` of them.
class NetworkFrame {
 public:
  NetworkFrame(ThreadPool& thread_pool, size_t value_count) : pool(&thread_pool) {
    data_.assign(value_count, nullptr);
  }

  ThreadPool* pool;
  int64_t images = 0;

  float* data(ValueId id) const { return static_cast<float*>(data_[static_cast<size_t>(id)]); }
  // Of a value with an encoding.
  uint8_t* codes(ValueId id) const { return static_cast<uint8_t*>(data_[static_cast<size_t>(id)]); }
  // A shape with its kBatch, wherever it stands, replaced.
  Shape known(const Shape& shape) const;

 private:
  friend class NetworkExecutor;
  std::vector<void*> data_;  // [values]
};

// A value as an operator reads or writes it.
struct Operand {
  ValueId id = kNoValue;
  Shape shape = {};
  Layout layout = Layout::kPlain;
  std::optional<Encoding> encoding = {};

  float* data(const NetworkFrame& frame) const { return frame.data(id); }
  uint8_t* codes(const NetworkFrame& frame) const { return frame.codes(id); }
  Shape extents(const NetworkFrame& frame) const { return frame.known(shape); }
  Shape strides(const NetworkFrame& frame) const { return strides_of(frame.known(shape), layout); }
};

// A node made ready to run; may be run by several threads at once, in frames of their own.
class NetworkStep {
 public:
  virtual ~NetworkStep() = default;
  virtual void run(NetworkFrame& frame) const = 0;
  virtual std::string_view kernel_name() const { return ""; }  // if there is a choice
  virtual uint64_t memory_bytes() const { return 0; }          // that the step owns
};

// What the steps of one network are made from.
class NetworkPreparation {
 public:
  //   layouts, encodings [values]
  NetworkPreparation(const Graph& graph, const std::vector<Layout>& layouts,
                     const Encodings& encodings,
                     const std::map<std::string, CodedTensor>& parameters, Products products);

  // A value to read; a parameter is decoded and kept for all steps.
  Operand operand(ValueId id);
  Operand input(const Node& node, size_t i) { return operand(node.inputs.at(i)); }
  Operand output(const Node& node) { return operand(node.outputs.at(0)); }
  const CodedTensor& parameter(ValueId id) const;  // kNotFound, kCorrupt if it does not fit
  std::vector<float> numbers(ValueId id) const;    // a parameter decoded, or nothing for kNoValue
  const Graph& graph() const { return graph_; }
  Products products() const { return products_; }

 private:
  friend class NetworkExecutor;
  const Graph& graph_;
  const std::vector<Layout>& layouts_;
  const Encodings& encodings_;
  const std::map<std::string, CodedTensor>& parameters_;
  Products products_;
  std::map<ValueId, std::vector<float>> decoded_;
};

// What an activation that was joined to a node leaves of its results: attributes `low` and `high`.
struct Limits {
  explicit Limits(const Node& node);
  float low;   // -infinity if there is none
  float high;  // infinity
};

// Which layouts an operator reads and makes.
enum class LayoutRule {
  kPlain,         // everything plain
  kChannelsLast,  // input 0 and the output channels last
  kFollow,        // inputs as they are; the output as inputs of its rank, if one is channels last
};

struct NetworkOperator {
  static const char* kind() { return "network operator"; }
  PartInfo part;  // the id is that of the graph's operator
  LayoutRule rule = LayoutRule::kFollow;
  std::unique_ptr<NetworkStep> (*prepare)(NetworkPreparation& preparation,
                                          const Node& node) = nullptr;
  // Inputs on whose memory the output may be written, if they have its shape and layout.
  std::vector<size_t> in_place = {};
  bool reads_past_end = false;  // kConvSlackBytes behind input 0
  bool reshapes = false;        // the output is input 0, but for its shape

  const PartInfo& info() const { return part; }
};

// At namespace scope: registers a group.
struct NetworkOperators {
  NetworkOperators(std::initializer_list<NetworkOperator> operators) {
    for (const NetworkOperator& op : operators) {
      Registry<NetworkOperator>::instance().add(std::make_unique<const NetworkOperator>(op));
    }
  }
};

// A step of class S from (preparation, node).
template <class S>
std::unique_ptr<NetworkStep> make_step(NetworkPreparation& preparation, const Node& node) {
  return std::make_unique<S>(preparation, node);
}

// "executor: node 'x' (op) <reason>", kUnsupported.
[[noreturn]] void refuse_node(const Node& node, const std::string& reason);

}  // namespace bitsmith

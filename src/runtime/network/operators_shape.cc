// Operators of graph/operators_shape.h: copies between layouts, of float32 or of codes.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "runtime/network/copy.h"
#include "runtime/network/network_operator.h"

namespace bitsmith {
namespace {

template <class T>
T* elements(const Operand& x, const NetworkFrame& frame) {
  if constexpr (std::is_same_v<T, float>) {
    return x.data(frame);
  } else {
    return x.codes(frame);
  }
}

template <class T>
using ConstView = StridedView<const T>;

template <class T>
ConstView<T> view(const Operand& x, const NetworkFrame& frame) {
  return {elements<T>(x, frame), x.strides(frame)};
}
template <class T>
StridedView<T> output_view(const Operand& y, const NetworkFrame& frame) {
  return {elements<T>(y, frame), y.strides(frame)};
}

// A step of class S<float>, or of S<uint8_t> for codes.
template <template <class> class S>
std::unique_ptr<NetworkStep> make_typed(NetworkPreparation& p, const Node& node) {
  if (p.output(node).encoding) return make_step<S<uint8_t>>(p, node);
  return make_step<S<float>>(p, node);
}

// The same elements in another layout.
template <class T>
class Relayout final : public NetworkStep {
 public:
  Relayout(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {}
  void run(NetworkFrame& frame) const override {
    copy(y_.extents(frame), view<T>(x_, frame), output_view<T>(y_, frame), *frame.pool);
  }

 private:
  Operand x_, y_;
};

template <class T>
class Reshape final : public NetworkStep {
 public:
  Reshape(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {}
  void run(NetworkFrame& frame) const override {
    const int64_t count = *element_count(y_.extents(frame));
    const T* x = elements<T>(x_, frame);
    T* y = elements<T>(y_, frame);
    if (x != y) copy<T>({count}, {x, {1}}, {y, {1}}, *frame.pool);
  }

 private:
  Operand x_, y_;
};

template <class T>
class Transpose final : public NetworkStep {
 public:
  Transpose(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)), y_(p.output(node)), order_(node.integers("order")) {}
  void run(NetworkFrame& frame) const override {
    const Shape strides = x_.strides(frame);
    ConstView<T> x{elements<T>(x_, frame), {}};
    for (const int64_t axis : order_) x.strides.push_back(strides[static_cast<size_t>(axis)]);
    copy(y_.extents(frame), x, output_view<T>(y_, frame), *frame.pool);
  }

 private:
  Operand x_, y_;
  std::vector<int64_t> order_;
};

template <class T>
class Concat final : public NetworkStep {
 public:
  Concat(NetworkPreparation& p, const Node& node)
      : y_(p.output(node)), axis_(static_cast<size_t>(node.integer("axis"))) {
    for (size_t i = 0; i < node.inputs.size(); ++i) x_.push_back(p.input(node, i));
  }
  void run(NetworkFrame& frame) const override {
    StridedView<T> y = output_view<T>(y_, frame);
    for (const Operand& x : x_) {
      const Shape extents = x.extents(frame);
      copy(extents, view<T>(x, frame), y, *frame.pool);
      y.data += extents[axis_] * y.strides[axis_];
    }
  }

 private:
  std::vector<Operand> x_;
  Operand y_;
  size_t axis_;
};

template <class T>
class Slice final : public NetworkStep {
 public:
  Slice(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        axes_(node.integers("axes")),
        begins_(node.integers("begins")),
        steps_(node.integers("steps")) {}
  void run(NetworkFrame& frame) const override {
    ConstView<T> x = view<T>(x_, frame);
    for (size_t i = 0; i < axes_.size(); ++i) {
      int64_t& stride = x.strides[static_cast<size_t>(axes_[i])];
      x.data += begins_[i] * stride;
      stride *= steps_[i];
    }
    copy(y_.extents(frame), x, output_view<T>(y_, frame), *frame.pool);
  }

 private:
  Operand x_, y_;
  std::vector<int64_t> axes_, begins_, steps_;
};

// The middle is copied; then, axis by axis, what stands before and after it.
template <class T>
class Pad final : public NetworkStep {
 public:
  Pad(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)),
        y_(p.output(node)),
        pads_(node.integers("pads")),
        mode_(node.text("mode")),
        value_(static_cast<T>(node.number("value"))) {
    if (y_.encoding) value_ = static_cast<T>(y_.encoding->zero);  // codes are padded with 0 only
  }

  void run(NetworkFrame& frame) const override {
    const Shape extents = x_.extents(frame);
    const Shape strides = y_.strides(frame);
    StridedView<T> middle{elements<T>(y_, frame), strides};
    for (size_t axis = 0; axis < extents.size(); ++axis) {
      middle.data += pads_[axis] * strides[axis];
    }
    if (mode_ == "constant") {
      const Shape all = y_.extents(frame);
      copy<T>(all, {&value_, Shape(all.size(), 0)}, output_view<T>(y_, frame), *frame.pool);
    }
    copy(extents, view<T>(x_, frame), middle, *frame.pool);
    if (mode_ != "constant") mirror(extents, middle, *frame.pool);
  }

 private:
  // `done`: what is there already, from the first element of x; grows axis by axis.
  void mirror(Shape done, StridedView<T> middle, ThreadPool& pool) const {
    const size_t rank = done.size();
    for (size_t axis = 0; axis < rank; ++axis) {
      const int64_t extent = done[axis];
      const int64_t stride = middle.strides[axis];
      Shape line = done;
      line[axis] = 1;
      for (int64_t at = -pads_[axis]; at < extent + pads_[rank + axis]; ++at) {
        if (at >= 0 && at < extent) continue;
        const int64_t mirrored = extent - 1 - std::abs(extent - 1 - std::abs(at));
        const int64_t from = mode_ == "reflect" ? mirrored : std::clamp<int64_t>(at, 0, extent - 1);
        copy<T>(line, {middle.data + from * stride, middle.strides},
                {middle.data + at * stride, middle.strides}, pool);
      }
      middle.data -= pads_[axis] * stride;
      done[axis] += pads_[axis] + pads_[rank + axis];
    }
  }

  Operand x_, y_;
  std::vector<int64_t> pads_;
  std::string mode_;
  T value_;
};

// Also rows of an embedding's table, which is its second input.
class Gather final : public NetworkStep {
 public:
  Gather(NetworkPreparation& p, const Node& node)
      : node_(fmt::format("'{}' ({})", node.name, node.op)),
        x_(p.input(node, node.op == "gather" ? 0 : 1)),
        indices_(p.input(node, node.op == "gather" ? 1 : 0)),
        y_(p.output(node)),
        axis_(node.op == "gather" ? static_cast<size_t>(node.integer("axis")) : 0) {}

  // x [outer, extent, inner], indices [count] -> [outer, count, inner]
  void run(NetworkFrame& frame) const override {
    const Shape extents = x_.extents(frame);
    const auto product = [&](size_t begin, size_t end) {
      int64_t result = 1;
      for (size_t i = begin; i < end; ++i) result *= extents[i];
      return result;
    };
    const int64_t outer = product(0, axis_);
    const int64_t inner = product(axis_ + 1, extents.size());
    const int64_t extent = extents[axis_];
    const int64_t count = *element_count(indices_.extents(frame));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t index = checked(indices_.data(frame)[i], extent);
      copy<float>({outer, inner}, {x_.data(frame) + index * inner, {extent * inner, 1}},
                  {y_.data(frame) + i * inner, {count * inner, 1}}, *frame.pool);
    }
  }

 private:
  int64_t checked(float number, int64_t extent) const {
    const auto limit = static_cast<float>(extent);
    if (!(number >= -limit && number < limit) || number != std::floor(number)) {
      fail(ErrorCode::kCorrupt, "executor: node {} asks for index {} of {}", node_, number, extent);
    }
    const auto index = static_cast<int64_t>(number);
    return index < 0 ? index + extent : std::min(index, extent - 1);
  }

  std::string node_;
  Operand x_, indices_, y_;
  size_t axis_;
};

class Expand final : public NetworkStep {
 public:
  Expand(NetworkPreparation& p, const Node& node) : x_(p.input(node, 0)), y_(p.output(node)) {}
  void run(NetworkFrame& frame) const override {
    const Shape extents = y_.extents(frame);
    const Shape strides = broadcast_strides(x_.extents(frame), x_.strides(frame), extents.size());
    copy<float>(extents, {x_.data(frame), strides}, output_view<float>(y_, frame), *frame.pool);
  }

 private:
  Operand x_, y_;
};

NetworkOperator follow(const char* id, const char* summary, decltype(&make_step<Gather>) prepare) {
  return {{id, summary, "", {}}, LayoutRule::kFollow, prepare};
}
NetworkOperator plain(const char* id, const char* summary, decltype(&make_step<Gather>) prepare) {
  return {{id, summary, "", {}}, LayoutRule::kPlain, prepare};
}
// Its output's layout is set by who asks for it.
NetworkOperator reshaping() {
  NetworkOperator op = plain("reshape", "the same elements in another shape", make_typed<Reshape>);
  op.reshapes = true;
  return op;
}

const NetworkOperators operators = {
    follow("relayout", "the same tensor in another layout", make_typed<Relayout>),
    reshaping(),
    follow("transpose", "axes in another order", make_typed<Transpose>),
    follow("concat", "tensors one after the other along an axis", make_typed<Concat>),
    follow("slice", "a regular part of some axes", make_typed<Slice>),
    follow("pad", "elements added around a tensor", make_typed<Pad>),
    plain("gather", "parts of an axis by index", make_step<Gather>),
    plain("embedding", "rows of a table by index", make_step<Gather>),
    follow("expand", "a tensor broadcast to a shape", make_step<Expand>),
};

}  // namespace
}  // namespace bitsmith

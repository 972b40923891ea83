// Operators of graph/operators_shape.h in torch.
#include "reference/operators.h"

namespace bitsmith::reference {
namespace {

// `shape` with kBatch, if it stands first, replaced by the first extent of `x`.
std::vector<int64_t> known_shape(const std::vector<int64_t>& shape, const at::Tensor& x) {
  std::vector<int64_t> result = shape;
  if (!result.empty() && result[0] == kBatch) result[0] = x.size(0);
  return result;
}

at::Tensor reshape(const Node& node, const Inputs& in) {
  return in[0].reshape(known_shape(node.integers("shape"), in[0]));
}

at::Tensor transpose(const Node& node, const Inputs& in) {
  return in[0].permute(node.integers("order"));
}

at::Tensor concat(const Node& node, const Inputs& in) { return at::cat(in, node.integer("axis")); }

at::Tensor slice(const Node& node, const Inputs& in) {
  at::Tensor x = in[0];
  for (size_t i = 0; i < node.integers("axes").size(); ++i) {
    const at::Tensor position =
        at::arange(node.integers("lengths")[i], at::TensorOptions().device(x.device()));
    x = x.index_select(node.integers("axes")[i],
                       node.integers("begins")[i] + node.integers("steps")[i] * position);
  }
  return x;
}

at::Tensor pad(const Node& node, const Inputs& in) {
  const std::vector<int64_t>& pads = node.integers("pads");
  const int64_t rank = in[0].dim();
  at::Tensor x = in[0];
  for (int64_t axis = 0; axis < rank; ++axis) {
    const int64_t before = pads[static_cast<size_t>(axis)];
    const int64_t after = pads[static_cast<size_t>(rank + axis)];
    if (before == 0 && after == 0) continue;
    const int64_t extent = x.size(axis);
    const at::Tensor position =
        at::arange(-before, extent + after, at::TensorOptions().device(x.device()));
    // Mirrored at 0 and at extent - 1; or the nearest.
    const at::Tensor mirrored = extent - 1 - (extent - 1 - position.abs()).abs();
    const at::Tensor source =
        node.text("mode") == "reflect" ? mirrored : position.clamp(0, extent - 1);
    at::Tensor y = x.index_select(axis, source);
    if (node.text("mode") == "constant") {
      std::vector<int64_t> along(static_cast<size_t>(rank), 1);
      along[static_cast<size_t>(axis)] = -1;
      y = y.masked_fill(position.ne(source).view(along), node.number("value"));
    }
    x = y;
  }
  return x;
}

at::Tensor gather(const Node& node, const Inputs& in) {
  const int64_t axis = node.integer("axis");
  const at::Tensor indices = in[1].to(at::kLong);
  const at::Tensor from_start = at::where(indices.lt(0), indices + in[0].size(axis), indices);
  std::vector<int64_t> shape = in[0].sizes().slice(0, static_cast<size_t>(axis)).vec();
  shape.insert(shape.end(), indices.sizes().begin(), indices.sizes().end());
  const auto rest = in[0].sizes().slice(static_cast<size_t>(axis) + 1);
  shape.insert(shape.end(), rest.begin(), rest.end());
  return in[0].index_select(axis, from_start.flatten()).reshape(shape);
}

at::Tensor expand(const Node& node, const Inputs& in) {
  const at::Tensor& like = in[1].defined() ? in[1] : in[0];
  return in[0].expand(known_shape(node.integers("shape"), like)).contiguous();
}

const Operators kOperators = {
    {"reshape", reshape}, {"transpose", transpose}, {"concat", concat}, {"slice", slice},
    {"pad", pad},         {"gather", gather},       {"expand", expand},
};

}  // namespace
}  // namespace bitsmith::reference

// Operators that move elements but do not change them.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

// The same elements in the same row-major order, as `shape`. An unknown extent (kBatch) stays what
// and where it is: it is the first in both shapes or in none.
ValueId reshape(Graph& graph, std::string name, ValueId x, Shape shape);

// Axis i of the result is axis order[i] of x.
ValueId transpose(Graph& graph, std::string name, ValueId x, std::vector<int64_t> order);

// One after the other along `axis`; all other extents are equal. One input or more.
ValueId concat(Graph& graph, std::string name, std::vector<ValueId> inputs, int64_t axis);

// y[.., i, ..] = x[.., begin + i * step, ..], 0 <= i < length, for each of `axes` (ascending).
// Steps may be negative; no position lies outside x.
struct SliceOptions {
  std::vector<int64_t> axes;
  std::vector<int64_t> begins;
  std::vector<int64_t> steps;
  std::vector<int64_t> lengths;
};
ValueId slice(Graph& graph, std::string name, ValueId x, const SliceOptions& options);

// Adds pads[i] elements before and pads[rank + i] after axis i, none to an axis of unknown extent.
// They are, by `mode`: "constant": value; "edge": the nearest element; "reflect": mirrored at the
// first and last element, which are not repeated (a pad is then smaller than the extent).
ValueId pad(Graph& graph, std::string name, ValueId x, std::vector<int64_t> pads,
            std::string mode = "constant", double value = 0);

// y[a.., i.., b..] = x[a.., indices[i..], b..]: `axis` of x is replaced by the extents of indices.
// An index below 0 counts from the end.
ValueId gather(Graph& graph, std::string name, ValueId x, ValueId indices, int64_t axis);

// Broadcasts x to `shape` as in NumPy. If `shape` begins with kBatch, `like` is an activation whose
// first extent it is; otherwise kNoValue.
ValueId expand(Graph& graph, std::string name, ValueId x, ValueId like, Shape shape);

}  // namespace bitsmith::ops

// What the operators' shape inference shares: checks of a node against its graph.
#pragma once

#include "graph/graph.h"

namespace bitsmith::infer {

// Throws kCorrupt naming the node.
[[noreturn]] void misfit(const Node& node, const std::string& reason);

// Checks the number of inputs; the last `optional` of them may be kNoValue.
void expect_inputs(const Graph& graph, const Node& node, size_t count, size_t optional = 0);

const Shape& input_shape(const Graph& graph, const Node& node, size_t i);

// The shape of an input that must be a parameter of `rank` extents: an executor may then prepare it
// once.
const Shape& parameter_shape(const Graph& graph, const Node& node, size_t i, size_t rank);

// A parameter [length] or kNoValue.
void expect_vector(const Graph& graph, const Node& node, size_t i, int64_t length);

// The last extent of an input; it must be known.
int64_t last_extent(const Graph& graph, const Node& node, size_t i);

void expect_equal(const Node& node, const char* what, int64_t expected, int64_t got);

// An attribute that counts an axis of `rank` extents from 0.
size_t axis_attribute(const Node& node, std::string_view name, size_t rank);

// An attribute of `count` integers, each in [lowest, highest].
const std::vector<int64_t>& integers_attribute(const Node& node, std::string_view name,
                                               size_t count, int64_t lowest, int64_t highest);

// The shape that two shapes broadcast to, as in NumPy: aligned at the last extent; extents are
// equal, or one of them is 1 or missing. A symbol equals itself only.
Shape broadcast(const Node& node, const Shape& a, const Shape& b);

Shape same_shape(const Graph& graph, const Node& node);        // of the one input
Shape broadcast_inputs(const Graph& graph, const Node& node);  // of two

using Function = Shape (*)(const Graph& graph, const Node& node);
void register_operator(const char* id, const char* summary, bool positionwise, Function function);

}  // namespace bitsmith::infer

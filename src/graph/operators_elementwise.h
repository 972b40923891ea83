// Operators that compute each element of the result from one element of each input.
//
// Binary ones broadcast as in NumPy: shapes are aligned at the last extent; extents are equal, or
// one of them is 1 or missing. Either input may be an activation or a parameter.
#pragma once

#include "graph/graph.h"

namespace bitsmith::ops {

ValueId add(Graph& graph, std::string name, ValueId a, ValueId b);
ValueId subtract(Graph& graph, std::string name, ValueId a, ValueId b);  // a - b
ValueId multiply(Graph& graph, std::string name, ValueId a, ValueId b);
ValueId divide(Graph& graph, std::string name, ValueId a, ValueId b);  // a / b
ValueId power(Graph& graph, std::string name, ValueId a, ValueId b);   // a ^ b, as std::pow
ValueId minimum(Graph& graph, std::string name, ValueId a, ValueId b);
ValueId maximum(Graph& graph, std::string name, ValueId a, ValueId b);
// 1 where it holds, else 0.
ValueId equal(Graph& graph, std::string name, ValueId a, ValueId b);  // a = b
ValueId less(Graph& graph, std::string name, ValueId a, ValueId b);   // a < b
// a where condition is not 0, else b; all three broadcast.
ValueId select(Graph& graph, std::string name, ValueId condition, ValueId a, ValueId b);

// Functions of one element without attributes, by the operator's id:
//   relu       max(x, 0)                 abs        |x|
//   sigmoid    1 / (1 + e⁻ˣ)             exp        eˣ
//   silu       x * sigmoid(x)            log        natural logarithm
//   hard_swish x * min(max(x/6 + 1/2, 0), 1)
//   tanh       hyperbolic tangent        sqrt       square root
//   gelu       x/2 * (1 + erf(x / √2))   erf        2/√π ∫₀ˣ e^(-t²) dt
//   gelu_tanh  x/2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))
//   softplus   log(1 + eˣ)               sin, cos   of radians
//   floor, ceil, truncate (towards 0), round (to nearest, ties to even)
ValueId unary(Graph& graph, std::string_view op, std::string name, ValueId x);
ValueId silu(Graph& graph, std::string name, ValueId x);
ValueId relu(Graph& graph, std::string name, ValueId x);

// factor * x
ValueId scale(Graph& graph, std::string name, ValueId x, double factor);

// cap * tanh(x / cap), cap > 0: about x where it is small, within -cap and cap
ValueId soft_cap(Graph& graph, std::string name, ValueId x, double cap);

// min(max(x, low), high), low <= high, both finite (a clip of one side is `maximum` or `minimum`)
ValueId clip(Graph& graph, std::string name, ValueId x, double low, double high);

// x where x >= 0, else slope * x
ValueId leaky_relu(Graph& graph, std::string name, ValueId x, double slope);

// x where x >= 0, else alpha * (eˣ - 1)
ValueId elu(Graph& graph, std::string name, ValueId x, double alpha);

// min(max(slope * x + offset, 0), 1)
ValueId hard_sigmoid(Graph& graph, std::string name, ValueId x, double slope, double offset);

}  // namespace bitsmith::ops

// The operators of the graph: how to make each node, and what it means. One header for each group.
//
// Shape letters: B sequences or images, T positions, C (input) channels, O output channels, H
// heads, D head dimension or normalised channels; `...` any extents. Executors compute each
// operator exactly as written, in float32 unless they say otherwise. Every value is float32 to the
// graph: ids, indices and integer codes are whole numbers (exact below 2^24), truth is 1 or 0.
#pragma once

#include "graph/operators_convolution.h"
#include "graph/operators_elementwise.h"
#include "graph/operators_language.h"
#include "graph/operators_matrix.h"
#include "graph/operators_normalization.h"
#include "graph/operators_quantization.h"
#include "graph/operators_shape.h"

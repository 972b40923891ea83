// The edits that transforms are made of.
#pragma once

#include <memory>
#include <vector>

#include "runtime/kernels/hadamard.h"
#include "transforms/network.h"

namespace bitsmith::edits {

// Each row times Q, run by run: the layer's input was rotated by Q. For a vector of outputs (a
// bias), its rotation by Q.
ParameterEdit rotate_inputs(std::shared_ptr<const HadamardRotation> rotation);

// Qᵀ times each column, run by run: the layer's output is rotated by Q.
ParameterEdit rotate_outputs(std::shared_ptr<const HadamardRotation> rotation);

// The same with any matrix Q [n, n] row-major float32, of layers with n inputs or n outputs.
ParameterEdit multiply_inputs(std::shared_ptr<const std::vector<float>> q);
ParameterEdit multiply_outputs(std::shared_ptr<const std::vector<float>> q);

// Column c times factors[c]; element c of a vector.
ParameterEdit scale_inputs(std::vector<float> factors);

// Element c of a vector plus addend[c].
ParameterEdit shift(std::vector<float> addend);

// Row r times factors[r].
ParameterEdit scale_outputs(std::vector<float> factors);

// Column c, or element c of a vector, becomes what column order[c] was; a row likewise.
ParameterEdit reorder_inputs(std::vector<int64_t> order);
ParameterEdit reorder_outputs(std::vector<int64_t> order);

}  // namespace bitsmith::edits

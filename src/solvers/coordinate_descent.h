// Better codes for rows that have codes already, one column at a time.
#pragma once

#include "solvers/direct.h"

namespace bitsmith {

// The second moment of a problem as float32 [cols, cols], row-major.
std::vector<float> single_precision_moment(const InputStatistics& statistics, ThreadPool& pool);

// Sweeps over the columns of one chunk of rows; each column in turn is given the code that is best
// while all others stay, which never raises the error:
//     target_k = q_k + (e H)_k / H_kk,  e = w - q
// The parameters of groups stay. Columns whose input is always zero keep their codes.
//   moment [cols, cols]: H without damping
//   weights, values [cols][kChunkRows] panels; values are improved in place
// The encoder must code single columns. Products e H for batches of 128 columns by BLAS: call it
// from run_blas_tasks. O(rows * cols²) per sweep. Nair and Suggala 2024 (CDQuant),
// arXiv:2406.17542, their cyclic variant.
void descend(const std::vector<float>& moment, int sweeps, int64_t row_begin, int64_t row_count,
             const std::vector<float>& weights, std::vector<float>& values, Encoder& encoder);

}  // namespace bitsmith

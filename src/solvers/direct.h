// What solvers share: checks, panels of rows, and solving without error feedback.
#pragma once

#include <cstdint>
#include <vector>

#include "solvers/solver.h"

namespace bitsmith {

// Rows are solved in chunks of this many, the same for any number of threads.
inline constexpr int64_t kChunkRows = 64;

// Throws kInvalidArgument, naming the first offender, unless sizes agree and all weights are
// finite.
void check_problem(const Problem& problem, std::string_view solver);

// Copies columns [col_begin, col_begin + col_count) of `rows` rows of a row-major matrix
// w [.., cols] into a column-major panel [col_count][kChunkRows], or back. Missing rows of the
// panel are zeros.
void load_panel(const float* w, int64_t cols, int64_t rows, int64_t col_begin, int64_t col_count,
                float* panel);
void store_panel(const float* panel, int64_t cols, int64_t rows, int64_t col_begin,
                 int64_t col_count, float* w);

// An encoder for the problem that has seen all of its weights.
//   importance [cols]: as in solve_directly
std::unique_ptr<Encoder> prepared_encoder(const Problem& problem, int search_steps,
                                          const std::vector<float>& importance, ThreadPool& pool);

// Fits each group and takes the nearest codes, all columns on their own.
//   importance [cols]: weight of each column while groups are fitted; empty: all 1
Solution solve_directly(const Problem& problem, int search_steps,
                        const std::vector<float>& importance, ThreadPool& pool);

// The same without row errors.
Solution code_directly(const Problem& problem, int search_steps,
                       const std::vector<float>& importance, ThreadPool& pool);

// Solver::scratch_bytes() of it: codes; with statistics also the copy of row_errors().
inline int64_t direct_scratch_bytes(bool has_statistics) { return has_statistics ? 5 : 1; }

// The row errors of a solution, (w - q) H (w - q)ᵀ with the second moment H as it was measured: not
// damped, unused columns not filled in. Products of float32 rounded H in float32 over strips of 256
// columns, whose sum is taken in float64. |w - q|² if statistics is nullptr.
//   values [rows, cols] row-major
// O(rows * cols²) time, one copy of the weights as scratch. Same bits for any number of threads.
std::vector<double> row_errors(const Problem& problem, const std::vector<float>& values,
                               ThreadPool& pool);

}  // namespace bitsmith

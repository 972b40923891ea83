// The directions of a matrix's outputs in which most of the error of a layer lies.
#pragma once

#include <span>
#include <vector>

#include "codecs/codec.h"
#include "core/thread_pool.h"

namespace bitsmith {

struct LeadingDirections {
  int64_t count = 0;
  std::vector<double> vectors;   // [count, rows] row-major, orthonormal
  std::vector<double> energies;  // [count], descending: the eigenvalues that belong to them
};

// The leading eigenvectors of E H Eᵀ, which are the left singular vectors of E H^(1/2), so that
// their energies are its squared singular values. Projecting E on them, Uᵀ(U E), leaves the least
// Σ (e - l) H (e - l)ᵀ of all matrices of that rank (Eckart & Young 1936, in the norm of H): no
// inverse of H is needed, it may be singular.
//   error E [rows, cols] row-major;  moment H [cols, cols] float64, or nullptr: the identity
//   count: wanted; fewer are found if the rank is lower
// Subspace iteration with Rayleigh-Ritz until the energies together grow by less than 1e-6 of
// themselves, at most 60 rounds of O((2 rows + cols) * cols * count). Same bits for any number of
// threads.
LeadingDirections leading_directions(std::span<const float> error, const MatrixShape& shape,
                                     const std::vector<double>* moment, int64_t count,
                                     ThreadPool& pool);

// What it takes at its peak beside its arguments: the error in float64, and the vectors that are
// followed with their images. 8 bytes for each weight and about 40 (rows + cols) * count.
int64_t leading_directions_bytes(const MatrixShape& shape, int64_t count);

}  // namespace bitsmith

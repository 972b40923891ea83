// Residual `dictionary`: a dense dictionary, and for each row of the matrix a sparse combination of
// its atoms, learned in the norm of the layer's input.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "calibration/blas.h"
#include "residuals/thin_layers.h"

namespace bitsmith {
namespace {

// A row w of E is approximated by s A: atoms A [atoms, cols], s with few nonzeros, in the norm
// |x|² = x H xᵀ. Rows of E L, H = L Lᵀ, would be signals of the plain norm; products with H do
// without L, which a singular H has no inverse of.
struct Dictionary {
  MatrixShape shape;               // of E
  int64_t atoms = 0;               // k
  std::vector<double> a = {};      // [k, cols], rows of length 1
  std::vector<double> gram = {};   // A H Aᵀ [k, k]
  std::vector<double> match = {};  // E H Aᵀ [rows, k]

  void measure(const std::vector<float>& error, const std::vector<double>* moment,
               ThreadPool& pool) {
    const auto k = static_cast<int>(atoms);
    const auto cols = static_cast<int>(shape.cols);
    std::vector<double> ah = a;  // A H [k, cols]
    if (moment != nullptr) {
      run_blas_tiles(pool, cols, [&](int64_t begin, int64_t count) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, k, static_cast<int>(count), cols,
                    1.0, a.data(), cols, moment->data() + begin, cols, 0.0, ah.data() + begin,
                    cols);
      });
    }
    gram.resize(static_cast<size_t>(atoms * atoms));
    run_blas_tiles(pool, atoms, [&](int64_t begin, int64_t count) {
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(count), k, cols, 1.0,
                  ah.data() + begin * cols, cols, a.data(), cols, 0.0, gram.data() + begin * k, k);
    });
    match.resize(static_cast<size_t>(shape.rows * atoms));
    run_blas_tiles(pool, shape.rows, [&](int64_t begin, int64_t count) {
      const float* first = error.data() + begin * cols;
      const std::vector<double> rows(first, first + count * cols);
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(count), k, cols, 1.0,
                  rows.data(), cols, ah.data(), cols, 0.0, match.data() + begin * k, k);
    });
  }
};

// What a row is made of.
struct Combination {
  std::vector<int64_t> atoms;
  std::vector<double> factors;
  double explained = 0;  // of the row's energy
};

// Orthogonal matching pursuit: the atom that explains most of what is left, then the least-squares
// fit to all that were taken. Needs products of atoms and row only (Rubinstein et al. 2008, Batch
// OMP): O(k s²).
Combination pursue(const Dictionary& d, const double* match, int64_t nonzeros) {
  const int64_t k = d.atoms;
  const auto gram = [&](int64_t i, int64_t j) { return d.gram[static_cast<size_t>(i * k + j)]; };
  constexpr double kNothing = 1e-9;
  Combination result;
  std::vector<double> left(match, match + k);
  std::vector<bool> barred(static_cast<size_t>(k), false);
  std::vector<std::vector<double>> factor;  // Cholesky of the gram matrix of those taken, by row
  while (std::ssize(result.atoms) < nonzeros) {
    int64_t best = -1;
    double most = 0;
    for (int64_t j = 0; j < k; ++j) {
      if (barred[static_cast<size_t>(j)] || !(gram(j, j) > 0)) continue;
      const double c = left[static_cast<size_t>(j)];
      const double gain = c * c / gram(j, j);
      if (gain > most) {
        most = gain;
        best = j;
      }
    }
    if (best < 0) break;
    barred[static_cast<size_t>(best)] = true;
    std::vector<double> row;
    double rest = gram(best, best);
    for (size_t i = 0; i < factor.size(); ++i) {
      double sum = gram(result.atoms[i], best);
      for (size_t j = 0; j < i; ++j) sum -= factor[i][j] * row[j];
      row.push_back(sum / factor[i][i]);
      rest -= row.back() * row.back();
    }
    if (!(rest > kNothing * gram(best, best))) continue;  // those taken span it
    row.push_back(std::sqrt(rest));
    factor.push_back(std::move(row));
    result.atoms.push_back(best);
    std::vector<double>& x = result.factors;
    x.clear();
    for (size_t i = 0; i < factor.size(); ++i) {
      double sum = match[result.atoms[i]];
      for (size_t j = 0; j < i; ++j) sum -= factor[i][j] * x[j];
      x.push_back(sum / factor[i][i]);
    }
    for (size_t i = factor.size(); i-- > 0;) {
      for (size_t j = i + 1; j < factor.size(); ++j) x[i] -= factor[j][i] * x[j];
      x[i] /= factor[i][i];
    }
    std::copy_n(match, k, left.begin());
    for (size_t i = 0; i < x.size(); ++i) {
      const double* g = d.gram.data() + result.atoms[i] * k;
      for (int64_t j = 0; j < k; ++j) left[static_cast<size_t>(j)] -= x[i] * g[j];
    }
  }
  for (size_t i = 0; i < result.atoms.size(); ++i) {
    result.explained += result.factors[i] * match[result.atoms[i]];
  }
  return result;
}

class DictionaryResidual final : public ThinLayers {
 public:
  const PartInfo& info() const override { return info_; }

 private:
  int64_t inner(const MatrixShape& shape, const Options& options) const override {
    return std::min(options.integer("atoms"), shape.rows);
  }
  Scheme down_scheme(const Options&) const override {
    return Scheme("f16", nlohmann::json::object());
  }
  Scheme up_scheme(const MatrixShape& shape, const Options& options) const override {
    const auto atoms = static_cast<double>(inner(shape, options));
    const auto nonzeros = static_cast<double>(options.integer("nonzeros"));
    return Scheme("sparse", {{"of", 0},
                             {"density", std::min(1.0, nonzeros / std::max(atoms, 1.0))},
                             {"inner", R"({"codec":"f16","options":{}})"}});
  }
  int64_t fit_bytes(const MatrixShape& shape, const Options& options) const override {
    const int64_t atoms = inner(shape, options);
    return 8 * atoms * (3 * shape.cols + 2 * atoms + shape.rows) +
           24 * shape.rows * options.integer("nonzeros") + 4 * shape.rows * atoms;
  }

  // In turn: each row's combination for given atoms, and for given combinations S the atoms that
  // leave the least error, A = (Sᵀ S)⁻¹ Sᵀ E whatever the norm (the method of optimal directions,
  // Engan et al. 1999). An atom that no row uses becomes the row with most left. The best turn is
  // kept; its atoms are rounded to their codes, and the combinations found for those.
  Branch fit(const MatrixShape& shape, const std::vector<float>& error,
             const std::vector<double>* moment, const Options& options,
             ThreadPool& pool) const override {
    const auto [rows, cols] = shape;
    Dictionary d{.shape = shape, .atoms = inner(shape, options)};
    const int64_t nonzeros = std::min(options.integer("nonzeros"), d.atoms);
    const std::vector<double> energy = energies(shape, error, moment, pool);
    // Rows spread evenly.
    for (int64_t i = 0; i < d.atoms; ++i) {
      const float* row = error.data() + i * rows / d.atoms * cols;
      d.a.insert(d.a.end(), row, row + cols);
    }
    std::vector<Combination> found(static_cast<size_t>(rows));
    std::vector<double> best;
    double most = -1;
    for (int64_t turn = 0; turn <= options.integer("turns"); ++turn) {
      normalize(d);
      combine(d, error, moment, nonzeros, found, pool);
      double explained = 0;
      for (const Combination& row : found) explained += row.explained;
      if (explained > most) {
        most = explained;
        best = d.a;
      }
      if (turn < options.integer("turns")) update(d, error, energy, found, pool);
    }
    Branch branch;
    branch.down = coded({best.begin(), best.end()}, {d.atoms, cols}, down_scheme(options), pool);
    d.a.assign(branch.down.values.begin(), branch.down.values.end());
    combine(d, error, moment, nonzeros, found, pool);
    std::vector<float> up(static_cast<size_t>(rows * d.atoms), 0.0F);
    for (int64_t r = 0; r < rows; ++r) {
      const Combination& row = found[static_cast<size_t>(r)];
      for (size_t i = 0; i < row.atoms.size(); ++i) {
        up[static_cast<size_t>(r * d.atoms + row.atoms[i])] = static_cast<float>(row.factors[i]);
      }
    }
    branch.up = coded(up, {rows, d.atoms}, up_scheme(shape, options), pool);
    return branch;
  }

  // e H eᵀ of each row.
  static std::vector<double> energies(const MatrixShape& shape, const std::vector<float>& error,
                                      const std::vector<double>* moment, ThreadPool& pool) {
    std::vector<double> result(static_cast<size_t>(shape.rows));
    const auto cols = static_cast<int>(shape.cols);
    run_blas_tiles(pool, shape.rows, [&](int64_t begin, int64_t count) {
      const float* first = error.data() + begin * cols;
      const std::vector<double> e(first, first + count * cols);
      std::vector<double> eh = e;
      if (moment != nullptr) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(count), cols, cols,
                    1.0, e.data(), cols, moment->data(), cols, 0.0, eh.data(), cols);
      }
      for (int64_t r = 0; r < count; ++r) {
        const auto at = e.begin() + r * cols;
        result[static_cast<size_t>(begin + r)] =
            std::inner_product(at, at + cols, eh.begin() + r * cols, 0.0);
      }
    });
    return result;
  }

  // Atoms of length 1, so that factors are as large as weights; what has none stays.
  static void normalize(Dictionary& d) {
    for (int64_t i = 0; i < d.atoms; ++i) {
      const auto atom = d.a.begin() + i * d.shape.cols;
      const double length = std::sqrt(std::inner_product(atom, atom + d.shape.cols, atom, 0.0));
      if (!(length > 0)) continue;
      for (int64_t c = 0; c < d.shape.cols; ++c) atom[c] /= length;
    }
  }

  static void combine(Dictionary& d, const std::vector<float>& error,
                      const std::vector<double>* moment, int64_t nonzeros,
                      std::vector<Combination>& found, ThreadPool& pool) {
    d.measure(error, moment, pool);
    pool.run(d.shape.rows, [&](int64_t r, int) {
      found[static_cast<size_t>(r)] = pursue(d, d.match.data() + r * d.atoms, nonzeros);
    });
  }

  static void update(Dictionary& d, const std::vector<float>& error,
                     const std::vector<double>& energy, const std::vector<Combination>& found,
                     ThreadPool& pool) {
    const int64_t k = d.atoms;
    const auto [rows, cols] = d.shape;
    std::vector<double> normal(static_cast<size_t>(k * k), 0.0);  // Sᵀ S
    std::vector<bool> used(static_cast<size_t>(k), false);
    for (const Combination& row : found) {
      for (size_t i = 0; i < row.atoms.size(); ++i) {
        used[static_cast<size_t>(row.atoms[i])] = true;
        for (size_t j = 0; j < row.atoms.size(); ++j) {
          normal[static_cast<size_t>(row.atoms[i] * k + row.atoms[j])] +=
              row.factors[i] * row.factors[j];
        }
      }
    }
    factor_symmetric(normal, static_cast<size_t>(k));
    constexpr int64_t kTile = 64;
    pool.run(ceil_div(cols, kTile), [&, rows = rows, cols = cols](int64_t tile, int) {
      const int64_t begin = tile * kTile;
      const int64_t count = std::min(kTile, cols - begin);
      std::vector<double> sums(static_cast<size_t>(k * count), 0.0);  // Sᵀ E
      for (int64_t r = 0; r < rows; ++r) {
        const float* e = error.data() + r * cols + begin;
        const Combination& row = found[static_cast<size_t>(r)];
        for (size_t i = 0; i < row.atoms.size(); ++i) {
          double* sum = sums.data() + row.atoms[i] * count;
          for (int64_t c = 0; c < count; ++c) {
            sum[c] += row.factors[i] * static_cast<double>(e[c]);
          }
        }
      }
      std::vector<double> x(static_cast<size_t>(k));
      for (int64_t c = 0; c < count; ++c) {
        for (int64_t i = 0; i < k; ++i) {
          x[static_cast<size_t>(i)] = sums[static_cast<size_t>(i * count + c)];
        }
        solve_factored(normal, x);
        for (int64_t i = 0; i < k; ++i) {
          d.a[static_cast<size_t>(i * cols + begin + c)] = x[static_cast<size_t>(i)];
        }
      }
    });
    // The rows of which most is left, one for each atom without use.
    std::vector<int64_t> order(static_cast<size_t>(rows));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::ranges::greater{}, [&](int64_t r) {
      return energy[static_cast<size_t>(r)] - found[static_cast<size_t>(r)].explained;
    });
    auto next = order.begin();
    for (int64_t i = 0; i < k; ++i) {
      if (used[static_cast<size_t>(i)]) continue;
      const float* row = error.data() + *next++ * cols;
      std::copy_n(row, cols, d.a.begin() + i * cols);
    }
  }

  PartInfo info_{
      .id = "dictionary",
      .summary =
          "two layers beside each linear layer: a dictionary of atoms, and sparse combinations of "
          "them for what the codes lose, learned in the norm of its input",
      .source =
          "Shopkhoev et al. 2025 (CoSpaDi), arXiv:2509.22075; differs: products with the second "
          "moment instead of whitened weights, atoms by the method of optimal directions (Engan "
          "et al. 1999) instead of K-SVD",
      .options = with_shared_options(
          {{"atoms", int64_t{64}, "of the dictionary, at most the layer's outputs", 1, 1 << 16},
           {"nonzeros", int64_t{16}, "atoms that a row combines", 1, 1 << 16},
           {"turns", int64_t{20}, "of combinations and atoms", 0, 1000}})};
};

const Registration<Residual, DictionaryResidual> kRegistration;

}  // namespace
}  // namespace bitsmith

// Residual `low_rank`: a product of two thin matrices beside the codes, found by a truncated SVD of
// what the codes lose, whitened by the second moment of the layer's input.
#include <algorithm>

#include "calibration/blas.h"
#include "residuals/leading_directions.h"
#include "residuals/thin_layers.h"

namespace bitsmith {
namespace {

class LowRank final : public ThinLayers {
 public:
  const PartInfo& info() const override { return info_; }

 private:
  int64_t inner(const MatrixShape& shape, const Options& options) const override {
    return std::min({options.integer("rank"), shape.rows, shape.cols});
  }
  Scheme down_scheme(const Options& options) const override {
    const std::string& code = options.text("factors");
    if (code != "int8") return Scheme(code, nlohmann::json::object());
    return Scheme("int", {{"bits", 8}, {"group", 64}, {"symmetric", true}});
  }
  Scheme up_scheme(const MatrixShape&, const Options& options) const override {
    return down_scheme(options);
  }
  int64_t fit_bytes(const MatrixShape& shape, const Options& options) const override {
    return leading_directions_bytes(shape, inner(shape, options));
  }

  // The best branch of the options' rank.  A = Uᵀ E, of the leading directions U of `error`, is
  // rounded to its codes first; B is then the least-squares fit to the rounded A,
  // B = E H Aᵀ (A H Aᵀ)⁻¹, which is U if nothing was rounded. Where the error has fewer
  // directions, the others are 0.
  Branch fit(const MatrixShape& shape, const std::vector<float>& error,
             const std::vector<double>* moment, const Options& options,
             ThreadPool& pool) const override {
    const auto [rows, cols] = shape;
    const int64_t full = inner(shape, options);
    const LeadingDirections found = leading_directions(error, shape, moment, full, pool);
    std::vector<float> down(static_cast<size_t>(full * cols));
    run_blas_tiles(pool, cols, [&, cols = cols, rows = rows](int64_t begin, int64_t count) {
      for (int64_t i = 0; i < found.count; ++i) {
        std::vector<double> sums(static_cast<size_t>(count), 0.0);
        const double* u = found.vectors.data() + i * rows;
        for (int64_t r = 0; r < rows; ++r) {
          const float* e = error.data() + r * cols + begin;
          for (size_t c = 0; c < sums.size(); ++c) sums[c] += u[r] * static_cast<double>(e[c]);
        }
        std::ranges::transform(sums, down.begin() + i * cols + begin,
                               [](double s) { return static_cast<float>(s); });
      }
    });
    Branch branch;
    branch.down = coded(down, {full, cols}, down_scheme(options), pool);
    const std::vector<float> up =
        least_squares(shape, error, moment, branch.down.values, found.count, full, pool);
    branch.up = coded(up, {rows, full}, up_scheme(shape, options), pool);
    return branch;
  }

  // B [rows, full] for the first `rank` rows of A [full, cols].
  static std::vector<float> least_squares(const MatrixShape& shape, const std::vector<float>& error,
                                          const std::vector<double>* moment,
                                          const std::vector<float>& down, int64_t rank,
                                          int64_t full, ThreadPool& pool) {
    const auto [rows, cols] = shape;
    std::vector<float> up(static_cast<size_t>(rows * full), 0.0F);
    if (rank == 0) return up;
    const std::vector<double> a(down.begin(), down.begin() + rank * cols);
    std::vector<double> ah = a;  // A H [rank, cols]
    if (moment != nullptr) {
      run_blas_tiles(pool, cols, [&, cols = cols](int64_t begin, int64_t count) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(rank),
                    static_cast<int>(count), static_cast<int>(cols), 1.0, a.data(),
                    static_cast<int>(cols), moment->data() + begin, static_cast<int>(cols), 0.0,
                    ah.data() + begin, static_cast<int>(cols));
      });
    }
    std::vector<double> normal(static_cast<size_t>(rank * rank));
    run_blas_tasks(pool, 1, [&, cols = cols](int64_t, int) {
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(rank),
                  static_cast<int>(rank), static_cast<int>(cols), 1.0, ah.data(),
                  static_cast<int>(cols), a.data(), static_cast<int>(cols), 0.0, normal.data(),
                  static_cast<int>(rank));
    });
    factor_symmetric(normal, static_cast<size_t>(rank));
    pool.run(rows, [&, cols = cols](int64_t r, int) {
      const float* e = error.data() + r * cols;
      std::vector<double> b(static_cast<size_t>(rank), 0.0);
      for (int64_t i = 0; i < rank; ++i) {
        const double* h = ah.data() + i * cols;
        for (int64_t c = 0; c < cols; ++c) {
          b[static_cast<size_t>(i)] += h[c] * static_cast<double>(e[c]);
        }
      }
      solve_factored(normal, b);
      std::ranges::transform(b, up.begin() + r * full,
                             [](double v) { return static_cast<float>(v); });
    });
    return up;
  }

  PartInfo info_{
      .id = "low_rank",
      .summary =
          "two thin layers beside each linear layer, a truncated SVD of what its codes lose, "
          "whitened by the second moment of its input",
      .source =
          "Yao et al. 2023 (LoRC), arXiv:2303.08302; Guo et al. 2023 (LQ-LoRA), "
          "arXiv:2311.12023; Zhang et al. 2024 (LQER), arXiv:2402.02446, section 3 (whitening, "
          "by magnitudes there)",
      .options = with_shared_options(
          {{"rank", int64_t{16}, "of the product, at most the layer's", 1, 4096},
           {"factors",
            std::string("f16"),
            "codes of the two: int8 is in groups of 64",
            -1e300,
            1e300,
            {"f16", "bf16", "int8"}}})};
};

const Registration<Residual, LowRank> kRegistration;

}  // namespace
}  // namespace bitsmith

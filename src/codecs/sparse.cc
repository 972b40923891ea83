// Codec `sparse`: a mask of equally many survivors per block of columns; another codec for them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "codecs/code_planes.h"
#include "codecs/grouped.h"
#include "codecs/inner_scheme.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// A row is cut into runs of `run` columns that survive or go together (usually 1), and runs into
// blocks of `block` runs (the last may be shorter), of which `keep` survive. The survivors of a
// row, in order, are a row of a dense matrix that the inner codec codes. Equal numbers in all rows,
// so that sizes follow from the shape, and N:M masks and masks of whole rows are the same thing.
// Where the last run is short, the dense matrix has room for a whole one. The tensor's bytes:
//     mask    one bit per run, 1: survives, as codes of one bit in planes
//     inner   the bytes of the inner codec on [rows, survivors of a row]
struct Format {
  MatrixShape shape;
  Scheme inner;
  int64_t run;
  int64_t runs;   // of a row
  int64_t block;  // runs
  int64_t keep;   // runs of a block
  CodePlanes mask;

  Format(const MatrixShape& matrix, const Options& options)
      : shape(matrix),
        inner(parse_inner_scheme("sparse", options.text("inner"))),
        run(std::min(options.integer("run"), std::max<int64_t>(matrix.cols, 1))),
        runs(ceil_div(matrix.cols, run)),
        block(options.integer("of")),
        mask(CodePlanes::of_bits("sparse", {matrix.rows, runs}, 1)) {
    if (block == 0) block = std::max<int64_t>(runs, 1);
    const double density = options.number("density");
    keep = std::llround(density * static_cast<double>(block));
    keep = std::clamp<int64_t>(keep, 1, block);
  }

  // Runs that survive among the first `count` of a row.
  int64_t kept_runs(int64_t count) const {
    return count / block * keep + std::min(count % block, keep);
  }
  int64_t run_cols(int64_t index) const { return std::min(run, shape.cols - index * run); }
  MatrixShape inner_shape() const { return {shape.rows, kept_runs(runs) * run}; }
};

class SparseEncoder final : public Encoder {
 public:
  explicit SparseEncoder(const Format& format)
      : format_(format),
        inner_(format.inner.codec->encoder(format.inner_shape(), format.inner.options)),
        mask_(static_cast<size_t>(format.shape.rows * format.runs)) {
    expect_single_columns("sparse", format.inner, *inner_);
    // Groups of whole blocks keep their columns; others do not, and are fitted with the whole row.
    const int64_t kept = format.keep * format.run;
    const int64_t group = std::max(inner_->group_cols(), kept);
    const int64_t all = std::max<int64_t>(format.shape.cols, 1);
    const bool whole_blocks = group % kept == 0 && group % inner_->group_cols() == 0;
    group_cols_ = whole_blocks ? std::min(group / kept * format.block * format.run, all) : all;
  }

  int64_t group_cols() const override { return group_cols_; }

  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    const int64_t cols = format_.shape.cols;
    if (cols == 0) return inner_->prepare(weights, {.search_steps = fit.search_steps}, pool);
    std::vector<float> dense;
    for (size_t row = 0; row < weights.size() / static_cast<size_t>(cols); ++row) {
      const auto w = weights.subspan(row * static_cast<size_t>(cols), static_cast<size_t>(cols));
      for (const int64_t run : survivors(w, 0, fit.importance)) append_run(w, 0, run, dense);
    }
    // Rows keep different columns: their importance cannot be passed on.
    inner_->prepare(dense, {.search_steps = fit.search_steps}, pool);
  }

  // Keeps the runs of largest Σ importance * w² in each block; then fits the inner groups.
  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t begin = group * group_cols_;
    const int64_t cols = std::min(group_cols_, format_.shape.cols - begin);
    const int64_t first_run = begin / format_.run;
    const int64_t first = format_.kept_runs(first_run) * format_.run;
    std::vector<float> row(static_cast<size_t>(cols));
    std::vector<float> dense;
    std::vector<float> importance;
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      dense.clear();
      importance.clear();
      uint8_t* mask = mask_.data() + (row_begin + r) * format_.runs + first_run;
      std::fill_n(mask, ceil_div(cols, format_.run), uint8_t{0});
      for (const int64_t run : survivors(row, begin, fit.importance)) {
        mask[run] = 1;
        append_run(row, begin, run, dense);
        if (fit.importance != nullptr) {
          append_run({fit.importance, row.size()}, begin, run, importance);
        }
      }
      const auto count = static_cast<int64_t>(dense.size());
      for (int64_t i = 0; i < count; i += inner_->group_cols()) {
        FitOptions inner_fit{.search_steps = fit.search_steps};
        if (!importance.empty()) inner_fit.importance = importance.data() + i;
        inner_->fit_group((first + i) / inner_->group_cols(), row_begin + r, 1, dense.data() + i, 1,
                          inner_fit);
      }
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t run = col / format_.run;
    const int64_t block_begin = run / format_.block * format_.block;
    for (int64_t r = 0; r < row_count; ++r) {
      const uint8_t* mask = mask_.data() + (row_begin + r) * format_.runs;
      q[r] = 0.0F;
      if (mask[run] == 0) continue;
      const int64_t before = format_.kept_runs(block_begin) +
                             std::accumulate(mask + block_begin, mask + run, int64_t{0});
      inner_->quantize(before * format_.run + col % format_.run, row_begin + r, 1, w + r, q + r,
                       stride);
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    const auto mask_bytes = static_cast<size_t>(format_.mask.code_bytes());
    std::fill_n(bytes.begin(), mask_bytes, std::byte{0});
    const auto [rows, runs] = format_.mask.shape;
    std::vector<uint8_t> columns(mask_.size());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < runs; ++c) {
        columns[static_cast<size_t>(c * rows + r)] = mask_[static_cast<size_t>(r * runs + c)];
      }
    }
    format_.mask.pack(columns.data(), reinterpret_cast<uint8_t*>(bytes.data()));
    inner_->finish(bytes.subspan(mask_bytes));
  }

 private:
  // A run of w, which starts at column `begin` of the matrix. What a short one lacks is 0.
  void append_run(std::span<const float> w, int64_t begin, int64_t run,
                  std::vector<float>& dense) const {
    const int64_t count = format_.run_cols(begin / format_.run + run);
    const auto from = w.begin() + run * format_.run;
    dense.insert(dense.end(), from, from + count);
    dense.resize(dense.size() + static_cast<size_t>(format_.run - count));
  }

  // The runs that survive in w, which starts at column `begin` of the matrix, a block's first.
  //   importance [w.size()] or nullptr
  std::vector<int64_t> survivors(std::span<const float> w, int64_t begin,
                                 const float* importance) const {
    BITSMITH_ASSERT(begin % (format_.block * format_.run) == 0);
    const auto cols = static_cast<int64_t>(w.size());
    const float* weights = usable_importance(importance, cols);
    std::vector<double> scores(static_cast<size_t>(ceil_div(cols, format_.run)));
    for (int64_t c = 0; c < cols; ++c) {
      const auto x = static_cast<double>(w[static_cast<size_t>(c)]);
      scores[static_cast<size_t>(c / format_.run)] +=
          (weights != nullptr ? static_cast<double>(weights[c]) : 1.0) * x * x;
    }
    const auto runs = static_cast<int64_t>(scores.size());
    std::vector<int64_t> result;
    std::vector<int64_t> order;
    for (int64_t block = 0; block < runs; block += format_.block) {
      order.resize(static_cast<size_t>(std::min(format_.block, runs - block)));
      std::iota(order.begin(), order.end(), block);
      std::ranges::stable_sort(order, std::greater<>(),
                               [&](int64_t run) { return scores[static_cast<size_t>(run)]; });
      order.resize(std::min(order.size(), static_cast<size_t>(format_.keep)));
      std::ranges::sort(order);
      result.insert(result.end(), order.begin(), order.end());
    }
    return result;
  }

  Format format_;
  std::unique_ptr<Encoder> inner_;
  int64_t group_cols_ = 1;
  std::vector<uint8_t> mask_;  // [rows][runs]
};

class SparseCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    const Format format(shape, options);
    return static_cast<uint64_t>(format.mask.code_bytes()) +
           format.inner.codec->encoded_bytes(format.inner_shape(), format.inner.options);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<SparseEncoder>(Format(shape, options));
  }

  // A survivor that was coded as 0 may lose its place to another zero, which moves the others to
  // other groups.
  bool is_idempotent(const Options&) const override { return false; }

  // A hostile mask may have too few survivors (the others are not used) or too many (they are 0).
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const Format format(shape, options);
    const auto mask_bytes = static_cast<size_t>(format.mask.code_bytes());
    const MatrixShape inner_shape = format.inner_shape();
    std::vector<float> dense(static_cast<size_t>(inner_shape.cols));
    std::vector<uint8_t> mask(static_cast<size_t>(format.runs));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      format.inner.codec->decode(inner_shape, format.inner.options, bytes.subspan(mask_bytes), row,
                                 1, dense.data());
      format.mask.unpack_row(reinterpret_cast<const uint8_t*>(bytes.data()), row, mask.data());
      auto next = dense.begin();
      for (int64_t run = 0; run < format.runs; ++run) {
        const int64_t count = format.run_cols(run);
        if (mask[static_cast<size_t>(run)] != 0 && next != dense.end()) {
          std::copy_n(next, count, out);
          next += format.run;
        } else {
          std::fill_n(out, count, 0.0F);
        }
        out += count;
      }
    }
  }

  ProductCost product_cost(const Options& options) const override {
    const Scheme inner = parse_inner_scheme(info_.id, options.text("inner"));
    ProductCost cost = inner.codec->product_cost(inner.options);
    cost.skips_zeros = true;
    return cost;
  }

  std::string label(const Options& options) const override {
    const int64_t of = options.integer("of");
    const double density = options.number("density");
    const int64_t run = options.integer("run");
    const std::string pattern =
        of == 0 ? fmt::format("{:g}%", 100 * density)
                : fmt::format("{}:{}",
                              std::max<int64_t>(std::llround(density * static_cast<double>(of)), 1),
                              of);
    return fmt::format("sparse {}{} {}", pattern,
                       run == 1 ? "" : fmt::format(" of runs of {}", run),
                       parse_inner_scheme(info_.id, options.text("inner")).label());
  }

 private:
  PartInfo info_{
      .id = "sparse",
      .summary = "a mask with equally many survivors per block of columns, coded by another codec",
      .source =
          "Mishra et al. 2021 (2:4), arXiv:2104.08378; Han et al. 2016 (Deep Compression), "
          "arXiv:1510.00149; Frantar and Alistarh 2023 (SparseGPT), arXiv:2301.00774; runs: Zeng "
          "et al. 2024 (GQSA), arXiv:2412.17560",
      .options = {{"density", 0.5, "part of the weights that survive", 0, 1},
                  {"of", int64_t{4}, "runs of a block of the mask (M of N:M); 0: the whole row", 0,
                   1 << 20},
                  {"run", int64_t{1}, "columns that survive or go together", 1, 1 << 20},
                  {"inner", std::string(R"({"codec":"int","options":{"bits":4,"group":64}})"),
                   "the codec of the survivors, as JSON"}}};
};

const Registration<Codec, SparseCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

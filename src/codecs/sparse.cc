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

// A row is cut into blocks of `block` columns (the last may be shorter), of which `keep` survive.
// The survivors of a row, in order, are a row of a dense matrix that the inner codec codes. Equal
// numbers in all rows, so that sizes follow from the shape, and N:M masks and masks of whole rows
// are the same thing. The tensor's bytes:
//     mask    one bit per weight, 1: survives, as codes of one bit in planes
//     inner   the bytes of the inner codec on [rows, survivors of a row]
struct Format {
  MatrixShape shape;
  Scheme inner;
  int64_t block;
  int64_t keep;
  CodePlanes mask;

  Format(const MatrixShape& matrix, const Options& options)
      : shape(matrix),
        inner(parse_inner_scheme("sparse", options.text("inner"))),
        block(options.integer("of")),
        mask(CodePlanes::of_bits("sparse", matrix, 1)) {
    if (block == 0) block = std::max<int64_t>(shape.cols, 1);
    const double density = options.number("density");
    keep = std::llround(density * static_cast<double>(block));
    keep = std::clamp<int64_t>(keep, 1, block);
  }

  int64_t survivors(int64_t columns) const {
    return columns / block * keep + std::min(columns % block, keep);
  }
  MatrixShape inner_shape() const { return {shape.rows, survivors(shape.cols)}; }
};

class SparseEncoder final : public Encoder {
 public:
  explicit SparseEncoder(const Format& format)
      : format_(format),
        inner_(format.inner.codec->encoder(format.inner_shape(), format.inner.options)),
        mask_(static_cast<size_t>(format.shape.rows * format.shape.cols)) {
    expect_single_columns("sparse", format.inner, *inner_);
    // Groups of whole blocks keep their columns; others do not, and are fitted with the whole row.
    const int64_t group = inner_->group_cols();
    const int64_t all = std::max<int64_t>(format.shape.cols, 1);
    const bool whole_blocks = group % format.keep == 0;
    group_cols_ = whole_blocks ? std::min(group / format.keep * format.block, all) : all;
  }

  int64_t group_cols() const override { return group_cols_; }

  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    const int64_t cols = format_.shape.cols;
    if (cols == 0) return inner_->prepare(weights, {.search_steps = fit.search_steps}, pool);
    std::vector<float> dense;
    for (size_t row = 0; row < weights.size() / static_cast<size_t>(cols); ++row) {
      const auto w = weights.subspan(row * static_cast<size_t>(cols), static_cast<size_t>(cols));
      for (const int64_t c : survivors(w, 0, fit.importance)) {
        dense.push_back(w[static_cast<size_t>(c)]);
      }
    }
    // Rows keep different columns: their importance cannot be passed on.
    inner_->prepare(dense, {.search_steps = fit.search_steps}, pool);
  }

  // Keeps the weights of largest importance * w² in each block; then fits the inner groups.
  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t begin = group * group_cols_;
    const int64_t cols = std::min(group_cols_, format_.shape.cols - begin);
    const int64_t first = format_.survivors(begin);
    std::vector<float> row(static_cast<size_t>(cols));
    std::vector<float> dense;
    std::vector<float> importance;
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      dense.clear();
      importance.clear();
      std::fill_n(mask_.begin() + (row_begin + r) * format_.shape.cols + begin, cols, uint8_t{0});
      for (const int64_t c : survivors(row, begin, fit.importance)) {
        mask_[static_cast<size_t>((row_begin + r) * format_.shape.cols + begin + c)] = 1;
        dense.push_back(row[static_cast<size_t>(c)]);
        if (fit.importance != nullptr) importance.push_back(fit.importance[c]);
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
    for (int64_t r = 0; r < row_count; ++r) {
      const uint8_t* mask = mask_.data() + (row_begin + r) * format_.shape.cols;
      q[r] = 0.0F;
      if (mask[col] == 0) continue;
      const int64_t block_begin = col / format_.block * format_.block;
      const int64_t before = std::accumulate(mask + block_begin, mask + col, int64_t{0});
      inner_->quantize(format_.survivors(block_begin) + before, row_begin + r, 1, w + r, q + r,
                       stride);
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    const auto mask_bytes = static_cast<size_t>(format_.mask.code_bytes());
    std::fill_n(bytes.begin(), mask_bytes, std::byte{0});
    const auto [rows, cols] = format_.shape;
    std::vector<uint8_t> columns(mask_.size());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        columns[static_cast<size_t>(c * rows + r)] = mask_[static_cast<size_t>(r * cols + c)];
      }
    }
    format_.mask.pack(columns.data(), reinterpret_cast<uint8_t*>(bytes.data()));
    inner_->finish(bytes.subspan(mask_bytes));
  }

 private:
  // The columns that survive among w, which start at column `begin` of the matrix, a block's first.
  //   importance [w.size()] or nullptr
  std::vector<int64_t> survivors(std::span<const float> w, int64_t begin,
                                 const float* importance) const {
    BITSMITH_ASSERT(begin % format_.block == 0);
    const auto cols = static_cast<int64_t>(w.size());
    const float* weights = usable_importance(importance, cols);
    const auto score = [&](int64_t c) {
      const auto x = static_cast<double>(w[static_cast<size_t>(c)]);
      return (weights != nullptr ? static_cast<double>(weights[c]) : 1.0) * x * x;
    };
    std::vector<int64_t> result;
    std::vector<int64_t> order;
    for (int64_t block = 0; block < cols; block += format_.block) {
      order.resize(static_cast<size_t>(std::min(format_.block, cols - block)));
      std::iota(order.begin(), order.end(), block);
      std::ranges::stable_sort(order, [&](int64_t a, int64_t b) { return score(a) > score(b); });
      order.resize(std::min(order.size(), static_cast<size_t>(format_.keep)));
      std::ranges::sort(order);
      result.insert(result.end(), order.begin(), order.end());
    }
    return result;
  }

  Format format_;
  std::unique_ptr<Encoder> inner_;
  int64_t group_cols_ = 1;
  std::vector<uint8_t> mask_;  // [rows][cols]
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
    std::vector<uint8_t> mask(static_cast<size_t>(shape.cols));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      format.inner.codec->decode(inner_shape, format.inner.options, bytes.subspan(mask_bytes), row,
                                 1, dense.data());
      format.mask.unpack_row(reinterpret_cast<const uint8_t*>(bytes.data()), row, mask.data());
      size_t next = 0;
      for (const uint8_t survives : mask) {
        *out++ = survives != 0 && next < dense.size() ? dense[next++] : 0.0F;
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
    const std::string pattern =
        of == 0 ? fmt::format("{:g}%", 100 * density)
                : fmt::format("{}:{}",
                              std::max<int64_t>(std::llround(density * static_cast<double>(of)), 1),
                              of);
    return fmt::format("sparse {} {}", pattern,
                       parse_inner_scheme(info_.id, options.text("inner")).label());
  }

 private:
  PartInfo info_{
      .id = "sparse",
      .summary = "a mask with equally many survivors per block of columns, coded by another codec",
      .source =
          "Mishra et al. 2021 (2:4), arXiv:2104.08378; Han et al. 2016 (Deep Compression), "
          "arXiv:1510.00149; Frantar and Alistarh 2023 (SparseGPT), arXiv:2301.00774",
      .options = {{"density", 0.5, "part of the weights that survive", 0, 1},
                  {"of", int64_t{4}, "columns of a block of the mask (M of N:M); 0: the whole row",
                   0, 1 << 20},
                  {"inner", std::string(R"({"codec":"int","options":{"bits":4,"group":64}})"),
                   "the codec of the survivors, as JSON"}}};
};

const Registration<Codec, SparseCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

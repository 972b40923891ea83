// Codec `sum`: each of a few codecs codes what those before it left.
#include <algorithm>
#include <numeric>

#include "codecs/coded_parts.h"
#include "codecs/inner_scheme.h"
#include "codecs/nested.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// The tensor's bytes are those of the terms, one after the other, all of the same shape; a weight
// is the sum of theirs, from the first on, in binary32. So the first bytes of a tensor are those of
// the sum of its first terms.
struct Format {
  MatrixShape shape;
  std::vector<Scheme> schemes;
  CodedParts parts{0};

  Format(const MatrixShape& matrix, const Options& options)
      : shape(matrix), schemes(parse_inner_schemes("sum", options.text("inner"))) {
    for (const Scheme& scheme : schemes) parts.add(scheme, shape);
  }
};

// Greedy: each term takes the nearest codes to what is left. Groups and blocks are the largest of
// the terms'; terms with smaller ones have several in each.
class SumEncoder final : public Encoder {
 public:
  explicit SumEncoder(Format format) : format_(std::move(format)) {
    for (const Scheme& scheme : format_.schemes) {
      terms_.push_back(scheme.codec->encoder(format_.shape, scheme.options));
      block_cols_ = std::max(block_cols_, terms_.back()->block_cols());
      group_cols_ = std::max(group_cols_, terms_.back()->group_cols());
    }
    const auto divide = [&](int64_t cols, auto cols_of_term) {
      return std::ranges::all_of(terms_,
                                 [&](const auto& term) { return cols % cols_of_term(*term) == 0; });
    };
    if (!divide(block_cols_, [](const Encoder& term) { return term.block_cols(); })) {
      fail(ErrorCode::kInvalidArgument,
           "codec 'sum': terms that code {} columns jointly need others to code a divisor of that",
           block_cols_);
    }
    if (!divide(group_cols_, [](const Encoder& term) { return term.group_cols(); })) {
      group_cols_ = ceil_div(std::max<int64_t>(format_.shape.cols, 1), block_cols_) * block_cols_;
    }
  }

  int64_t group_cols() const override { return group_cols_; }
  int64_t block_cols() const override { return block_cols_; }

  // What the terms share of the tensor is fitted to what plain coding by those before leaves.
  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    std::vector<float> rest(weights.begin(), weights.end());
    for (size_t t = 0; t < terms_.size(); ++t) {
      terms_[t]->prepare(rest, fit, pool);
      if (t + 1 < terms_.size()) subtract_term(*terms_[t], rest, fit, pool);
    }
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t begin = group * group_cols_;
    const int64_t cols = std::min(group_cols_, format_.shape.cols - begin);
    std::vector<float> rest(
        static_cast<size_t>(ceil_div(cols, block_cols_) * block_cols_ * row_count));
    for (int64_t c = 0; c < cols; ++c) {
      std::copy_n(w + c * stride, row_count, rest.begin() + c * row_count);
    }
    for (const auto& term : terms_) {
      fit_and_subtract(*term, begin, cols, row_begin, row_count, rest, fit);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t cols = std::min(block_cols_, format_.shape.cols - col);
    std::vector<float> rest(static_cast<size_t>(block_cols_ * row_count));
    std::vector<float> coded(rest.size());
    for (int64_t c = 0; c < cols; ++c) std::fill_n(q + c * stride, row_count, 0.0F);
    for (size_t t = 0; t < terms_.size(); ++t) {
      for (int64_t c = 0; c < cols; ++c) {
        for (int64_t r = 0; r < row_count; ++r) {
          const float left = w[c * stride + r] - q[c * stride + r];
          rest[static_cast<size_t>(c * row_count + r)] = left;
        }
      }
      quantize_term(*terms_[t], col, cols, row_begin, row_count, rest.data(), coded.data());
      for (int64_t c = 0; c < cols; ++c) {
        for (int64_t r = 0; r < row_count; ++r) {
          q[c * stride + r] += coded[static_cast<size_t>(c * row_count + r)];
        }
      }
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    for (size_t t = 0; t < terms_.size(); ++t) {
      terms_[t]->finish(CodedParts::bytes_of(format_.parts.parts()[t], bytes));
    }
  }

 private:
  // Columns [col, col + cols) of a term, whole blocks of it.
  //   w, q column-major [cols, filled to blocks][row_count]
  static void quantize_term(Encoder& term, int64_t col, int64_t cols, int64_t row_begin,
                            int64_t row_count, const float* w, float* q) {
    for (int64_t c = 0; c < cols; c += term.block_cols()) {
      term.quantize(col + c, row_begin, row_count, w + c * row_count, q + c * row_count, row_count);
    }
  }

  // Fits a term to columns [begin, begin + cols) of a group of the sum, and takes what it codes
  // away.
  //   rest column-major [cols, filled with zeros to blocks][row_count]
  static void fit_and_subtract(Encoder& term, int64_t begin, int64_t cols, int64_t row_begin,
                               int64_t row_count, std::vector<float>& rest, const FitOptions& fit) {
    for (int64_t c = 0; c < cols; c += term.group_cols()) {
      FitOptions own = fit;
      if (fit.importance != nullptr) own.importance += c;
      term.fit_group((begin + c) / term.group_cols(), row_begin, row_count,
                     rest.data() + c * row_count, row_count, own);
    }
    std::vector<float> coded(rest.size());
    quantize_term(term, begin, cols, row_begin, row_count, rest.data(), coded.data());
    for (size_t i = 0; i < static_cast<size_t>(cols * row_count); ++i) rest[i] -= coded[i];
  }

  // The same for all of a matrix, [rows, cols] row-major.
  void subtract_term(Encoder& term, std::vector<float>& rest, const FitOptions& fit,
                     ThreadPool& pool) const {
    constexpr int64_t kRows = 64;
    const int64_t cols = format_.shape.cols;
    if (cols == 0) return;
    const int64_t rows = static_cast<int64_t>(rest.size()) / cols;
    pool.run(ceil_div(rows, kRows), [&](int64_t chunk, int) {
      const int64_t row = chunk * kRows;
      const int64_t count = std::min(kRows, rows - row);
      const int64_t filled = ceil_div(cols, term.block_cols()) * term.block_cols();
      std::vector<float> panel(static_cast<size_t>(filled * count));
      for (int64_t r = 0; r < count; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          panel[static_cast<size_t>(c * count + r)] =
              rest[static_cast<size_t>((row + r) * cols + c)];
        }
      }
      fit_and_subtract(term, 0, cols, row, count, panel, fit);
      for (int64_t r = 0; r < count; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          rest[static_cast<size_t>((row + r) * cols + c)] =
              panel[static_cast<size_t>(c * count + r)];
        }
      }
    });
  }

  Format format_;
  std::vector<std::unique_ptr<Encoder>> terms_;
  int64_t block_cols_ = 1;
  int64_t group_cols_ = 1;
};

class SumCodec final : public Codec, public NestedCodec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return Format(shape, options).parts.total_bytes();
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<SumEncoder>(Format(shape, options));
  }

  // The first term codes the sum, not what it coded before.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const Format format(shape, options);
    std::vector<float> term(static_cast<size_t>(row_count * shape.cols));
    std::fill_n(out, term.size(), 0.0F);
    for (const CodedPart& part : format.parts.parts()) {
      format.parts.decode(part, bytes, row_begin, row_count, term.data());
      for (size_t i = 0; i < term.size(); ++i) out[i] += term[i];
    }
  }

  // Fewer terms; the first one alone under its own codec.
  std::vector<Scheme> readings(const Options& options) const override {
    auto inner = nlohmann::json::parse(options.text("inner"));
    std::vector<Scheme> result;
    while (inner.size() > 1) {
      inner.erase(inner.size() - 1);
      const bool alone = inner.size() == 1;
      result.push_back(alone ? Scheme::from_json(inner[0])
                             : Scheme(info_.id, {{"inner", inner.dump()}}));
    }
    return result;
  }

  void read_as(const MatrixShape&, const Options&, std::span<const std::byte> bytes, const Scheme&,
               std::span<std::byte> out) const override {
    std::ranges::copy(bytes.first(out.size()), out.begin());
  }

  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options& options) const override {
    return Format(shape, options).parts.symbol_streams();
  }
  void split_symbols(const MatrixShape& shape, const Options& options,
                     std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const override {
    Format(shape, options).parts.split_symbols(bytes, stream, begin, symbols);
  }
  void join_symbols(const MatrixShape& shape, const Options& options, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    Format(shape, options).parts.join_symbols(stream, begin, symbols, bytes);
  }

  // Each term has a sum of its own.
  ProductCost product_cost(const Options& options) const override {
    const std::vector<Scheme> schemes = parse_inner_schemes(info_.id, options.text("inner"));
    ProductCost cost = largest_cost(schemes);
    const auto terms = static_cast<int>(schemes.size());
    cost.multiplications *= terms;
    cost.shifts *= terms;
    cost.additions = cost.additions * terms + terms - 1;
    return cost;
  }

  std::string label(const Options& options) const override {
    std::string text;
    for (const Scheme& scheme : parse_inner_schemes(info_.id, options.text("inner"))) {
      text += (text.empty() ? "" : " + ") + scheme.label();
    }
    return text;
  }

 private:
  PartInfo info_{
      .id = "sum",
      .summary = "each codec of a list codes what those before it left; readable without the last",
      .source =
          "Yvinec et al. 2023 (REx), arXiv:2203.14645; nested reading: Wang et al. 2024 "
          "(BitStack), arXiv:2410.23918",
      .options = {
          {"inner",
           std::string(R"([{"codec":"int","options":{"bits":4,"group":64,"symmetric":true}},)"
                       R"({"codec":"int","options":{"bits":4,"group":64,"symmetric":true}}])"),
           "the codecs of the terms, a list as JSON"}}};
};

const Registration<Codec, SumCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `outliers`: the largest weights of each row as they are, another codec for the rest.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "codecs/grouped.h"
#include "codecs/inner_scheme.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

// round(fraction * cols) weights of each row are kept as binary16. Equal numbers in all rows, so
// that rows stay independent of each other. The tensor's bytes:
//     inner     the bytes of the inner codec, for which outliers are 0
//     columns   for each row: those of its outliers, ascending; 2 bytes each, 4 beyond 65536
//     columns values    for each row: binary16, in the same order
struct Format {
  MatrixShape shape;
  Scheme inner;
  int64_t count;  // outliers of a row
  int64_t column_bytes;
  uint64_t inner_bytes;
  uint64_t total_bytes;

  Format(const MatrixShape& matrix, const Options& options)
      : shape(matrix), inner(parse_inner_scheme("outliers", options.text("inner"))) {
    constexpr int64_t kMaxWeights = int64_t{1} << 44;
    if (shape.rows < 0 || shape.cols < 0 || shape.rows > kMaxWeights ||
        (shape.rows > 0 && shape.cols > kMaxWeights / shape.rows)) {
      fail(ErrorCode::kInvalidArgument, "codec 'outliers': a matrix of {} x {} is too large",
           shape.rows, shape.cols);
    }
    count = std::llround(options.number("fraction") * static_cast<double>(shape.cols));
    column_bytes = shape.cols <= 65536 ? 2 : 4;
    inner_bytes = inner.codec->encoded_bytes(shape, inner.options);
    total_bytes = inner_bytes + static_cast<uint64_t>(shape.rows * count * (column_bytes + 2));
  }

  size_t column_offset(int64_t row, int64_t i) const {
    return inner_bytes + static_cast<size_t>((row * count + i) * column_bytes);
  }
  size_t value_offset(int64_t row, int64_t i) const {
    return inner_bytes + static_cast<size_t>(shape.rows * count * column_bytes) +
           static_cast<size_t>((row * count + i) * 2);
  }
};

void put(std::span<std::byte> bytes, size_t at, int64_t size, uint64_t number) {
  for (int64_t i = 0; i < size; ++i) {
    bytes[at + static_cast<size_t>(i)] = static_cast<std::byte>(number >> (8 * i));
  }
}

uint64_t get(std::span<const std::byte> bytes, size_t at, int64_t size) {
  uint64_t number = 0;
  for (int64_t i = 0; i < size; ++i) {
    number |= static_cast<uint64_t>(bytes[at + static_cast<size_t>(i)]) << (8 * i);
  }
  return number;
}

class OutliersEncoder final : public Encoder {
 public:
  explicit OutliersEncoder(const Format& format)
      : format_(format),
        inner_(format.inner.codec->encoder(format.shape, format.inner.options)),
        is_outlier_(static_cast<size_t>(format.shape.rows * format.shape.cols)),
        values_(static_cast<size_t>(format.shape.rows * format.count)) {}

  int64_t group_cols() const override { return inner_->group_cols(); }
  int64_t block_cols() const override { return inner_->block_cols(); }

  // Takes the weights of largest importance * w² of each row, the first on ties.
  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    const auto [rows, cols] = format_.shape;
    BITSMITH_ASSERT(static_cast<int64_t>(weights.size()) == rows * cols);
    const float* importance = usable_importance(fit.importance, cols);
    std::vector<float> rest(weights.begin(), weights.end());
    pool.run(rows, [&, cols = cols](int64_t row, int) {
      const float* w = weights.data() + row * cols;
      const auto score = [&](int64_t c) {
        const auto x = static_cast<double>(w[c]);
        return (importance != nullptr ? static_cast<double>(importance[c]) : 1.0) * x * x;
      };
      std::vector<int64_t> order(static_cast<size_t>(cols));
      std::iota(order.begin(), order.end(), int64_t{0});
      std::ranges::nth_element(order, order.begin() + format_.count, [&](int64_t a, int64_t b) {
        const double left = score(a);
        const double right = score(b);
        return left != right ? left > right : a < b;
      });
      order.resize(static_cast<size_t>(format_.count));
      for (const int64_t c : order) {
        is_outlier_[index(row, c)] = 1;
        rest[index(row, c)] = 0.0F;
      }
    });
    inner_->prepare(rest, fit, pool);
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t begin = group * group_cols();
    const int64_t count = std::min(group_cols(), format_.shape.cols - begin);
    const std::vector<float> rest = without_outliers(begin, count, row_begin, row_count, w, stride);
    inner_->fit_group(group, row_begin, row_count, rest.data(), row_count, fit);
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t block = block_cols();
    const int64_t count = std::min(block, format_.shape.cols - col);
    std::vector<float> rest = without_outliers(col, count, row_begin, row_count, w, stride);
    rest.resize(static_cast<size_t>(block * row_count), 0.0F);
    std::vector<float> coded(rest.size());
    inner_->quantize(col, row_begin, row_count, rest.data(), coded.data(), row_count);
    for (int64_t c = 0; c < count; ++c) {
      for (int64_t r = 0; r < row_count; ++r) {
        float value = coded[static_cast<size_t>(c * row_count + r)];
        if (is_outlier_[index(row_begin + r, col + c)] != 0) {
          constexpr float kLargest = 65504;
          const float clamped = std::clamp(w[c * stride + r], -kLargest, kLargest);
          value = f16_to_float(float_to_f16(clamped));
          values_[static_cast<size_t>(place(row_begin + r, col + c))] = float_to_f16(clamped);
        }
        q[c * stride + r] = value;
      }
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    inner_->finish(bytes.first(format_.inner_bytes));
    for (int64_t row = 0; row < format_.shape.rows; ++row) {
      int64_t i = 0;
      for (int64_t c = 0; c < format_.shape.cols; ++c) {
        if (is_outlier_[index(row, c)] == 0) continue;
        put(bytes, format_.column_offset(row, i), format_.column_bytes, static_cast<uint64_t>(c));
        put(bytes, format_.value_offset(row, i), 2,
            values_[static_cast<size_t>(row * format_.count + i)]);
        ++i;
      }
    }
  }

 private:
  size_t index(int64_t row, int64_t col) const {
    return static_cast<size_t>(row * format_.shape.cols + col);
  }

  // Where the value of an outlier lies in values_.
  int64_t place(int64_t row, int64_t col) const {
    const auto first = is_outlier_.begin() + static_cast<std::ptrdiff_t>(index(row, 0));
    return row * format_.count + std::accumulate(first, first + col, int64_t{0});
  }

  // Columns [col, col + count), [count][row_count].
  std::vector<float> without_outliers(int64_t col, int64_t count, int64_t row_begin,
                                      int64_t row_count, const float* w, int64_t stride) const {
    std::vector<float> rest(static_cast<size_t>(count * row_count));
    for (int64_t c = 0; c < count; ++c) {
      for (int64_t r = 0; r < row_count; ++r) {
        const bool kept = is_outlier_[index(row_begin + r, col + c)] != 0;
        rest[static_cast<size_t>(c * row_count + r)] = kept ? 0.0F : w[c * stride + r];
      }
    }
    return rest;
  }

  Format format_;
  std::unique_ptr<Encoder> inner_;
  std::vector<uint8_t> is_outlier_;  // [rows][cols]
  std::vector<uint16_t> values_;     // [rows][count], binary16
};

class OutliersCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return Format(shape, options).total_bytes;
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<OutliersEncoder>(Format(shape, options));
  }

  // A weight that the inner codec made larger may take the place of an outlier.
  bool is_idempotent(const Options&) const override { return false; }

  // Hostile bytes: a column that does not exist is left out, the last of equal ones counts.
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const Format format(shape, options);
    format.inner.codec->decode(shape, format.inner.options, bytes.first(format.inner_bytes),
                               row_begin, row_count, out);
    for (int64_t r = 0; r < row_count; ++r) {
      for (int64_t i = 0; i < format.count; ++i) {
        const int64_t row = row_begin + r;
        const uint64_t col = get(bytes, format.column_offset(row, i), format.column_bytes);
        if (col >= static_cast<uint64_t>(shape.cols)) continue;
        const auto value = static_cast<uint16_t>(get(bytes, format.value_offset(row, i), 2));
        out[r * shape.cols + static_cast<int64_t>(col)] = f16_to_float(value);
      }
    }
  }

  // The streams of the inner codec, then the bytes of columns and values.
  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options& options) const override {
    const Format format(shape, options);
    std::vector<SymbolStream> streams =
        format.inner.codec->symbol_streams(shape, format.inner.options);
    streams.push_back({8, static_cast<int64_t>(format.total_bytes - format.inner_bytes)});
    return streams;
  }

  void split_symbols(const MatrixShape& shape, const Options& options,
                     std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const override {
    const Format format(shape, options);
    const Codec& inner = *format.inner.codec;
    if (stream + 1 < symbol_streams(shape, options).size()) {
      return inner.split_symbols(shape, format.inner.options, bytes.first(format.inner_bytes),
                                 stream, begin, symbols);
    }
    const auto own = bytes.subspan(format.inner_bytes + static_cast<size_t>(begin), symbols.size());
    std::ranges::transform(own, symbols.begin(),
                           [](std::byte b) { return std::to_integer<uint8_t>(b); });
  }

  void join_symbols(const MatrixShape& shape, const Options& options, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    const Format format(shape, options);
    const Codec& inner = *format.inner.codec;
    if (stream + 1 < symbol_streams(shape, options).size()) {
      return inner.join_symbols(shape, format.inner.options, stream, begin, symbols,
                                bytes.first(format.inner_bytes));
    }
    const auto own = bytes.subspan(format.inner_bytes + static_cast<size_t>(begin), symbols.size());
    std::ranges::transform(symbols, own.begin(), [](uint8_t s) { return std::byte{s}; });
  }

  ProductCost product_cost(const Options& options) const override {
    const Scheme inner = parse_inner_scheme(info_.id, options.text("inner"));
    return inner.codec->product_cost(inner.options);
  }

  std::string label(const Options& options) const override {
    return fmt::format("{} + {:.3g}% f16",
                       parse_inner_scheme(info_.id, options.text("inner")).label(),
                       100 * options.number("fraction"));
  }

 private:
  PartInfo info_{
      .id = "outliers",
      .summary = "the largest weights of each row in binary16, another codec for the rest",
      .source =
          "Dettmers et al. 2023 (SpQR), arXiv:2306.03078; Kim et al. 2023 (SqueezeLLM), "
          "arXiv:2306.07629, section 4.2; differs: equally many in each row",
      .options = {{"fraction", 0.005, "of a row's weights that are kept as they are", 0, 0.5},
                  {"inner", std::string(R"({"codec":"int","options":{"bits":4,"group":64}})"),
                   "the codec of the rest, as JSON"}}};
};

const Registration<Codec, OutliersCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

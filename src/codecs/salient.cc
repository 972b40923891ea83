// Codec `salient`: the columns that matter most under one codec, the others under another.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "codecs/coded_parts.h"
#include "codecs/grouped.h"
#include "codecs/inner_scheme.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// round(fraction * columns) columns are salient, the same in all rows. The tensor's bytes:
//     mask      one bit per column, 1: salient; column c is bit c % 8 of byte c / 8; filled with
//               zeros to a multiple of 64 bytes
//     salient   the bytes of the codec `salient` on [rows, salient columns], in order
//     others    the bytes of the codec `inner` on [rows, other columns], in order
struct Format {
  MatrixShape shape;
  int64_t count;  // salient columns
  CodedParts parts;

  Format(const MatrixShape& matrix, const Options& options)
      : shape(matrix),
        count(std::llround(options.number("fraction") * static_cast<double>(matrix.cols))),
        parts(static_cast<uint64_t>(round_up_to_vector(ceil_div(matrix.cols, 8)))) {
    parts.add(parse_inner_scheme("salient", options.text("salient"), "salient"),
              {shape.rows, count});
    parts.add(parse_inner_scheme("salient", options.text("inner")),
              {shape.rows, shape.cols - count});
  }
  const CodedPart& part(bool salient) const { return parts.parts()[salient ? 0 : 1]; }
};

class SalientEncoder final : public Encoder {
 public:
  explicit SalientEncoder(Format format)
      : format_(std::move(format)),
        is_salient_(static_cast<size_t>(format_.shape.cols)),
        place_(is_salient_.size()) {
    for (const bool salient : {true, false}) {
      const CodedPart& part = format_.part(salient);
      Part& mine = part_of(salient);
      mine.encoder = part.scheme.codec->encoder(part.shape, part.scheme.options);
      expect_single_columns("salient", part.scheme, *mine.encoder);
    }
    choose(std::vector<double>(is_salient_.size()));
  }

  // The columns of a group of either codec lie anywhere in the row.
  int64_t group_cols() const override { return std::max<int64_t>(format_.shape.cols, 1); }

  // Takes the columns of largest importance * Σ w², the first on ties.
  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    const auto cols = static_cast<size_t>(format_.shape.cols);
    if (cols == 0) return;
    const float* importance = usable_importance(fit.importance, format_.shape.cols);
    std::vector<double> scores(cols);
    for (size_t i = 0; i < weights.size(); ++i) {
      scores[i % cols] += static_cast<double>(weights[i]) * static_cast<double>(weights[i]);
    }
    for (size_t c = 0; c < cols && importance != nullptr; ++c) {
      scores[c] *= static_cast<double>(importance[c]);
    }
    choose(scores);
    for (Part& part : parts_) {
      std::vector<float> dense;
      dense.reserve(weights.size() / cols * part.columns.size());
      for (size_t row = 0; row < weights.size(); row += cols) {
        for (const int64_t c : part.columns) dense.push_back(weights[row + static_cast<size_t>(c)]);
      }
      const std::vector<float> own = part.importance_of(fit.importance);
      part.encoder->prepare(dense, part.fit(fit, own), pool);
    }
  }

  void fit_group(int64_t, int64_t row_begin, int64_t row_count, const float* w, int64_t stride,
                 const FitOptions& fit) override {
    for (Part& part : parts_) {
      std::vector<float> dense;
      dense.reserve(part.columns.size() * static_cast<size_t>(row_count));
      for (const int64_t c : part.columns) {
        dense.insert(dense.end(), w + c * stride, w + c * stride + row_count);
      }
      const std::vector<float> own = part.importance_of(fit.importance);
      fit_all_groups(*part.encoder, static_cast<int64_t>(part.columns.size()), row_begin, row_count,
                     dense.data(), row_count, part.fit(fit, own));
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const auto c = static_cast<size_t>(col);
    part_of(is_salient_[c] != 0).encoder->quantize(place_[c], row_begin, row_count, w, q, stride);
  }

  void finish(std::span<std::byte> bytes) const override {
    std::fill_n(bytes.begin(), format_.parts.parts()[0].offset_bytes, std::byte{0});
    for (const int64_t c : parts_[0].columns) {
      bytes[static_cast<size_t>(c / 8)] |= static_cast<std::byte>(1 << (c % 8));
    }
    for (size_t i = 0; i < 2; ++i) {
      parts_[i].encoder->finish(CodedParts::bytes_of(format_.parts.parts()[i], bytes));
    }
  }

 private:
  struct Part {
    std::unique_ptr<Encoder> encoder;
    std::vector<int64_t> columns;

    std::vector<float> importance_of(const float* importance) const {
      std::vector<float> own;
      if (importance == nullptr) return own;
      for (const int64_t c : columns) own.push_back(importance[c]);
      return own;
    }
    static FitOptions fit(const FitOptions& all, const std::vector<float>& importance) {
      return {all.search_steps, importance.empty() ? nullptr : importance.data()};
    }
  };
  Part& part_of(bool salient) { return parts_[salient ? 0 : 1]; }

  void choose(const std::vector<double>& scores) {
    std::vector<int64_t> order(scores.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::ranges::stable_sort(order, std::greater<>(),
                             [&](int64_t c) { return scores[static_cast<size_t>(c)]; });
    std::ranges::fill(is_salient_, uint8_t{0});
    for (int64_t i = 0; i < format_.count; ++i) {
      is_salient_[static_cast<size_t>(order[static_cast<size_t>(i)])] = 1;
    }
    for (Part& part : parts_) part.columns.clear();
    for (size_t c = 0; c < scores.size(); ++c) {
      std::vector<int64_t>& columns = part_of(is_salient_[c] != 0).columns;
      place_[c] = static_cast<int64_t>(columns.size());
      columns.push_back(static_cast<int64_t>(c));
    }
  }

  Format format_;
  std::array<Part, 2> parts_;        // salient, others
  std::vector<uint8_t> is_salient_;  // [cols]
  std::vector<int64_t> place_;       // [cols]: which column of its part
};

class SalientCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return Format(shape, options).parts.total_bytes();
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<SalientEncoder>(Format(shape, options));
  }

  // Coded columns may change their order.
  bool is_idempotent(const Options&) const override { return false; }

  // A hostile mask may have too few or too many columns of either kind: those beyond are 0.
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const Format format(shape, options);
    std::vector<float> salient(static_cast<size_t>(format.count));
    std::vector<float> others(static_cast<size_t>(shape.cols - format.count));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      format.parts.decode(format.part(true), bytes, row, 1, salient.data());
      format.parts.decode(format.part(false), bytes, row, 1, others.data());
      std::array<size_t, 2> next{};
      for (int64_t c = 0; c < shape.cols; ++c) {
        const auto byte = std::to_integer<unsigned>(bytes[static_cast<size_t>(c / 8)]);
        const bool is_salient = (byte >> (c % 8) & 1) != 0;
        const std::vector<float>& from = is_salient ? salient : others;
        size_t& place = next[is_salient ? 0 : 1];
        *out++ = place < from.size() ? from[place++] : 0.0F;
      }
    }
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

  ProductCost product_cost(const Options& options) const override {
    return largest_cost({parse_inner_scheme(info_.id, options.text("salient"), "salient"),
                         parse_inner_scheme(info_.id, options.text("inner"))});
  }

  std::string label(const Options& options) const override {
    return fmt::format("{} + {:.3g}% of columns {}",
                       parse_inner_scheme(info_.id, options.text("inner")).label(),
                       100 * options.number("fraction"),
                       parse_inner_scheme(info_.id, options.text("salient"), "salient").label());
  }

 private:
  PartInfo info_{
      .id = "salient",
      .summary = "the columns that matter most by one codec, the others by another",
      .source =
          "Zhao et al. 2025 (PTQ1.61), arXiv:2502.13179; differs: columns by their power times "
          "that of their input, if the solver weights",
      .options = {{"fraction", 0.2, "of the columns that are salient", 0, 1},
                  {"salient", std::string(R"({"codec":"int","options":{"bits":4,"group":0}})"),
                   "the codec of salient columns, as JSON"},
                  {"inner", std::string(R"({"codec":"binary","options":{"group":0}})"),
                   "the codec of the others, as JSON"}}};
};

const Registration<Codec, SalientCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `ordered`: another codec on the columns in an order of their own, for groups of columns
// that do not lie side by side.
#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#include "codecs/coded_parts.h"
#include "codecs/column_order.h"
#include "codecs/grouped.h"
#include "codecs/inner_scheme.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// The tensor's bytes:
//     order   for each column of the codec `inner`, which column of the tensor it is: u32; filled
//             with zeros to a multiple of 64 bytes
//     inner   the bytes of the codec `inner` on [rows, columns] in that order
CodedParts parts_of(const MatrixShape& shape, const Options& options) {
  CodedParts parts(static_cast<uint64_t>(round_up_to_vector(4 * shape.cols)));
  parts.add(parse_inner_scheme("ordered", options.text("inner")), shape);
  return parts;
}

// Columns of like importance share a group: by falling power, as GPTQ's act_order has them.
class OrderedEncoder final : public Encoder {
 public:
  OrderedEncoder(const MatrixShape& shape, CodedParts parts)
      : cols_(shape.cols), parts_(std::move(parts)), order_(static_cast<size_t>(cols_)) {
    const CodedPart& part = parts_.parts()[0];
    inner_ = part.scheme.codec->encoder(part.shape, part.scheme.options);
    expect_single_columns("ordered", part.scheme, *inner_);
    std::iota(order_.begin(), order_.end(), size_t{0});
    place_ = order_;
  }

  // Columns of a group of `inner` lie anywhere in the row.
  int64_t group_cols() const override { return std::max<int64_t>(cols_, 1); }

  // By importance, or Σ w² without.
  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    std::vector<double> scores(order_.size());
    if (const float* importance = usable_importance(fit.importance, cols_)) {
      scores.assign(importance, importance + cols_);
    } else {
      for (size_t i = 0; i < weights.size(); ++i) {
        scores[i % scores.size()] += double{weights[i]} * double{weights[i]};
      }
    }
    std::ranges::stable_sort(order_, std::greater<>(), [&](size_t c) { return scores[c]; });
    for (size_t i = 0; i < order_.size(); ++i) place_[order_[i]] = i;
    std::vector<float> moved;
    moved.reserve(weights.size());
    for (size_t row = 0; row < weights.size(); row += order_.size()) {
      for (const size_t c : order_) moved.push_back(weights[row + c]);
    }
    const std::vector<float> importance = moved_importance(fit);
    inner_->prepare(moved, own_fit(fit, importance), pool);
  }

  void fit_group(int64_t, int64_t row_begin, int64_t row_count, const float* w, int64_t stride,
                 const FitOptions& fit) override {
    std::vector<float> moved;
    moved.reserve(order_.size() * static_cast<size_t>(row_count));
    for (const size_t c : order_) {
      const float* column = w + static_cast<int64_t>(c) * stride;
      moved.insert(moved.end(), column, column + row_count);
    }
    const std::vector<float> importance = moved_importance(fit);
    fit_all_groups(*inner_, cols_, row_begin, row_count, moved.data(), row_count,
                   own_fit(fit, importance));
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const auto place = static_cast<int64_t>(place_[static_cast<size_t>(col)]);
    inner_->quantize(place, row_begin, row_count, w, q, stride);
  }

  void finish(std::span<std::byte> bytes) const override {
    const std::vector<uint32_t> order(order_.begin(), order_.end());
    write_column_order(order, bytes);
    inner_->finish(CodedParts::bytes_of(parts_.parts()[0], bytes));
  }

 private:
  std::vector<float> moved_importance(const FitOptions& fit) const {
    std::vector<float> moved;
    for (size_t i = 0; i < order_.size() && fit.importance != nullptr; ++i) {
      moved.push_back(fit.importance[order_[i]]);
    }
    return moved;
  }
  static FitOptions own_fit(const FitOptions& fit, const std::vector<float>& importance) {
    return {fit.search_steps, importance.empty() ? nullptr : importance.data()};
  }

  int64_t cols_;
  CodedParts parts_;
  std::unique_ptr<Encoder> inner_;
  std::vector<size_t> order_;  // columns of the tensor, by column of `inner`
  std::vector<size_t> place_;  // the inverse
};

class OrderedCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return parts_of(shape, options).total_bytes();
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<OrderedEncoder>(shape, parts_of(shape, options));
  }

  // Columns may come in another order.
  bool is_idempotent(const Options&) const override { return false; }

  // Columns that a hostile order leaves out are 0; of those that it names twice the last counts.
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const CodedParts parts = parts_of(shape, options);
    const std::vector<uint32_t> order = column_order(shape.cols, bytes);
    std::vector<float> row(order.size());
    for (int64_t r = row_begin; r < row_begin + row_count; ++r, out += shape.cols) {
      parts.decode(parts.parts()[0], bytes, r, 1, row.data());
      std::fill_n(out, shape.cols, 0.0F);
      for (size_t i = 0; i < order.size(); ++i) {
        if (order[i] < order.size()) out[order[i]] = row[i];
      }
    }
  }

  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options& options) const override {
    return parts_of(shape, options).symbol_streams();
  }
  void split_symbols(const MatrixShape& shape, const Options& options,
                     std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const override {
    parts_of(shape, options).split_symbols(bytes, stream, begin, symbols);
  }
  void join_symbols(const MatrixShape& shape, const Options& options, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    parts_of(shape, options).join_symbols(stream, begin, symbols, bytes);
  }

  ProductCost product_cost(const Options& options) const override {
    return largest_cost({parse_inner_scheme(info_.id, options.text("inner"))});
  }

  std::string label(const Options& options) const override {
    return parse_inner_scheme(info_.id, options.text("inner")).label() + " ordered";
  }

 private:
  PartInfo info_{
      .id = "ordered",
      .summary =
          "another codec on columns in an order of their own, so that like ones share groups",
      .source =
          "act_order with groups of GPTQ's files (desc_act); Frantar et al. 2023, arXiv:2210.17323",
      .options = {
          {"inner",
           std::string(R"({"codec":"int","options":{"bits":4,"group":64,"symmetric":true}})"),
           "the codec, as JSON"}}};
};

const Registration<Codec, OrderedCodec> kRegistration;

}  // namespace

std::vector<uint32_t> column_order(int64_t cols, std::span<const std::byte> bytes) {
  std::vector<uint32_t> order(static_cast<size_t>(cols));
  BITSMITH_ASSERT(bytes.size() >= 4 * order.size());
  if (cols > 0) std::memcpy(order.data(), bytes.data(), 4 * order.size());
  return order;
}

void write_column_order(std::span<const uint32_t> order, std::span<std::byte> bytes) {
  const auto size = static_cast<size_t>(round_up_to_vector(static_cast<int64_t>(4 * order.size())));
  std::ranges::fill(bytes.first(size), std::byte{0});
  std::ranges::copy(std::as_bytes(order), bytes.begin());
}

std::span<const std::byte> ordered_bytes(int64_t cols, std::span<const std::byte> bytes) {
  return bytes.subspan(static_cast<size_t>(round_up_to_vector(4 * cols)));
}

}  // namespace bitsmith

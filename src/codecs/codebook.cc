// Codec `codebook`: each code is an entry of a codebook of the tensor, the row or the group.
#include <algorithm>
#include <cmath>

#include "codecs/grid.h"
#include "codecs/int_fit.h"
#include "codecs/level_matrix.h"
#include "codecs/lloyd_max.h"
#include "codecs/plane_symbols.h"
#include "codecs/table.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

// An entry as it is stored.
float rounded(float entry, const Options& options) {
  const auto words = static_cast<int>(options.integer("words"));
  return words == 0 ? round_to_f16(entry) : round_to_powers(entry, words);
}

// Cells of one width around its multiples, as many as there are codes; those at the ends are open.
struct UniformCells {
  float width = 0;  // 0: none
  int count = 1;

  int code(float x) const {
    const float multiple = std::floor(x / width + 0.5F);
    const auto half = static_cast<float>(count / 2);
    return static_cast<int>(std::clamp(multiple + half, 0.0F, static_cast<float>(count - 1)));
  }
  double entropy(std::span<const float> values) const {
    std::vector<int64_t> counts(static_cast<size_t>(count));
    for (const float x : values) ++counts[static_cast<size_t>(code(x))];
    double bits = 0;
    for (const int64_t n : counts) {
      const double share = static_cast<double>(n) / static_cast<double>(values.size());
      if (n > 0) bits -= share * std::log2(share);
    }
    return bits;
  }
  // Means of the cells, or their middles where they are empty.
  std::vector<float> means(std::span<const float> values, const float* weights) const {
    std::vector<double> sums(static_cast<size_t>(count));
    std::vector<double> totals(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) {
      const auto at = static_cast<size_t>(code(values[i]));
      const double weight = weights != nullptr ? static_cast<double>(weights[i]) : 1.0;
      sums[at] += weight * static_cast<double>(values[i]);
      totals[at] += weight;
    }
    std::vector<float> result;
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      result.push_back(totals[at] > 0 ? static_cast<float>(sums[at] / totals[at])
                                      : width * static_cast<float>(i - count / 2));
    }
    return result;
  }
};

// Cells wide enough for the codes of `values` to have an entropy of at most `bits`; no narrower
// than it takes to reach the largest value.
UniformCells cells_of_entropy(std::span<const float> values, int count, double bits) {
  float largest = 0;
  for (const float x : values) largest = std::max(largest, std::fabs(x));
  if (!(largest > 0) || !std::isfinite(largest)) return {1.0F, count};
  double narrow = static_cast<double>(largest) / std::max(count / 2 - 0.5, 0.5);
  double wide = 4 * static_cast<double>(largest);
  const auto cells = [&](double width) { return UniformCells{static_cast<float>(width), count}; };
  if (cells(narrow).entropy(values) <= bits) return cells(narrow);
  for (int i = 0; i < 24; ++i) {
    const double middle = std::sqrt(narrow * wide);
    (cells(middle).entropy(values) <= bits ? wide : narrow) = middle;
  }
  return cells(wide);
}

// The entries that the options ask for, and the cells of their codes if the entropy is given.
//   weights [values.size()] or nullptr
std::pair<std::vector<float>, UniformCells> fit_entries(const Options& options,
                                                        std::span<const float> values,
                                                        const float* weights, int count) {
  const double entropy = options.number("entropy");
  if (entropy == 0 || values.empty()) return {lloyd_max_levels(values, weights, count), {}};
  const UniformCells cells = cells_of_entropy(values, count, entropy);
  return {cells.means(values, weights), cells};
}

// Codebooks of rows or groups: the parameters of a group are its entries.
class OwnCodebooks final : public TableCodec {
 public:
  explicit OwnCodebooks(const PartInfo& info) : info_(info) {}
  const PartInfo& info() const override { return info_; }
  std::string label(const Options&) const override { return info_.id; }

  TableFormat format(const Options& options) const override {
    const bool row = options.text("scope") == "row";
    const int bits = static_cast<int>(options.integer("bits"));
    return {.digits = bits, .group = row ? 0 : options.integer("group"), .parameters = 1 << bits};
  }

  void expand(const Options&, std::span<const float> parameters,
              std::span<float> levels) const override {
    std::ranges::copy(parameters, levels.begin());
  }

  void fit(const Options& options, const TableGroup& group,
           std::span<float> parameters) const override {
    const auto count = static_cast<int>(parameters.size());
    // Codes are then those of the nearest entries: nearly these cells.
    std::ranges::copy(fit_entries(options, group.w, group.importance, count).first,
                      parameters.begin());
    for (float& entry : parameters) entry = rounded(entry, options);
  }

 private:
  const PartInfo& info_;
};

// One codebook for the tensor, with a scale per group or without.
struct SharedFormat {
  int bits;
  bool scaled;
  int64_t group;

  explicit SharedFormat(const Options& options)
      : bits(static_cast<int>(options.integer("bits"))),
        scaled(options.text("scope") == "tensor_scaled"),
        group(scaled ? options.integer("group") : 0) {}
  size_t entries() const { return size_t{1} << bits; }
  std::vector<float> read_entries(const uint8_t* in) const {
    std::vector<float> result(entries());
    for (size_t i = 0; i < result.size(); ++i) {
      uint16_t pattern;
      std::memcpy(&pattern, in + 2 * i, sizeof(pattern));
      result[i] = f16_to_float(pattern);
    }
    return result;
  }
  GroupedLayout layout(std::string_view owner, const MatrixShape& shape) const {
    return GroupedLayout(CodePlanes::of_bits(owner, shape, bits), group,
                         static_cast<int64_t>(2 * entries()),
                         scaled ? std::vector<int>{2} : std::vector<int>{});
  }
};

class SharedEncoder final : public GroupedEncoder {
 public:
  SharedEncoder(const GroupedLayout& layout, const SharedFormat& format, const Options& options)
      : GroupedEncoder(layout), options_(options), format_(format), grid_({0.0F}) {
    if (format.scaled) scales_.resize(static_cast<size_t>(layout.groups * layout.shape().rows));
  }

  // Clusters all weights, divided by the scales of their groups if there are scales. What a weight
  // counts is importance * scale².
  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool&) override {
    const int64_t cols = layout_.shape().cols;
    std::vector<float> numbers(weights.begin(), weights.end());
    std::vector<float> counts;
    const bool weighted = fit.search_steps > 0 && fit.importance != nullptr;
    if (weighted || format_.scaled) counts.assign(numbers.size(), 1.0F);
    for (size_t i = 0; weighted && i < counts.size(); ++i) {
      counts[i] = fit.importance[i % static_cast<size_t>(cols)];
    }
    for (int64_t row = 0; format_.scaled && cols > 0 && row < layout_.shape().rows; ++row) {
      for (int64_t group = 0; group < layout_.groups; ++group) {
        const int64_t begin = row * cols + group * layout_.group_cols;
        const std::span<float> part(numbers.data() + begin,
                                    static_cast<size_t>(layout_.columns_of(group)));
        const float scale = extreme_scale(part);
        for (size_t i = 0; i < part.size(); ++i) {
          part[i] = scale > 0 ? std::clamp(part[i] / scale, -2.0F, 2.0F) : 0.0F;
          counts[static_cast<size_t>(begin) + i] *= std::min(scale * scale, 1e30F);
        }
      }
    }
    auto [entries, cells] = fit_entries(options_, numbers, counts.empty() ? nullptr : counts.data(),
                                        static_cast<int>(format_.entries()));
    cells_ = cells;
    for (size_t i = 0; i < entries.size(); ++i) {
      entries[i] = rounded(entries[i], options_);
      set_header(2 * i, float_to_f16(entries[i]));
    }
    grid_ = Grid(std::move(entries));
    prepared_ = true;
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    BITSMITH_ASSERT(prepared_);
    if (!format_.scaled) return;
    const int64_t cols = layout_.columns_of(group);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      const float scale =
          best_scale(row, usable_importance(fit.importance, cols), fit.search_steps);
      scales_[group_index(row_begin + r, group)] = scale;
      parameter(row_begin + r, group, 0) = float_to_f16(scale);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    const int64_t group = col / layout_.group_cols;
    for (int64_t r = 0; r < row_count; ++r) {
      const float scale = format_.scaled ? scales_[group_index(row_begin + r, group)] : 1.0F;
      const int chosen = choose(scale > 0 ? w[r] / scale : 0.0F);
      code(row_begin + r, col) = static_cast<uint16_t>(chosen);
      q[r] = scale * grid_.level(chosen);
    }
  }

 private:
  int choose(float x) const { return cells_.width > 0 ? cells_.code(x) : grid_.nearest(x); }

  static float extreme_scale(std::span<const float> w) {
    float largest = 0;
    for (const float x : w) largest = std::max(largest, std::fabs(x));
    return truncate_to_f16(largest);
  }

  float best_scale(std::span<const float> w, const float* importance, int steps) const {
    const float extreme = extreme_scale(w);
    float best = extreme;
    double least = error_of(w, importance, extreme);
    for (int step = 0; step < steps; ++step) {
      const float part = 1.1F - 0.6F * static_cast<float>(step) / static_cast<float>(steps);
      const float scale = round_to_f16(extreme * part);
      const double error = error_of(w, importance, scale);
      if (error < least) {
        least = error;
        best = scale;
      }
    }
    return best;
  }

  double error_of(std::span<const float> w, const float* importance, float scale) const {
    double error = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const float q = scale > 0 ? scale * grid_.level(choose(w[i] / scale)) : 0.0F;
      const double difference = static_cast<double>(w[i]) - static_cast<double>(q);
      error += (importance != nullptr ? static_cast<double>(importance[i]) : 1.0) * difference *
               difference;
    }
    return error;
  }

  Options options_;
  SharedFormat format_;
  Grid grid_;
  UniformCells cells_;  // if the codes' entropy is given
  bool prepared_ = false;
  std::vector<float> scales_;  // [groups][rows]
};

class CodebookCodec final : public Codec, public LevelCodec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    if (!is_shared(options)) return own_.encoded_bytes(shape, options);
    return static_cast<uint64_t>(SharedFormat(options).layout(info_.id, shape).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    if (!is_shared(options)) return own_.encoder(shape, options);
    const SharedFormat format(options);
    return std::make_unique<SharedEncoder>(format.layout(info_.id, shape), format, options);
  }

  // Scales are taken from extremes, which are not entries of the codebook; widths of cells from the
  // entropy.
  bool is_idempotent(const Options& options) const override {
    return options.text("scope") != "tensor_scaled" && options.number("entropy") == 0;
  }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    if (!is_shared(options)) return own_.decode(shape, options, bytes, row_begin, row_count, out);
    const SharedFormat format(options);
    const GroupedLayout layout = format.layout(info_.id, shape);
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout.total_bytes));
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    const std::vector<float> entries = format.read_entries(in);
    std::vector<uint16_t> codes(static_cast<size_t>(shape.cols));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      layout.codes.unpack_row(in + layout.codes_offset, row, codes.data());
      for (int64_t c = 0; c < shape.cols; ++c) {
        float scale = 1.0F;
        if (format.scaled) {
          const uint32_t pattern = layout.read_parameter(in, row, c / layout.group_cols, 0);
          scale = f16_to_float(static_cast<uint16_t>(pattern));
        }
        *out++ = scale * entries[codes[static_cast<size_t>(c)]];
      }
    }
  }

  // Nothing for codebooks of groups, or large ones of rows.
  std::optional<LevelMatrix> level_matrix(const MatrixShape& shape, const Options& options,
                                          std::span<const std::byte> bytes) const override {
    const SharedFormat format(options);
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    if (is_shared(options)) {
      return LevelMatrix{.layout = format.layout(info_.id, shape),
                         .bits = format.bits,
                         .tables = {format.read_entries(in)},
                         .is_scaled = format.scaled};
    }
    if (options.text("scope") != "row" || format.bits > LevelMatrix::kMaxRowBits) {
      return std::nullopt;
    }
    LevelMatrix matrix{.layout = own_.layout(shape, own_.format(options)),
                       .bits = format.bits,
                       .table_per_row = true};
    for (int64_t row = 0; row < shape.rows && shape.cols > 0; ++row) {
      std::vector<float>& table = matrix.tables.emplace_back(format.entries());
      for (size_t i = 0; i < table.size(); ++i) {
        const uint32_t pattern = matrix.layout.read_parameter(in, row, 0, static_cast<int>(i));
        table[i] = f16_to_float(static_cast<uint16_t>(pattern));
      }
    }
    return matrix;
  }

  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options& options) const override {
    if (!splits(options)) return Codec::symbol_streams(shape, options);
    const SharedFormat format(options);
    return grouped_symbol_streams(format.layout(info_.id, shape), format.bits);
  }

  void split_symbols(const MatrixShape& shape, const Options& options,
                     std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const override {
    if (!splits(options)) {
      return Codec::split_symbols(shape, options, bytes, stream, begin, symbols);
    }
    split_grouped_symbols(SharedFormat(options).layout(info_.id, shape),
                          reinterpret_cast<const uint8_t*>(bytes.data()), stream, begin, symbols);
  }

  void join_symbols(const MatrixShape& shape, const Options& options, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    if (!splits(options)) {
      return Codec::join_symbols(shape, options, stream, begin, symbols, bytes);
    }
    join_grouped_symbols(SharedFormat(options).layout(info_.id, shape), stream, begin, symbols,
                         reinterpret_cast<uint8_t*>(bytes.data()));
  }

  ProductCost product_cost(const Options& options) const override {
    const int words = static_cast<int>(options.integer("words"));
    return words == 0 ? ProductCost{} : ProductCost{0, words, words - 1, 0, true};
  }

  std::string label(const Options& options) const override {
    const std::string& scope = options.text("scope");
    const bool grouped = scope == "group" || scope == "tensor_scaled";
    return fmt::format("codebook{} {}{}", options.integer("bits"),
                       scope == "tensor_scaled" ? "tensor" : scope,
                       grouped ? fmt::format(" {}", group_label(options.integer("group"))) : "");
  }

 private:
  static bool splits(const Options& options) {
    return is_shared(options) && options.text("symbols") == "codes";
  }
  static bool is_shared(const Options& options) {
    const std::string& scope = options.text("scope");
    return scope == "tensor" || scope == "tensor_scaled";
  }

  PartInfo info_{
      .id = "codebook",
      .summary = "entries of a codebook of binary16 numbers, of the tensor, a row or a group",
      .source =
          "Han et al. 2016 (Deep Compression), arXiv:1510.00149; weighted: Kim et al. 2023 "
          "(SqueezeLLM), arXiv:2306.07629; entropy: Gish and Pierce 1968",
      .options = {{"bits", int64_t{4}, "bits per code", 1, 8},
                  {"scope",
                   std::string("row"),
                   "what shares a codebook; tensor_scaled: the tensor, with a scale per group",
                   -1e300,
                   1e300,
                   {"tensor", "tensor_scaled", "row", "group"}},
                  {"words", int64_t{0},
                   "entries are sums of so many powers of two, the encoder's choice; 0: any", 0, 2},
                  {"symbols",
                   std::string("bytes"),
                   "what an entropy coder sees of a tensor's codebook: bytes, or codes and entries",
                   -1e300,
                   1e300,
                   {"bytes", "codes"}},
                  {"entropy", 0.0,
                   "bits per weight that an entropy coder shall get the codes down to, by "
                   "cells of one width; 0: codes of least error",
                   0, 8},
                  group_option(128)}};
  OwnCodebooks own_{info_};
};

const Registration<Codec, CodebookCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

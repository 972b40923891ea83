// Codec `pruned`: any weights of the tensor that survive, found by a bitmap or gaps; another codec
// for them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "codecs/grouped.h"
#include "codecs/inner_scheme.h"
#include "codecs/mask.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// round(density * weights) weights survive, wherever they lie. They are taken row by row into a
// dense matrix of up to 16 rows, which the inner codec codes; what its last row lacks repeats the
// last survivor and is dropped by the decoder. The tensor's bytes:
//     mask    see mask.h: a bitmap, or gaps of `gap_bits` bits
//     inner   the bytes of the inner codec
// The number of gaps depends on where the survivors lie, and a size must follow from the options:
// `gaps` is that number, known to who chose the mask, or 0 for the most that there can be.
struct Format {
  MatrixShape shape;
  int64_t weights;
  int64_t survivors;
  int gap_bits;
  int64_t mask_bytes;
  MatrixShape inner_shape;
  Scheme inner;

  Format(const MatrixShape& matrix, const Options& options) : shape(matrix) {
    constexpr int64_t kMaxWeights = int64_t{1} << 44;
    if (shape.rows < 0 || shape.cols < 0 || shape.rows > kMaxWeights ||
        (shape.rows > 0 && shape.cols > kMaxWeights / shape.rows)) {
      fail(ErrorCode::kInvalidArgument, "codec 'pruned': a matrix of {} x {} is too large",
           shape.rows, shape.cols);
    }
    inner = parse_inner_scheme("pruned", options.text("inner"));
    weights = shape.rows * shape.cols;
    survivors = std::llround(options.number("density") * static_cast<double>(weights));
    gap_bits = static_cast<int>(options.integer("gap_bits"));
    int64_t gaps = options.integer("gaps");
    if (gap_bits == 0) {
      if (gaps > 0) fail(ErrorCode::kInvalidArgument, "codec 'pruned': gaps have no bits");
      mask_bytes = static_cast<int64_t>(bitmap_bytes(weights));
    } else {
      const int64_t most = most_gaps(weights, survivors, gap_bits);
      if (gaps > most) {
        fail(ErrorCode::kInvalidArgument,
             "codec 'pruned': {} gaps, at most {} are needed for {} survivors of {}", gaps, most,
             survivors, weights);
      }
      mask_bytes = static_cast<int64_t>(gap_bytes(gaps > 0 ? gaps : most, gap_bits));
    }
    const int64_t cols = ceil_div(survivors, CodePlanes::kPanelRows);
    inner_shape = {cols > 0 ? ceil_div(survivors, cols) : 0, cols};
  }
};

class PrunedEncoder final : public Encoder {
 public:
  explicit PrunedEncoder(const Format& format)
      : format_(format),
        inner_(format.inner.codec->encoder(format.inner_shape, format.inner.options)),
        place_(static_cast<size_t>(format.weights), kPruned) {
    expect_single_columns("pruned", format.inner, *inner_);
  }

  int64_t group_cols() const override { return std::max<int64_t>(format_.shape.cols, 1); }

  // Keeps the weights of largest importance * w² of the tensor, those that come first on ties, and
  // fits the inner codec to them.
  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    BITSMITH_ASSERT(static_cast<int64_t>(weights.size()) == format_.weights);
    const int64_t cols = format_.shape.cols;
    const float* importance = usable_importance(fit.importance, cols);
    const auto score = [&](int64_t i) {
      const auto x = static_cast<double>(weights[static_cast<size_t>(i)]);
      return (importance != nullptr ? static_cast<double>(importance[i % cols]) : 1.0) * x * x;
    };
    std::vector<int64_t> kept(weights.size());
    std::iota(kept.begin(), kept.end(), int64_t{0});
    const auto border = kept.begin() + format_.survivors;
    std::ranges::nth_element(kept, border, [&](int64_t a, int64_t b) {
      const double left = score(a);
      const double right = score(b);
      return left != right ? left > right : a < b;
    });
    kept.erase(border, kept.end());
    std::ranges::sort(kept);
    for (size_t k = 0; k < kept.size(); ++k) {
      place_[static_cast<size_t>(kept[k])] = static_cast<int64_t>(k);
    }
    fit_inner(weights, kept, fit.search_steps, pool);
  }

  void fit_group(int64_t, int64_t, int64_t, const float*, int64_t, const FitOptions&) override {}

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    for (int64_t r = 0; r < row_count; ++r) {
      const int64_t place = place_[static_cast<size_t>((row_begin + r) * format_.shape.cols + col)];
      q[r] = 0.0F;
      if (place == kPruned) continue;
      const int64_t inner_cols = format_.inner_shape.cols;
      inner_->quantize(place % inner_cols, place / inner_cols, 1, w + r, q + r, stride);
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    std::vector<uint64_t> mask(static_cast<size_t>(ceil_div(format_.weights, 64)));
    for (size_t i = 0; i < place_.size(); ++i) {
      if (place_[i] != kPruned) mask[i / 64] |= uint64_t{1} << (i % 64);
    }
    const auto mask_bytes = static_cast<size_t>(format_.mask_bytes);
    const MaskForm form = needed_form(mask);
    if (form.bytes > mask_bytes) {
      fail(ErrorCode::kInvalidArgument,
           "codec 'pruned': the mask needs {} gaps of {} bits, the option 'gaps' has room for {}",
           form.gaps, form.gap_bits, mask_bytes * 8 / static_cast<size_t>(form.gap_bits));
    }
    encode_mask(mask, format_.weights, form, bytes.first(mask_bytes));
    inner_->finish(bytes.subspan(mask_bytes));
  }

 private:
  static constexpr int64_t kPruned = -1;

  void fit_inner(std::span<const float> weights, const std::vector<int64_t>& kept, int search_steps,
                 ThreadPool& pool) {
    const auto [rows, cols] = format_.inner_shape;
    std::vector<float> dense(static_cast<size_t>(rows * cols));
    for (size_t k = 0; k < dense.size(); ++k) {
      dense[k] = weights[static_cast<size_t>(kept[std::min(k, kept.size() - 1)])];
    }
    const FitOptions fit{.search_steps = search_steps};
    inner_->prepare(dense, fit, pool);
    std::vector<float> panel(static_cast<size_t>(std::min(inner_->group_cols(), cols) * rows));
    for (int64_t begin = 0; begin < cols; begin += inner_->group_cols()) {
      const int64_t width = std::min(inner_->group_cols(), cols - begin);
      for (int64_t c = 0; c < width; ++c) {
        for (int64_t r = 0; r < rows; ++r) {
          panel[static_cast<size_t>(c * rows + r)] =
              dense[static_cast<size_t>(r * cols + begin + c)];
        }
      }
      inner_->fit_group(begin / inner_->group_cols(), 0, rows, panel.data(), rows, fit);
    }
    // What the last row lacks has codes too.
    std::vector<float> unused(1);
    for (int64_t k = format_.survivors; k < rows * cols; ++k) {
      inner_->quantize(k % cols, k / cols, 1, &dense[static_cast<size_t>(k)], unused.data(), 1);
    }
  }

  // The mask's form with the option's width of gaps.
  MaskForm needed_form(const std::vector<uint64_t>& mask) const {
    if (format_.gap_bits == 0) return {0, 0, bitmap_bytes(format_.weights)};
    const int64_t gaps = count_gaps(mask, format_.gap_bits);
    return {format_.gap_bits, gaps, gap_bytes(gaps, format_.gap_bits)};
  }

  Format format_;
  std::unique_ptr<Encoder> inner_;
  std::vector<int64_t> place_;  // [weights]: which survivor a weight is
};

class PrunedCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    const Format format(shape, options);
    return static_cast<uint64_t>(format.mask_bytes) +
           format.inner.codec->encoded_bytes(format.inner_shape, format.inner.options);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<PrunedEncoder>(Format(shape, options));
  }

  // A survivor that was coded as 0 may lose its place to another zero.
  bool is_idempotent(const Options&) const override { return false; }

  // A hostile mask may have too few survivors: the others are not used.
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const Format format(shape, options);
    const auto mask_bytes = static_cast<size_t>(format.mask_bytes);
    const std::vector<uint64_t> mask =
        decode_mask(bytes.first(mask_bytes), format.weights, format.gap_bits, format.survivors);
    const auto is_kept = [&](int64_t i) {
      return (mask[static_cast<size_t>(i / 64)] >> (i % 64) & 1) != 0;
    };
    int64_t place = 0;
    for (int64_t i = 0; i < row_begin * shape.cols; ++i) place += is_kept(i) ? 1 : 0;
    // The rows of the inner matrix from the first survivor of these rows on, one after the other.
    const auto [inner_rows, inner_cols] = format.inner_shape;
    std::vector<float> dense(static_cast<size_t>(inner_cols));
    int64_t decoded = -1;
    for (int64_t i = row_begin * shape.cols; i < (row_begin + row_count) * shape.cols; ++i) {
      *out = 0.0F;
      if (is_kept(i)) {
        if (place / inner_cols != decoded) {
          decoded = place / inner_cols;
          format.inner.codec->decode(format.inner_shape, format.inner.options,
                                     bytes.subspan(mask_bytes), decoded, 1, dense.data());
        }
        *out = dense[static_cast<size_t>(place++ % inner_cols)];
      }
      ++out;
    }
  }

  // The mask: bits of the bitmap; or gaps, as bytes if they are wider, and the bits left over. Then
  // the streams of the inner codec.
  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options& options) const override {
    const Format format(shape, options);
    const int bits = mask_symbol_bits(format);
    const int64_t count = 8 * format.mask_bytes / bits;
    std::vector<SymbolStream> streams = {{bits, count}, {1, 8 * format.mask_bytes - bits * count}};
    for (const SymbolStream& stream :
         format.inner.codec->symbol_streams(format.inner_shape, format.inner.options)) {
      streams.push_back(stream);
    }
    return streams;
  }

  void split_symbols(const MatrixShape& shape, const Options& options,
                     std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const override {
    const Format format(shape, options);
    if (stream > 1) {
      format.inner.codec->split_symbols(format.inner_shape, format.inner.options,
                                        bytes.subspan(static_cast<size_t>(format.mask_bytes)),
                                        stream - 2, begin, symbols);
      return;
    }
    auto [bits, position] = place_of(format, stream, begin);
    for (uint8_t& symbol : symbols) {
      symbol = 0;
      for (int b = 0; b < bits; ++b, ++position) {
        const auto byte = std::to_integer<unsigned>(bytes[static_cast<size_t>(position / 8)]);
        symbol |= static_cast<uint8_t>((byte >> (position % 8) & 1) << b);
      }
    }
  }

  void join_symbols(const MatrixShape& shape, const Options& options, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    const Format format(shape, options);
    if (stream > 1) {
      format.inner.codec->join_symbols(format.inner_shape, format.inner.options, stream - 2, begin,
                                       symbols,
                                       bytes.subspan(static_cast<size_t>(format.mask_bytes)));
      return;
    }
    auto [bits, position] = place_of(format, stream, begin);
    for (const uint8_t symbol : symbols) {
      for (int b = 0; b < bits; ++b, ++position) {
        bytes[static_cast<size_t>(position / 8)] |=
            static_cast<std::byte>((symbol >> b & 1) << (position % 8));
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
    return fmt::format("pruned {:.3g}% {}", 100 * options.number("density"),
                       parse_inner_scheme(info_.id, options.text("inner")).label());
  }

 private:
  static int mask_symbol_bits(const Format& format) {
    return format.gap_bits == 0 ? 1 : std::min(format.gap_bits, 8);
  }
  // The width of the symbols of mask stream 0 or 1, and the bit of the mask where `begin` lies.
  static std::pair<int, int64_t> place_of(const Format& format, size_t stream, int64_t begin) {
    const int bits = mask_symbol_bits(format);
    if (stream == 0) return {bits, begin * bits};
    return {1, 8 * format.mask_bytes / bits * bits + begin};
  }

  PartInfo info_{
      .id = "pruned",
      .summary = "a mask of any weights of the tensor, as bitmap or gaps; another codec for them",
      .source = "Han et al. 2016 (Deep Compression), arXiv:1510.00149, section 2",
      .options = {
          {"density", 0.5, "part of the tensor's weights that survive", 0, 1},
          {"gap_bits", int64_t{0}, "bits of a relative index; 0: a bitmap", 0, kMaxGapBits},
          {"gaps", int64_t{0}, "relative indices there is room for; 0: the most there can be", 0,
           int64_t{1} << 44},
          {"inner",
           std::string(
               R"({"codec":"codebook","options":{"bits":4,"scope":"tensor","symbols":"codes"}})"),
           "the codec of the survivors, as JSON"}}};
};

const Registration<Codec, PrunedCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `int`: uniform integer codes of 1 to 8 bits, a scale (and a zero point) per group of a row.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "codecs/grouped.h"
#include "codecs/int_fit.h"
#include "codecs/int_layout.h"
#include "codecs/int_reading.h"
#include "codecs/int_symbols.h"
#include "codecs/nested.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

class IntEncoder final : public Encoder {
 public:
  explicit IntEncoder(const IntLayout& layout)
      : layout_(layout), grid_(layout.bits, layout.symmetric, layout.scale_format) {
    const auto rows = static_cast<size_t>(layout.shape.rows);
    const auto parameters = static_cast<size_t>(layout.groups) * rows;
    codes_.resize(static_cast<size_t>(layout.shape.cols) * rows);
    scales_.resize(parameters);
    inverses_.resize(parameters);
    zeros_.resize(parameters, grid_.symmetric_zero);
  }

  int64_t group_cols() const override { return std::max<int64_t>(layout_.group_cols, 1); }

  void prepare(std::span<const float> weights, const FitOptions&, ThreadPool&) override {
    prepared_ = true;
    if (!has_tensor_scale(layout_.scale_format)) return;
    const int64_t cols = layout_.shape.cols;
    float largest = 0;
    for (int64_t begin = 0; begin < std::ssize(weights); begin += cols) {
      for (int64_t first = 0; first < cols; first += layout_.group_cols) {
        const int64_t count = std::min(layout_.group_cols, cols - first);
        const auto [low, high] = std::ranges::minmax(
            weights.subspan(static_cast<size_t>(begin + first), static_cast<size_t>(count)));
        largest = std::max(largest, widest_scale(grid_, std::min(low, 0.0F), std::max(high, 0.0F)));
      }
    }
    grid_.unit = tensor_scale_for(layout_.scale_format, largest);
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    BITSMITH_ASSERT(prepared_ || !has_tensor_scale(layout_.scale_format));
    const int64_t cols =
        std::min(layout_.group_cols, layout_.shape.cols - group * layout_.group_cols);
    std::vector<Lanes> tile(static_cast<size_t>(cols));
    for (int64_t begin = 0; begin < row_count; begin += kLanes) {
      const int64_t lanes = std::min<int64_t>(kLanes, row_count - begin);
      for (int64_t c = 0; c < cols; ++c) {
        std::copy_n(w + c * stride + begin, lanes, tile[static_cast<size_t>(c)].begin());
      }
      const IntParameters p = fit_int_tile(grid_, tile.data(), cols, fit);
      const int64_t first = group * layout_.shape.rows + row_begin + begin;
      for (int64_t r = 0; r < lanes; ++r) {
        const auto at = static_cast<size_t>(first + r);
        const auto lane = static_cast<size_t>(r);
        scales_[at] = p.scale[lane];
        inverses_[at] = inverse_scale(p.scale[lane]);
        zeros_[at] = p.zero[lane];
      }
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    const int64_t first = (col / layout_.group_cols) * layout_.shape.rows + row_begin;
    const float* scale = scales_.data() + first;
    const float* inverse = inverses_.data() + first;
    const float* zero = zeros_.data() + first;
    uint8_t* code = codes_.data() + col * layout_.shape.rows + row_begin;
    for (int64_t r = 0; r < row_count; ++r) {
      const float nearest = nearest_int_code(w[r], inverse[r], zero[r], grid_.max_code);
      code[r] = static_cast<uint8_t>(static_cast<int32_t>(nearest));
      q[r] = scale[r] * (nearest - zero[r]);
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout_.total_bytes));
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    auto* out = reinterpret_cast<uint8_t*>(bytes.data());
    layout_.pack(codes_.data(), out);
    layout_.set_unit(grid_.unit, out);
    const int size = scale_bytes(layout_.scale_format);
    for (int64_t row = 0; row < layout_.shape.rows; ++row) {
      for (int64_t group = 0; group < layout_.groups; ++group) {
        const auto at = static_cast<size_t>(group * layout_.shape.rows + row);
        const uint32_t sign = std::signbit(scales_[at]) ? 1u << (8 * size - 1) : 0;
        const uint32_t scale =
            nearest_scale(layout_.scale_format, std::fabs(scales_[at]), grid_.unit) | sign;
        layout_.set_parameters(row, group, scale, static_cast<uint32_t>(zeros_[at]), out);
      }
    }
  }

 private:
  IntLayout layout_;
  IntGrid grid_;
  bool prepared_ = false;
  std::vector<uint8_t> codes_;   // [cols][rows]
  std::vector<float> scales_;    // [groups][rows], as are the next two
  std::vector<float> inverses_;  // of the scales
  std::vector<float> zeros_;
};

class IntCodec final : public Codec, public NestedCodec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(IntLayout(shape, options).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<IntEncoder>(IntLayout(shape, options));
  }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const IntLayout layout(shape, options);
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout.total_bytes));
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    std::vector<uint8_t> codes(static_cast<size_t>(shape.cols));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      layout.unpack_row(in, row, codes.data());
      for (int64_t group = 0; group < layout.groups; ++group) {
        const float scale = layout.scale(in, row, group);
        const float zero = layout.zero(in, row, group);
        const int64_t end = std::min((group + 1) * layout.group_cols, shape.cols);
        for (int64_t col = group * layout.group_cols; col < end; ++col) {
          *out++ = scale * (static_cast<float>(codes[static_cast<size_t>(col)]) - zero);
        }
      }
    }
  }

  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options& options) const override {
    return int_symbol_streams(IntLayout(shape, options));
  }

  void split_symbols(const MatrixShape& shape, const Options& options,
                     std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const override {
    split_int_symbols(IntLayout(shape, options), reinterpret_cast<const uint8_t*>(bytes.data()),
                      stream, begin, symbols);
  }

  void join_symbols(const MatrixShape& shape, const Options& options, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    join_int_symbols(IntLayout(shape, options), stream, begin, symbols,
                     reinterpret_cast<uint8_t*>(bytes.data()));
  }

  // The same groups at every width down to 2 bits.
  std::vector<Scheme> readings(const Options& options) const override {
    std::vector<Scheme> result;
    nlohmann::json json = options.to_json();
    for (int64_t bits = options.integer("bits") - 1; bits >= 2; --bits) {
      json["bits"] = bits;
      result.emplace_back(info_.id, json);
    }
    return result;
  }

  void read_as(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
               const Scheme& reading, std::span<std::byte> out) const override {
    const IntLayout from(shape, options);
    const IntLayout to(shape, reading.options);
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(from.total_bytes) &&
                    out.size() == static_cast<size_t>(to.total_bytes));
    read_int_codes(from, reinterpret_cast<const uint8_t*>(bytes.data()), to,
                   reinterpret_cast<uint8_t*>(out.data()));
  }

  ProductCost product_cost(const Options& options) const override {
    return {.bits = static_cast<int>(options.integer("bits"))};
  }

  // A unit is made of the largest scale, which coding may lower; binary32 rounds products.
  bool is_idempotent(const Options& options) const override {
    return options.text("scale") == "f16";
  }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format("int{} {}{}{}", options.integer("bits"),
                       group_label(options.integer("group")),
                       options.flag("symmetric") ? " sym" : "", scale == "f16" ? "" : " " + scale);
  }

 private:
  PartInfo info_{
      .id = "int",
      .summary = "uniform integers with a scale, and a zero point, per group of a row",
      .source =
          "Jacob et al. 2018, arXiv:1712.05877; groups: Yao et al. 2022, arXiv:2206.01861; read at "
          "fewer bits: Huang et al. 2025 (Double Rounding), arXiv:2502.01199",
      .options = {{"bits", int64_t{4}, "bits per code", 1, 8},
                  group_option(64),
                  {"symmetric", false, "no zero point: levels around 0"},
                  scale_option("f16")}};
};

const Registration<Codec, IntCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

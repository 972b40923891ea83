// Codec `bipolar`: odd multiples of half a step, a scale per group; the high bits of a code are the
// code of fewer bits.
#include <algorithm>
#include <cmath>

#include "codecs/grid.h"
#include "codecs/nested.h"
#include "core/error.h"

namespace bitsmith {
namespace {

// Code u of b bits has the level (2 u + 1 - 2^b) / 2^(b-1): the bits of u are signs, -1 or 1, of
// the powers 2^(i - b + 1). There is no zero, and no code beside the symmetric ones. The levels are
// the middles of the 2^b cells of [-2, 2], whatever b is, so that cutting off low bits gives the
// code of a wider cell under the same scale.
std::vector<float> bipolar_levels(int bits) {
  const int count = 1 << bits;
  std::vector<float> levels;
  for (int code = 0; code < count; ++code) {
    levels.push_back(std::ldexp(static_cast<float>(2 * code + 1 - count), 1 - bits));
  }
  return levels;
}

class BipolarCodec final : public GridCodec, public NestedCodec {
 public:
  const PartInfo& info() const override { return info_; }

  ProductCost product_cost(const Options& options) const override {
    return {.bits = static_cast<int>(options.integer("bits"))};
  }

  std::string label(const Options& options) const override {
    const std::string& scale = options.text("scale");
    return fmt::format("bipolar{} {}{}", options.integer("bits"),
                       group_label(options.integer("group")), scale == "f16" ? "" : " " + scale);
  }

  std::vector<Scheme> readings(const Options& options) const override {
    std::vector<Scheme> result;
    nlohmann::json json = options.to_json();
    for (int64_t bits = options.integer("bits") - 1; bits >= 1; --bits) {
      json["bits"] = bits;
      result.emplace_back(info_.id, json);
    }
    return result;
  }

  // Header and scales are the same.
  void read_as(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
               const Scheme& reading, std::span<std::byte> out) const override {
    const GroupedLayout from = layout(shape, format(options));
    const GroupedLayout to = layout(shape, format(reading.options));
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(from.total_bytes) &&
                    out.size() == static_cast<size_t>(to.total_bytes));
    std::ranges::copy(bytes.first(static_cast<size_t>(from.codes_offset)), out.begin());
    std::ranges::copy(bytes.subspan(static_cast<size_t>(from.parameters_offset)),
                      out.begin() + to.parameters_offset);
    const int64_t cut = options.integer("bits") - reading.options.integer("bits");
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data()) + from.codes_offset;
    std::vector<uint8_t> row_codes(static_cast<size_t>(shape.cols));
    std::vector<uint8_t> codes(static_cast<size_t>(shape.rows * shape.cols));  // [cols][rows]
    for (int64_t row = 0; row < shape.rows; ++row) {
      from.codes.unpack_row(in, row, row_codes.data());
      for (int64_t c = 0; c < shape.cols; ++c) {
        codes[static_cast<size_t>(c * shape.rows + row)] =
            static_cast<uint8_t>(row_codes[static_cast<size_t>(c)] >> cut);
      }
    }
    const auto packed = out.subspan(static_cast<size_t>(to.codes_offset),
                                    static_cast<size_t>(to.codes.code_bytes()));
    std::ranges::fill(packed, std::byte{0});
    to.codes.pack(codes.data(), reinterpret_cast<uint8_t*>(packed.data()));
  }

 protected:
  GridFormat format(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    return {.grids = {Grid(bipolar_levels(bits))},
            .bits = bits,
            .group = options.integer("group"),
            .scale = parse_scale_format(options.text("scale"))};
  }

 private:
  PartInfo info_{
      .id = "bipolar",
      .summary = "odd multiples of half a step, no zero; read at fewer bits by their high bits",
      .source =
          "Ma et al. 2024 (AP-LLM, bipolar-INT), arXiv:2409.17870; cutting bits: beside Huang et "
          "al. 2025 (Double Rounding), arXiv:2502.01199, which rounds them",
      .options = {
          {"bits", int64_t{4}, "bits per code", 1, 8}, group_option(64), scale_option("f16")}};
};

const Registration<Codec, BipolarCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

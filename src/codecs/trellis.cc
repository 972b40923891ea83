// Codec `trellis`: paths through a trellis of shift registers, tail-biting, values computed.
#include "codecs/trellis.h"

#include <cmath>
#include <cstring>

#include "codecs/code_planes.h"
#include "codecs/grouped.h"
#include "codecs/int_fit.h"
#include "codecs/trellis_viterbi.h"
#include "core/error.h"
#include "tensor/dtype.h"

namespace bitsmith {

TrellisLayout::TrellisLayout(const MatrixShape& shape_in, int bits_in, int64_t group, int quarters)
    : shape(shape_in), bits(bits_in), rate{4 * bits_in + quarters} {
  if (rate.quarters > 16) {
    fail(ErrorCode::kInvalidArgument, "codec 'trellis': at most 4 bits, not {} and {} quarters",
         bits, quarters);
  }
  if (group % kTileCols != 0) {
    fail(ErrorCode::kInvalidArgument,
         "codec 'trellis': groups of {} columns do not consist of tiles of {}", group, kTileCols);
  }
  const CodePlanes planes = CodePlanes::of_bits("trellis", shape, 1);  // checks the size
  tiles = ceil_div(shape.cols, kTileCols);
  group_tiles = group == 0 ? tiles : std::min(group / kTileCols, tiles);
  groups = tiles > 0 ? ceil_div(tiles, group_tiles) : 0;
  row_words = tiles > 0 ? (tiles - 1) * tile_words() + words_of(tile_cols(tiles - 1)) : 0;
  scales_offset = planes.panels * row_words * 64;
  total_bytes = scales_offset + round_up_to_vector(planes.panels * groups * 32);
}

alignas(64) const uint8_t TrellisLookup::kScramble[128] = {
    141, 229, 118, 154, 139, 233, 125, 30,  18,  243, 50,  121, 9,   206, 198, 16,  36,  149, 212,
    54,  44,  109, 80,  143, 108, 90,  55,  106, 19,  58,  74,  76,  104, 159, 227, 174, 65,  2,
    68,  88,  127, 207, 171, 112, 15,  168, 31,  13,  20,  183, 172, 225, 157, 192, 119, 152, 8,
    62,  205, 142, 129, 27,  165, 25,  133, 160, 51,  46,  123, 70,  34,  115, 194, 56,  7,   238,
    57,  164, 100, 237, 222, 203, 114, 173, 248, 169, 66,  59,  69,  196, 240, 162, 52,  10,  144,
    113, 47,  218, 77,  110, 85,  45,  22,  175, 216, 230, 38,  208, 184, 116, 197, 92,  132, 151,
    101, 146, 178, 226, 120, 163, 246, 182, 105, 73,  213, 42,  193, 49};

alignas(64) const uint8_t TrellisLookup::kMagnitude[128] = {
    0,  0,  1,  1,  1,  2,  2,  3,  3,  3,  4,  4,  4,  5,  5,  5,  6,   6,  7,  7,  7,  8,
    8,  9,  9,  9,  10, 10, 11, 11, 11, 12, 12, 13, 13, 13, 14, 14, 15,  15, 15, 16, 16, 17,
    17, 18, 18, 19, 19, 19, 20, 20, 21, 21, 22, 22, 23, 23, 24, 24, 25,  25, 26, 26, 27, 27,
    28, 28, 29, 29, 30, 30, 31, 31, 32, 33, 33, 34, 34, 35, 36, 36, 37,  37, 38, 39, 39, 40,
    41, 42, 42, 43, 44, 45, 45, 46, 47, 48, 49, 49, 50, 51, 52, 53, 54,  55, 56, 57, 59, 60,
    61, 62, 64, 65, 67, 68, 70, 72, 74, 76, 79, 81, 85, 88, 93, 99, 107, 127};

namespace {

std::vector<float> computed_values(const std::string& code) {
  std::vector<float> values(size_t{1} << kTrellisStateBits);
  for (uint32_t x = 0; x < values.size(); ++x) {
    if (code == "mul1") {
      const uint32_t y = x * 0x83dcd12du;
      const uint32_t sum = (y & 255u) + (y >> 8 & 255u) + (y >> 16 & 255u) + (y >> 24);
      values[x] = (static_cast<float>(sum) - 510.0F) / 128.0F;
      continue;
    }
    if (code == "lookup") {
      const uint32_t y = x >> 8 ^ TrellisLookup::kScramble[x & 127u];
      const float magnitude = static_cast<float>(TrellisLookup::kMagnitude[y & 127u]) / 64.0F;
      values[x] = y >> 7 != 0 ? magnitude : -magnitude;
      continue;
    }
    const uint32_t y = code == "mcg" ? x * 0xcbac1fedu : x * 89226354u + 64248484u;
    const uint32_t halves = (y & 0x8fff8fffu) ^ 0x3b603b60u;
    values[x] = f16_to_float(static_cast<uint16_t>(halves)) +
                f16_to_float(static_cast<uint16_t>(halves >> 16));
  }
  return values;
}

float root_mean_square(const float* x, int64_t n) {
  double power = 0;
  for (int64_t i = 0; i < n; ++i) power += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return n > 0 ? static_cast<float>(std::sqrt(power / static_cast<double>(n))) : 0.0F;
}

}  // namespace

const std::vector<float>& trellis_values(const std::string& code) {
  static const std::vector<float> inst = computed_values("3inst");
  static const std::vector<float> mcg = computed_values("mcg");
  static const std::vector<float> mul1 = computed_values("mul1");
  static const std::vector<float> lookup = computed_values("lookup");
  return code == "3inst" ? inst : code == "mcg" ? mcg : code == "mul1" ? mul1 : lookup;
}

namespace {

// Standard deviation of the values that is best for normal weights of standard deviation 1: few
// paths do better if they are shorter than the weights. Measured for 1 to 4 bits, between them on a
// line.
float best_deviation(const TrellisRate& rate) {
  constexpr float kBest[5] = {0.87F, 0.985F, 1.02F, 1.05F, 1.05F};
  const int whole = rate.quarters / 4 - 1;
  const float part = static_cast<float>(rate.quarters % 4) / 4.0F;
  return kBest[whole] + part * (kBest[whole + 1] - kBest[whole]);
}

TrellisLayout layout_of(const MatrixShape& shape, const Options& options) {
  return TrellisLayout(shape, static_cast<int>(options.integer("bits")), options.integer("group"),
                       static_cast<int>(options.integer("quarters")));
}

class TrellisEncoder final : public Encoder {
 public:
  TrellisEncoder(const TrellisLayout& layout, const std::vector<float>& values)
      : layout_(layout),
        values_(values),
        plain_factor_(best_deviation(layout.rate) /
                      root_mean_square(values.data(), static_cast<int64_t>(values.size()))),
        words_(static_cast<size_t>(layout.shape.rows * layout.row_words)),
        scales_(static_cast<size_t>(layout.shape.rows * layout.groups)) {}

  int64_t group_cols() const override {
    return std::max<int64_t>(layout_.group_tiles, 1) * TrellisLayout::kTileCols;
  }
  int64_t block_cols() const override { return TrellisLayout::kTileCols; }

  // Searches weigh each column's squared error.
  void prepare(std::span<const float>, const FitOptions& fit, ThreadPool&) override {
    if (fit.search_steps > 0 && usable_importance(fit.importance, layout_.shape.cols) != nullptr) {
      importance_.assign(fit.importance, fit.importance + layout_.shape.cols);
    }
  }

  // Plain: from the root mean square. Search: then from the codes of the first tile, Σ w v / Σ v².
  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions& fit) override {
    const int64_t cols = std::min(group_cols(), layout_.shape.cols - group * group_cols());
    std::vector<float> row(static_cast<size_t>(cols));
    std::unique_ptr<TrellisSearch> search;
    if (fit.search_steps > 0) search = std::make_unique<TrellisSearch>(layout_.rate, values_);
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      float& scale = scales_[static_cast<size_t>((row_begin + r) * layout_.groups + group)];
      scale = round_to_f16(root_mean_square(row.data(), cols) * plain_factor_);
      if (search == nullptr || scale == 0) continue;
      const int64_t tile = group * layout_.group_tiles;
      const std::vector<uint16_t> states = best_states(*search, row.data(), 1, tile, scale);
      double wv = 0;
      double vv = 0;
      for (int64_t c = 0; c < std::min(cols, TrellisLayout::kTileCols); ++c) {
        const auto v = static_cast<double>(values_[states[static_cast<size_t>(c)]]);
        wv += static_cast<double>(row[static_cast<size_t>(c)]) * v;
        vv += v * v;
      }
      if (wv > 0) scale = round_to_f16(static_cast<float>(wv / vv));
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t tile = col / TrellisLayout::kTileCols;
    TrellisSearch search(layout_.rate, values_);
    for (int64_t r = 0; r < row_count; ++r) {
      const int64_t row = row_begin + r;
      const float scale =
          scales_[static_cast<size_t>(row * layout_.groups + tile / layout_.group_tiles)];
      const std::vector<uint16_t> states = best_states(search, w + r, stride, tile, scale);
      const int64_t cols = std::min(TrellisLayout::kTileCols, layout_.shape.cols - col);
      for (int64_t c = 0; c < cols; ++c) {
        q[c * stride + r] = scale * values_[states[static_cast<size_t>(c)]];
      }
      store(row, tile, states);
    }
  }

  void finish(std::span<std::byte> bytes) const override {
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout_.total_bytes));
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    for (int64_t row = 0; row < layout_.shape.rows; ++row) {
      for (int64_t word = 0; word < layout_.row_words; ++word) {
        std::memcpy(bytes.data() + layout_.word_offset(row, word),
                    &words_[static_cast<size_t>(row * layout_.row_words + word)], 4);
      }
      for (int64_t group = 0; group < layout_.groups; ++group) {
        const uint16_t scale =
            float_to_f16(scales_[static_cast<size_t>(row * layout_.groups + group)]);
        std::memcpy(bytes.data() + layout_.scale_offset(row, group), &scale, 2);
      }
    }
  }

 private:
  // The states of a tile of one row, w[c * stride]; columns that fill it up do not count.
  std::vector<uint16_t> best_states(TrellisSearch& search, const float* w, int64_t stride,
                                    int64_t tile, float scale) const {
    const int64_t n = layout_.tile_cols(tile);
    const int64_t first = tile * TrellisLayout::kTileCols;
    const int64_t cols = std::min(n, layout_.shape.cols - first);
    std::vector<float> x(static_cast<size_t>(n));
    std::vector<float> weights(static_cast<size_t>(n));
    for (int64_t c = 0; c < cols; ++c) {
      const auto at = static_cast<size_t>(c);
      // Far outside, costs would grow beyond what float32 tells apart.
      if (scale > 0) x[at] = std::clamp(w[c * stride] / scale, -1e3F, 1e3F);
      weights[at] = importance_.empty() ? 1.0F : importance_[static_cast<size_t>(first + c)];
    }
    std::vector<uint16_t> states(static_cast<size_t>(n));
    const bool plain = importance_.empty() && cols == n;
    search.closed_path(x.data(), plain ? nullptr : weights.data(), n, states.data());
    return states;
  }

  // The lowest bits of each state, one after the other.
  void store(int64_t row, int64_t tile, const std::vector<uint16_t>& states) {
    uint32_t* words = words_.data() + row * layout_.row_words + tile * layout_.tile_words();
    const TrellisRate& rate = layout_.rate;
    std::fill_n(words, layout_.words_of(std::ssize(states)), 0u);
    for (int64_t t = 0; t < std::ssize(states); ++t) {
      const int64_t end = rate.begin(t + 1);
      for (int64_t i = rate.begin(t); i < end; ++i) {
        const uint32_t bit = states[static_cast<size_t>(t)] >> (end - 1 - i) & 1u;
        words[i / 32] |= bit << (31 - i % 32);
      }
    }
  }

  TrellisLayout layout_;
  const std::vector<float>& values_;
  float plain_factor_;             // scale / root mean square
  std::vector<float> importance_;  // [cols] or empty
  std::vector<uint32_t> words_;    // [rows][row_words]
  std::vector<float> scales_;      // [rows][groups]
};

class TrellisCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(layout_of(shape, options).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<TrellisEncoder>(layout_of(shape, options),
                                            trellis_values(options.text("code")));
  }

  // The scale is estimated from the root mean square.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const TrellisLayout layout = layout_of(shape, options);
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout.total_bytes));
    const std::vector<float>& values = trellis_values(options.text("code"));
    std::vector<uint32_t> words(static_cast<size_t>(layout.tile_words()));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      for (int64_t tile = 0; tile < layout.tiles; ++tile) {
        const int64_t n = layout.tile_cols(tile);
        for (int64_t i = 0; i < layout.words_of(n); ++i) {
          const int64_t word = tile * layout.tile_words() + i;
          std::memcpy(&words[static_cast<size_t>(i)], bytes.data() + layout.word_offset(row, word),
                      4);
        }
        uint16_t pattern;
        std::memcpy(&pattern, bytes.data() + layout.scale_offset(row, tile / layout.group_tiles),
                    2);
        const float scale = f16_to_float(pattern);
        const int64_t cols = std::min(n, shape.cols - tile * TrellisLayout::kTileCols);
        out = decode_tile(words, layout.rate, n, cols, scale, values, out);
      }
    }
  }

  std::string label(const Options& options) const override {
    const double bits = static_cast<double>(options.integer("bits")) +
                        static_cast<double>(options.integer("quarters")) / 4;
    return fmt::format("trellis{:g} {} {}", bits, options.text("code"),
                       group_label(options.integer("group")));
  }

 private:
  static float* decode_tile(const std::vector<uint32_t>& words, const TrellisRate& rate, int64_t n,
                            int64_t cols, float scale, const std::vector<float>& values,
                            float* out) {
    const int64_t length = rate.begin(n);
    const auto bit = [&](int64_t i) {
      return words[static_cast<size_t>(i / 32)] >> (31 - i % 32) & 1u;
    };
    uint32_t state = 0;
    for (int64_t i = length - kTrellisStateBits; i < length; ++i) state = state << 1 | bit(i);
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t i = rate.begin(c); i < rate.begin(c + 1); ++i) {
        state = (state << 1 | bit(i)) & 0xffffu;
      }
      *out++ = scale * values[state];
    }
    return out;
  }

  PartInfo info_{
      .id = "trellis",
      .summary = "closed paths through a trellis of 2^16 states, values computed",
      .source =
          "Tseng et al. 2024 (QTIP), arXiv:2406.11235; code mul1: ExLlamaV3; code lookup: our "
          "own; differs: tiles along rows, steps of unequal bits",
      .options = {
          {"bits", int64_t{2}, "bits per weight, whole ones", 1, 4},
          {"code",
           std::string("3inst"),
           "the function that computes values",
           -1e300,
           1e300,
           {"3inst", "mcg", "mul1", "lookup"}},
          {"group", int64_t{0}, "columns that share a scale, a multiple of 256; 0: the row", 0,
           1 << 20},
          {"quarters", int64_t{0},
           "of a bit more per weight, up to 4 bits: bits 1, quarters 2 are 1.5 bits", 0, 3}}};
};

const Registration<Codec, TrellisCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Codec `focused`: powers of two around the centres of two clusters of weights, or around zero.
#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <vector>

#include "codecs/gaussian_mixture.h"
#include "codecs/grid.h"
#include "codecs/plane_symbols.h"

namespace bitsmith {
namespace {

constexpr int64_t kHeaderBytes = 12;

// What the whole tensor shares, as the header holds it. Everything but the unit is a power of two,
// so that a product with a weight is shifts and additions:
//
//     byte 0      kind: 0 shift, 1 recentralized
//     byte 1      bit c: the mean of component c is negative
//     bytes 2, 3  exponent of the mean of component 0 and 1, int8
//     bytes 4, 5  exponent of the largest power of component 0 and 1, int8; shift: byte 4
//     bytes 6, 7  zero
//     bytes 8-11  unit, binary32
//
// A code of n bits is, from its highest bit:
//     shift           | sign | magnitude m, n - 1 bits |             unit * ± p(m)
//     recentralized   | component c | sign | m, n - 2 bits |         unit * (mean_c ± p_c(m))
// with p(0) = 0 and p(m) = 2^(exponent - largest m + m). Levels are rounded to binary32 and kept
// within its range.
struct Parameters {
  bool recentralized = false;
  std::array<bool, 2> negative = {false, false};
  std::array<int, 2> mean = {0, 0};
  std::array<int, 2> power = {0, 0};
  float unit = 0;

  std::vector<float> levels(int bits) const {
    const int count = 1 << bits;
    const int magnitude_bits = bits - (recentralized ? 2 : 1);
    const int largest = (1 << magnitude_bits) - 1;
    std::vector<float> result;
    for (int code = 0; code < count; ++code) {
      const auto c = static_cast<size_t>(recentralized ? code >> (bits - 1) : 0);
      const int m = code & largest;
      double level = m == 0 ? 0 : std::ldexp(1.0, power[c] - largest + m);
      if ((code >> magnitude_bits & 1) != 0) level = -level;
      if (recentralized) level += std::ldexp(negative[c] ? -1.0 : 1.0, mean[c]);
      level *= static_cast<double>(unit);
      result.push_back(static_cast<float>(
          std::clamp(level, -static_cast<double>(FLT_MAX), static_cast<double>(FLT_MAX))));
    }
    return result;
  }

  std::array<uint8_t, kHeaderBytes> to_header() const {
    std::array<uint8_t, kHeaderBytes> header{};
    header[0] = recentralized ? 1 : 0;
    for (size_t c = 0; c < 2; ++c) {
      header[1] |= static_cast<uint8_t>((negative[c] ? 1 : 0) << c);
      header[2 + c] = static_cast<uint8_t>(static_cast<int8_t>(mean[c]));
      header[4 + c] = static_cast<uint8_t>(static_cast<int8_t>(power[c]));
    }
    std::memcpy(header.data() + 8, &unit, sizeof(unit));
    return header;
  }

  static Parameters from_header(const uint8_t* header, int bits) {
    Parameters result;
    // Codes of 2 bits have no room for a component.
    result.recentralized = header[0] == 1 && bits > 2;
    for (size_t c = 0; c < 2; ++c) {
      result.negative[c] = (header[1] >> c & 1) != 0;
      result.mean[c] = static_cast<int8_t>(header[2 + c]);
      result.power[c] = static_cast<int8_t>(header[4 + c]);
    }
    std::memcpy(&result.unit, header + 8, sizeof(result.unit));
    if (!std::isfinite(result.unit)) result.unit = 0;
    return result;
  }
};

// The squared error of the values under the nearest of the levels.
double error_of(const Histogram1d& values, const Grid& grid) {
  double error = 0;
  for (size_t i = 0; i < values.centres.size(); ++i) {
    if (values.counts[i] == 0) continue;
    const double x = values.centres[i];
    const double q = grid.level(grid.nearest(static_cast<float>(x)));
    error += values.counts[i] * (x - q) * (x - q);
  }
  return error;
}

// The best of `candidates` under the values.
class Best {
 public:
  Best(const Histogram1d& values, int bits) : values_(values), bits_(bits) {}
  void consider(const Parameters& candidate) {
    if (!std::isfinite(candidate.unit) || candidate.unit <= 0) return;
    const double error = error_of(values_, Grid(candidate.levels(bits_)));
    if (found_ && error >= error_) return;
    found_ = true;
    error_ = error;
    best_ = candidate;
  }
  const Parameters& best() const { return best_; }

 private:
  const Histogram1d& values_;
  int bits_;
  bool found_ = false;
  double error_ = 0;
  Parameters best_;
};

// Units within a factor of two of each other; the exponents do the rest.
constexpr int kUnits = 24;
double unit_factor(int i) { return std::exp2((i - kUnits / 2) / static_cast<double>(kUnits)); }

Parameters fit_shift(const Histogram1d& values, double largest, int bits) {
  Best best(values, bits);
  for (int i = 0; i < kUnits; ++i) {
    for (int cut = -2; cut <= 0; ++cut) {
      Parameters candidate;
      candidate.unit = static_cast<float>(largest * unit_factor(i));
      candidate.power[0] = cut;
      best.consider(candidate);
    }
  }
  return best.best();
}

// The unit is about the larger mean; the other mean is the nearest power of two of it.
Parameters fit_recentralized(const Histogram1d& values, const GaussianMixture& mixture, int bits) {
  Best best(values, bits);
  const double larger = std::max(std::fabs(mixture.mean[0]), std::fabs(mixture.mean[1]));
  for (int i = 0; i < kUnits; ++i) {
    Parameters candidate;
    candidate.recentralized = true;
    candidate.unit = static_cast<float>(larger * unit_factor(i));
    std::array<int, 2> spread{};
    for (size_t c = 0; c < 2; ++c) {
      const auto exponent_of = [&](double x) {
        const double ratio = std::fabs(x) / static_cast<double>(candidate.unit);
        return std::clamp(static_cast<int>(std::lround(std::log2(std::max(ratio, 1e-9)))), -40, 40);
      };
      candidate.negative[c] = mixture.mean[c] < 0;
      candidate.mean[c] = exponent_of(mixture.mean[c]);
      spread[c] = exponent_of(mixture.deviation[c]);
    }
    // The outermost level lies one to four standard deviations from the mean.
    for (int first = 0; first <= 2; ++first) {
      for (int second = 0; second <= 2; ++second) {
        candidate.power = {spread[0] + first, spread[1] + second};
        best.consider(candidate);
      }
    }
  }
  return best.best();
}

class FocusedEncoder final : public GroupedEncoder {
 public:
  FocusedEncoder(const GroupedLayout& layout, int bits, double separation)
      : GroupedEncoder(layout), bits_(bits), separation_(separation), grid_({0.0F}) {}

  void prepare(std::span<const float> weights, const FitOptions&, ThreadPool&) override {
    const Parameters parameters = fit(weights);
    const auto header = parameters.to_header();
    for (size_t i = 0; i < header.size(); ++i) set_header(i, header[i]);
    grid_ = Grid(parameters.levels(bits_));
    prepared_ = true;
  }

  void fit_group(int64_t, int64_t, int64_t, const float*, int64_t, const FitOptions&) override {
    BITSMITH_ASSERT(prepared_);
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t /*stride: one column*/) override {
    for (int64_t r = 0; r < row_count; ++r) {
      const int nearest = grid_.nearest(w[r]);
      code(row_begin + r, col) = static_cast<uint16_t>(nearest);
      q[r] = grid_.level(nearest);
    }
  }

 private:
  Parameters fit(std::span<const float> weights) const {
    double largest = 0;
    for (const float w : weights) largest = std::max(largest, std::fabs(static_cast<double>(w)));
    // Smaller ones would have levels that float32 cannot tell apart.
    if (largest < 1e-30) return {};
    const Histogram1d values = make_histogram(weights);
    const Parameters shift = fit_shift(values, largest, bits_);
    if (bits_ <= 2) return shift;
    const GaussianMixture mixture = fit_mixture(values);
    if (mixture.separation() < separation_) return shift;
    return fit_recentralized(values, mixture, bits_);
  }

  int bits_;
  double separation_;
  Grid grid_;
  bool prepared_ = false;
};

class FocusedCodec final : public Codec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(layout(shape, options).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<FocusedEncoder>(layout(shape, options), bits_of(options),
                                            options.number("separation"));
  }

  // The clusters of decoded values are not those of the weights.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const GroupedLayout own = layout(shape, options);
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(own.total_bytes));
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    const int bits = bits_of(options);
    const std::vector<float> levels = Parameters::from_header(in, bits).levels(bits);
    std::vector<uint8_t> codes(static_cast<size_t>(shape.cols));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      own.codes.unpack_row(in + own.codes_offset, row, codes.data());
      for (const uint8_t code : codes) *out++ = levels[code];
    }
  }

  std::vector<SymbolStream> symbol_streams(const MatrixShape& shape,
                                           const Options& options) const override {
    return grouped_symbol_streams(layout(shape, options), bits_of(options));
  }
  void split_symbols(const MatrixShape& shape, const Options& options,
                     std::span<const std::byte> bytes, size_t stream, int64_t begin,
                     std::span<uint8_t> symbols) const override {
    split_grouped_symbols(layout(shape, options), reinterpret_cast<const uint8_t*>(bytes.data()),
                          stream, begin, symbols);
  }
  void join_symbols(const MatrixShape& shape, const Options& options, size_t stream, int64_t begin,
                    std::span<const uint8_t> symbols, std::span<std::byte> bytes) const override {
    join_grouped_symbols(layout(shape, options), stream, begin, symbols,
                         reinterpret_cast<uint8_t*>(bytes.data()));
  }

  // Activations of a cluster are added up and multiplied by its mean, a power of two, once.
  ProductCost product_cost(const Options&) const override { return {0, 1, 0, 0, true}; }

  std::string label(const Options& options) const override {
    return fmt::format("focused{}", bits_of(options));
  }

 private:
  static int bits_of(const Options& options) { return static_cast<int>(options.integer("bits")); }
  GroupedLayout layout(const MatrixShape& shape, const Options& options) const {
    return GroupedLayout(CodePlanes::of_bits(info_.id, shape, bits_of(options)), 0, kHeaderBytes,
                         {});
  }

  PartInfo info_{
      .id = "focused",
      .summary = "powers of two around the centres of two clusters, or around 0 if there is one",
      .source =
          "Zhao et al. 2019 (Focused Quantization), arXiv:1903.03046; differs: the component "
          "of a weight is that of the nearest level, not drawn from the mixture",
      .options = {
          {"bits", int64_t{4}, "bits per code, component and sign included", 2, 6},
          {"separation", 2.0,
           "Wasserstein separation of the clusters from which powers lie around them", 0, 1e6}}};
};

const Registration<Codec, FocusedCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

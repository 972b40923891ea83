// Codec `vector`: blocks of a row as sums of entries of vector codebooks.
#include <algorithm>
#include <cmath>
#include <limits>

#include "codecs/blocks.h"
#include "codecs/int_fit.h"
#include "codecs/vector_matrix.h"
#include "codecs/vector_search.h"
#include "codecs/vector_training.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

constexpr int kBeam = 4;         // sums that are kept after each stage
constexpr int kIterations = 50;  // of Lloyd's algorithm at most
constexpr int kJointRounds = 3;  // of joint improvement of several stages
constexpr int64_t kSamplePerEntry = 64;
constexpr int64_t kLeastSample = 1 << 15;  // 16 entries in the plane from 1024 blocks lose 6 %

struct Format {
  int64_t dim;
  int bits;
  int stages;
  bool per_position;
  bool scaled;
  int64_t group;

  explicit Format(const Options& options)
      : dim(options.integer("dim")),
        bits(static_cast<int>(options.integer("bits"))),
        stages(static_cast<int>(options.integer("stages"))),
        per_position(options.text("scope") == "position"),
        scaled(options.flag("scaled")),
        group(scaled ? options.integer("group") : 0) {}

  int64_t entries() const { return int64_t{1} << bits; }
  int64_t positions(const MatrixShape& shape) const {
    return per_position ? ceil_div(shape.cols, dim) : 1;
  }
  // Header: for each stage, for each position, the entries, each `dim` binary16.
  GroupedLayout layout(const MatrixShape& shape) const {
    constexpr int64_t kMaxCols = int64_t{1} << 40;  // the header's size does not overflow
    const int64_t cols = std::min(shape.cols, kMaxCols);
    const int64_t header = stages * (per_position ? ceil_div(cols, dim) : 1) * entries() * dim * 2;
    return block_layout("vector", shape, dim, bits * stages, group, header,
                        scaled ? std::vector<int>{2} : std::vector<int>{});
  }
  // Where a codebook starts, in numbers.
  int64_t codebook_offset(int64_t positions, int stage, int64_t position) const {
    return (stage * positions + position) * entries() * dim;
  }
};

// The codebooks of all stages at one position.
class Stages {
 public:
  Stages() = default;
  Stages(const Format& format, std::vector<std::vector<float>> codebooks)
      : dim_(format.dim), bits_(format.bits), codebooks_(std::move(codebooks)) {
    for (const auto& rows : codebooks_) tables_.emplace_back(dim_, format.entries(), rows.data());
  }

  int count() const { return static_cast<int>(codebooks_.size()); }
  const std::vector<std::vector<float>>& codebooks() const { return codebooks_; }
  const float* entry(int stage, uint64_t code) const {
    const uint64_t index = code >> (stage * bits_) & ((uint64_t{1} << bits_) - 1);
    return codebooks_[static_cast<size_t>(stage)].data() + static_cast<int64_t>(index) * dim_;
  }

  void decode(uint64_t code, float* x) const {
    std::fill_n(x, dim_, 0.0F);
    for (int stage = 0; stage < count(); ++stage) {
      const float* e = entry(stage, code);
      for (int64_t j = 0; j < dim_; ++j) x[j] += e[j];
    }
  }

  // Norms of all entries under weights, for encode(): [stages][entries].
  std::vector<std::vector<float>> norms(const float* weights) const {
    std::vector<std::vector<float>> result;
    for (const VectorTable& table : tables_) {
      result.emplace_back(static_cast<size_t>(table.entries));
      table.norms(weights, result.back().data());
    }
    return result;
  }

  // The code of a near sum: stage by stage, from each of the best kBeam sums so far.
  uint64_t encode(const float* x, const float* weights,
                  const std::vector<std::vector<float>>& norms) const {
    const auto dim = static_cast<size_t>(dim_);
    std::vector<Candidate> beam(1);
    beam[0].rest.assign(x, x + dim_);
    std::vector<float> wx(dim);
    for (int stage = 0; stage < count(); ++stage) {
      const VectorTable& table = tables_[static_cast<size_t>(stage)];
      std::vector<float> scores(static_cast<size_t>(table.entries));
      const int keep = stage + 1 < count() ? kBeam : 1;
      std::vector<Candidate> next;
      for (const Candidate& from : beam) {
        for (size_t j = 0; j < dim; ++j) {
          wx[j] = (weights != nullptr ? weights[j] : 1.0F) * from.rest[j];
        }
        table.scores(wx.data(), norms[static_cast<size_t>(stage)].data(), scores.data());
        for (int i = 0; i < keep; ++i) {
          const int64_t best = smallest_score(scores);
          const float score = from.score + scores[static_cast<size_t>(best)];
          scores[static_cast<size_t>(best)] = std::numeric_limits<float>::infinity();
          if (i > 0 && !std::isfinite(score)) break;
          const uint64_t code = from.code | static_cast<uint64_t>(best) << (stage * bits_);
          next.push_back({score, code, {}});
        }
      }
      std::ranges::stable_sort(next, {}, &Candidate::score);
      next.resize(std::min(next.size(), static_cast<size_t>(keep)));
      for (Candidate& candidate : next) {
        candidate.rest.assign(x, x + dim_);
        for (int s = 0; s <= stage; ++s) {
          const float* e = entry(s, candidate.code);
          for (size_t j = 0; j < dim; ++j) candidate.rest[j] -= e[j];
        }
      }
      beam = std::move(next);
    }
    return beam[0].code;
  }

 private:
  struct Candidate {
    float score = 0;  // weighted squared distance, less the same constant for all
    uint64_t code = 0;
    std::vector<float> rest;  // x - sum
  };

  int64_t dim_ = 0;
  int bits_ = 0;
  std::vector<std::vector<float>> codebooks_;  // [stages][entries * dim]
  std::vector<VectorTable> tables_;
};

// Trains the codebooks of one position; entries are binary16 in the end.
class Training {
 public:
  Training(const Format& format, VectorSample sample, int64_t position, ThreadPool& pool)
      : format_(format), sample_(std::move(sample)), pool_(pool) {
    for (int stage = 0; stage < format.stages; ++stage) {
      const std::string stream = fmt::format("vector/{}/{}", position, stage);
      VectorSample rest = sample_;
      if (stage > 0) rest.x = residuals(Stages(format, codebooks_));
      codebooks_.push_back(cluster_vectors(rest, format.entries(), kIterations, stream, pool));
      round(codebooks_.back());
    }
    for (int i = 0; i < kJointRounds && format.stages > 1; ++i) improve();
  }

  Stages result() const { return Stages(format_, codebooks_); }

 private:
  static void round(std::vector<float>& entries) {
    for (float& e : entries) e = round_to_f16(e);
  }

  std::vector<uint64_t> encode(const Stages& stages) const {
    std::vector<uint64_t> codes(static_cast<size_t>(sample_.count()));
    const auto plain = stages.norms(nullptr);
    constexpr int64_t kPart = 256;
    pool_.run(ceil_div(sample_.count(), kPart), [&](int64_t part, int) {
      for (int64_t i = part * kPart; i < std::min((part + 1) * kPart, sample_.count()); ++i) {
        const float* weights =
            sample_.weights.empty() ? nullptr : sample_.weights.data() + i * sample_.dim;
        codes[static_cast<size_t>(i)] =
            stages.encode(sample_.x.data() + i * sample_.dim, weights,
                          weights == nullptr ? plain : stages.norms(weights));
      }
    });
    return codes;
  }

  std::vector<float> residuals(const Stages& stages) const {
    const std::vector<uint64_t> codes = encode(stages);
    std::vector<float> rest = sample_.x;
    std::vector<float> sum(static_cast<size_t>(sample_.dim));
    for (int64_t i = 0; i < sample_.count(); ++i) {
      stages.decode(codes[static_cast<size_t>(i)], sum.data());
      for (int64_t j = 0; j < sample_.dim; ++j) {
        rest[static_cast<size_t>(i * sample_.dim + j)] -= sum[static_cast<size_t>(j)];
      }
    }
    return rest;
  }

  // New codes for all vectors, then new entries stage by stage: the weighted mean of what the other
  // stages leave over.
  void improve() {
    const std::vector<uint64_t> codes = encode(Stages(format_, codebooks_));
    std::vector<float> sum(static_cast<size_t>(sample_.dim));
    for (int stage = 0; stage < format_.stages; ++stage) {
      const Stages stages(format_, codebooks_);
      std::vector<float>& entries = codebooks_[static_cast<size_t>(stage)];
      std::vector<double> sums(entries.size());
      std::vector<double> weights(entries.size());
      for (int64_t i = 0; i < sample_.count(); ++i) {
        const uint64_t code = codes[static_cast<size_t>(i)];
        stages.decode(code, sum.data());
        const float* own = stages.entry(stage, code);
        const uint64_t index = code >> (stage * format_.bits) & ((uint64_t{1} << format_.bits) - 1);
        for (int64_t j = 0; j < sample_.dim; ++j) {
          const auto from = static_cast<size_t>(i * sample_.dim + j);
          const size_t at = static_cast<size_t>(index) * static_cast<size_t>(sample_.dim) +
                            static_cast<size_t>(j);
          const double weight =
              sample_.weights.empty() ? 1.0 : static_cast<double>(sample_.weights[from]);
          const float target = sample_.x[from] - sum[static_cast<size_t>(j)] + own[j];
          sums[at] += weight * static_cast<double>(target);
          weights[at] += weight;
        }
      }
      for (size_t at = 0; at < entries.size(); ++at) {
        if (weights[at] > 0) entries[at] = static_cast<float>(sums[at] / weights[at]);
      }
      round(entries);
    }
  }

  const Format& format_;
  VectorSample sample_;
  ThreadPool& pool_;
  std::vector<std::vector<float>> codebooks_;
};

class VectorEncoder final : public BlockEncoderOf<uint64_t> {
 public:
  VectorEncoder(const Format& format, const MatrixShape& shape)
      : BlockEncoderOf(format.layout(shape), shape, format.dim), format_(format) {
    if (format.scaled) scales_.resize(static_cast<size_t>(layout_.groups * shape.rows));
  }

  void prepare(std::span<const float> weights, const FitOptions& fit, ThreadPool& pool) override {
    const int64_t cols = shape_.cols;
    if (fit.search_steps > 0 && usable_importance(fit.importance, cols) != nullptr) {
      importance_.assign(fit.importance, fit.importance + cols);
      importance_.resize(static_cast<size_t>(ceil_div(cols, dim_) * dim_));
    } else if (cols % dim_ != 0) {
      importance_.assign(static_cast<size_t>(cols), 1.0F);  // columns that fill up do not count
      importance_.resize(static_cast<size_t>(ceil_div(cols, dim_) * dim_));
    }
    const int64_t positions = format_.positions(shape_);
    const int64_t rows = cols > 0 ? static_cast<int64_t>(weights.size()) / cols : 0;
    for (int64_t position = 0; position < positions; ++position) {
      const Training training(format_, sample(weights, rows, position), position, pool);
      positions_.push_back(training.result());
      for (int stage = 0; stage < format_.stages; ++stage) {
        const auto& entries = positions_.back().codebooks()[static_cast<size_t>(stage)];
        const int64_t first = format_.codebook_offset(positions, stage, position);
        for (size_t i = 0; i < entries.size(); ++i) {
          set_header(2 * (static_cast<size_t>(first) + i), float_to_f16(entries[i]));
        }
      }
    }
  }

  void fit_group(int64_t group, int64_t row_begin, int64_t row_count, const float* w,
                 int64_t stride, const FitOptions&) override {
    if (!format_.scaled) return;
    const int64_t cols = columns_in_group(group);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < row_count; ++r) {
      gather_row(w + r, cols, stride, row.data());
      const float scale = scale_of(row);
      scales_[group_index(row_begin + r, group)] = scale;
      parameter(row_begin + r, group, 0) = float_to_f16(scale);
    }
  }

  void quantize(int64_t col, int64_t row_begin, int64_t row_count, const float* w, float* q,
                int64_t stride) override {
    const int64_t block = col / dim_;
    BITSMITH_ASSERT(!positions_.empty());
    const Stages& stages = positions_[format_.per_position ? static_cast<size_t>(block) : 0];
    const float* weights = importance_.empty() ? nullptr : importance_.data() + col;
    const auto norms = stages.norms(weights);
    std::vector<float> x;
    std::vector<float> sum(static_cast<size_t>(dim_));
    for (int64_t r = 0; r < row_count; ++r) {
      gather_blocks(w + r, col, dim_, stride, x);
      const float scale =
          format_.scaled ? scales_[group_index(row_begin + r, block / layout_.group_cols)] : 1.0F;
      for (float& number : x) number = scale > 0 ? number / scale : 0.0F;
      uint64_t& at = code(row_begin + r, block);
      at = stages.encode(x.data(), weights, norms);
      stages.decode(at, sum.data());
      for (float& number : sum) number *= scale;
      scatter_block(sum.data(), col, stride, q + r);
    }
  }

 private:
  // The root mean square of a group, as it is stored.
  static float scale_of(std::span<const float> w) {
    double power = 0;
    for (const float x : w) power += static_cast<double>(x) * static_cast<double>(x);
    const double mean = w.empty() ? 0 : power / static_cast<double>(w.size());
    return round_to_f16(static_cast<float>(std::sqrt(mean)));
  }

  // At most kSamplePerEntry blocks for each entry (or kLeastSample in all), evenly spread over the
  // matrix.
  VectorSample sample(std::span<const float> weights, int64_t rows, int64_t position) const {
    const int64_t per_row = format_.per_position ? 1 : ceil_div(shape_.cols, dim_);
    const int64_t all = rows * per_row;
    const int64_t count =
        std::min(all, std::max(kLeastSample, format_.entries() * kSamplePerEntry));
    const bool weighted = !importance_.empty() || format_.scaled;
    VectorSample result{.dim = dim_, .x = {}, .weights = {}};
    for (int64_t i = 0; i < count; ++i) {
      const int64_t number = i * all / count;
      const int64_t row = number / per_row;
      const int64_t block = format_.per_position ? position : number % per_row;
      const auto of_row =
          weights.subspan(static_cast<size_t>(row * shape_.cols), static_cast<size_t>(shape_.cols));
      float scale = 1.0F;
      if (format_.scaled) {
        const int64_t group = block / layout_.group_cols;
        scale = scale_of(of_row.subspan(static_cast<size_t>(group * group_cols()),
                                        static_cast<size_t>(columns_in_group(group))));
      }
      for (int64_t c = block * dim_; c < (block + 1) * dim_; ++c) {
        const float w = c < shape_.cols ? of_row[static_cast<size_t>(c)] : 0.0F;
        result.x.push_back(scale > 0 ? w / scale : 0.0F);
        if (!weighted) continue;
        const float counts = importance_.empty() ? 1.0F : importance_[static_cast<size_t>(c)];
        result.weights.push_back(counts * (format_.scaled ? std::min(scale * scale, 1e30F) : 1.0F));
      }
    }
    return result;
  }

  Format format_;
  std::vector<float> importance_;  // [blocks * dim] or empty
  std::vector<Stages> positions_;
  std::vector<float> scales_;  // [groups][rows]
};

class VectorCodec final : public Codec, public BlockCodec {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override {
    return static_cast<uint64_t>(Format(options).layout(shape).total_bytes);
  }

  std::unique_ptr<Encoder> encoder(const MatrixShape& shape,
                                   const Options& options) const override {
    return std::make_unique<VectorEncoder>(Format(options), shape);
  }

  // Codebooks are trained from random vectors.
  bool is_idempotent(const Options&) const override { return false; }

  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override {
    const Format format(options);
    const GroupedLayout layout = format.layout(shape);
    BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout.total_bytes));
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    const int64_t positions = format.positions(shape);
    std::vector<uint64_t> codes(static_cast<size_t>(layout.shape().cols));
    for (int64_t row = row_begin; row < row_begin + row_count; ++row) {
      layout.codes.unpack_row(in + layout.codes_offset, row, codes.data());
      for (int64_t col = 0; col < shape.cols; ++col) {
        const int64_t block = col / format.dim;
        const uint64_t code = codes[static_cast<size_t>(block)];
        float sum = 0.0F;
        for (int stage = 0; stage < format.stages; ++stage) {
          const auto index = static_cast<int64_t>(code >> (stage * format.bits) &
                                                  ((uint64_t{1} << format.bits) - 1));
          const int64_t codebook =
              format.codebook_offset(positions, stage, format.per_position ? block : 0);
          const int64_t number = codebook + index * format.dim + col % format.dim;
          uint16_t pattern;
          std::memcpy(&pattern, in + 2 * number, sizeof(pattern));
          sum += f16_to_float(pattern);
        }
        float scale = 1.0F;
        if (format.scaled) {
          const uint32_t pattern = layout.read_parameter(in, row, block / layout.group_cols, 0);
          scale = f16_to_float(static_cast<uint16_t>(pattern));
        }
        *out++ = sum * scale;
      }
    }
  }

  // Nothing where each position has codebooks of its own.
  std::optional<VectorMatrix> vector_matrix(const MatrixShape& shape, const Options& options,
                                            std::span<const std::byte> bytes) const override {
    const Format format(options);
    if (format.per_position) return std::nullopt;
    VectorMatrix matrix{.layout = format.layout(shape), .dim = format.dim, .bits = format.bits};
    for (int stage = 0; stage < format.stages; ++stage) {
      auto& entries =
          matrix.codebooks.emplace_back(static_cast<size_t>(format.entries() * format.dim));
      for (size_t i = 0; i < entries.size(); ++i) {
        uint16_t pattern;
        const auto at = static_cast<size_t>(format.codebook_offset(1, stage, 0)) + i;
        std::memcpy(&pattern, bytes.data() + 2 * at, sizeof(pattern));
        entries[i] = f16_to_float(pattern);
      }
    }
    return matrix;
  }

  std::string label(const Options& options) const override {
    const Format format(options);
    return fmt::format("vector d{} {}x{}b{}{}", format.dim, format.stages, format.bits,
                       format.per_position ? " product" : "",
                       format.scaled ? fmt::format(" {}", group_label(format.group)) : "");
  }

 private:
  PartInfo info_{
      .id = "vector",
      .summary = "blocks of a row as sums of entries of vector codebooks",
      .source =
          "GPTVQ, arXiv:2402.15319; VPTQ, arXiv:2409.17066; sums: Egiazarian et al. 2024 "
          "(AQLM), arXiv:2401.06118; product: Jégou et al. 2011; differs: beam search, "
          "codebooks of binary16",
      .options = {{"dim", int64_t{4}, "columns of a block", 2, 8},
                  {"bits", int64_t{8}, "bits of an index", 2, 12},
                  {"stages", int64_t{1}, "entries in a sum, each of its own codebook", 1, 4},
                  {"scope",
                   std::string("tensor"),
                   "what shares codebooks: the tensor, or the blocks of one position (product)",
                   -1e300,
                   1e300,
                   {"tensor", "position"}},
                  {"scaled", false, "a scale per group of a row"},
                  group_option(128)}};
};

const Registration<Codec, VectorCodec> kRegistration;

}  // namespace
}  // namespace bitsmith

// Linear layers with weights of vector codebooks, multiplied as integers where they lie.
#include <algorithm>
#include <cmath>
#include <string>

#include "codecs/vector_matrix.h"
#include "runtime/kernels/aligned.h"
#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/kernel_family.h"
#include "runtime/kernels/vector_job.h"

namespace bitsmith {
namespace {

constexpr int64_t kActivationGroup = 32;

// Entries as numbers, in units of the largest / 127: each is off by at most half a unit. Nothing
// for infinite ones, nor where that would matter: where unit² / 12 for each stage is more than 10 %
// of what a code of as many bits loses at least, 2^(-2 bits per weight) of the entries' mean
// square.
struct EntryTables {
  float unit = 0;
  AlignedArray<uint8_t> numbers;  // VectorJob::tables
};

std::optional<EntryTables> make_tables(const VectorMatrix& matrix) {
  float largest = 0;
  double power = 0;
  for (const auto& entries : matrix.codebooks) {
    double sum = 0;
    for (const float entry : entries) {
      if (!std::isfinite(entry)) return std::nullopt;
      largest = std::max(largest, std::fabs(entry));
      sum += static_cast<double>(entry) * static_cast<double>(entry);
    }
    power += sum / static_cast<double>(entries.size());
  }
  const auto stages = static_cast<int64_t>(matrix.codebooks.size());
  EntryTables tables;
  tables.unit = largest / 127.0F;
  const double noise = static_cast<double>(stages) * std::pow(tables.unit, 2.0) / 12;
  const double bits = static_cast<double>(stages * matrix.bits) / static_cast<double>(matrix.dim);
  if (noise > 0.1 * std::pow(2.0, -2 * bits) * power) return std::nullopt;
  tables.numbers = AlignedArray<uint8_t>(stages * matrix.dim * VectorJob::kEntries);
  uint8_t* number = tables.numbers.data();
  for (const auto& entries : matrix.codebooks) {
    for (int64_t element = 0; element < matrix.dim; ++element) {
      for (int64_t code = 0; code < VectorJob::kEntries; ++code) {
        const float entry = entries[static_cast<size_t>(code * matrix.dim + element)];
        const float rounded = tables.unit > 0 ? std::nearbyint(entry / tables.unit) : 0.0F;
        *number++ = static_cast<uint8_t>(static_cast<int32_t>(rounded) + VectorJob::kEntryOffset);
      }
    }
  }
  return tables;
}

class VectorKernel final : public LinearKernel {
 public:
  VectorKernel(const VectorMatrix& matrix, const MatrixShape& shape,
               std::span<const std::byte> bytes, EntryTables tables)
      : layout_(matrix.layout),
        shape_(shape),
        dim_(matrix.dim),
        stages_(static_cast<int>(matrix.codebooks.size())),
        tables_(std::move(tables)),
        name_(fmt::format("int8 dot product of vector entries, {}", int_dot_name())) {
    const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
    codes_ = in + layout_.codes_offset;
    if (layout_.parameter_count() > 0) {
      scales_ = GroupScales(layout_, in, 0, ScaleFormat::kF16, tables_.unit);
    } else {
      scales_.factor = tables_.unit;
    }
  }

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == shape_.cols && y_stride >= shape_.rows);
    if (x.tokens() == 0 || layout_.codes.panels == 0) return;
    VectorJob job;
    job.shape = shape_;
    job.scales = scales_;
    job.group_cols = layout_.group_cols * dim_;
    job.offset = VectorJob::kEntryOffset * stages_;
    job.radix_bits = VectorJob::kRadixBits;
    job.x = &x.int8(kActivationGroup, pool);
    job.tokens = x.tokens();
    job.y = y;
    job.y_stride = y_stride;
    job.planes = &layout_.codes;
    job.codes = codes_;
    job.dim = dim_;
    job.stages = stages_;
    job.tables = tables_.numbers.data();
    std::vector<int8_t> x_by_element;
    if (job.tokens == 1) {
      x_by_element = codes_by_element(job.x->codes, dim_);
      job.x_by_element = x_by_element.data();
    }
    for_panel_ranges(layout_.codes.panels, x.tokens(), job.scratch_bytes(), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_vectors(job, range, scratch);
                     });
  }

  std::string_view name() const override { return name_; }

 private:
  GroupedLayout layout_;
  MatrixShape shape_;
  int64_t dim_;
  int stages_;
  EntryTables tables_;
  GroupScales scales_;
  const uint8_t* codes_;
  std::string name_;
};

class VectorKernels final : public LinearKernelFamily {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {"vector", "integer dot products of entries of codebooks", ""};
    return info;
  }

  bool takes(const Codec& codec) const override {
    return dynamic_cast<const BlockCodec*>(&codec) != nullptr;
  }

  // Indices of 8 bits, blocks of 2, 4 or 8 columns, codebooks of the tensor.
  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const auto& codec = dynamic_cast<const BlockCodec&>(*weights.scheme.codec);
    const auto matrix =
        codec.vector_matrix(weights.matrix(), weights.scheme.options, weights.bytes);
    if (!matrix || matrix->bits != 8) return nullptr;
    if (matrix->dim != 2 && matrix->dim != 4 && matrix->dim != 8) return nullptr;
    const GroupedLayout& layout = matrix->layout;
    if (layout.groups > 1 && layout.group_cols * matrix->dim % kActivationGroup != 0) {
      return nullptr;
    }
    auto tables = make_tables(*matrix);
    if (!tables) return nullptr;
    return std::make_unique<VectorKernel>(*matrix, weights.matrix(), weights.bytes,
                                          std::move(*tables));
  }
};

const Registration<LinearKernelFamily, VectorKernels> registration;

}  // namespace
}  // namespace bitsmith

// Linear layers with weights that are a scale times a level of a table, multiplied as integers
// where they lie: minifloats, NF4, MX formats, NVFP4, powers of two, codebooks.
#include "codecs/level_matrix.h"

#include <algorithm>
#include <string>

#include "runtime/kernels/kernel_family.h"
#include "runtime/kernels/level_panels.h"

namespace bitsmith {
namespace {

// The length of activation groups so that each lies inside one group of weights: 32, or 16 if the
// kernels have that; 0 if there is none.
int64_t activation_group(const LevelMatrix& matrix) {
  const GroupedLayout& layout = matrix.layout;
  if (layout.groups <= 1 || layout.group_cols % 32 == 0) return 32;
  return matrix.bits == 4 && layout.group_cols % 16 == 0 ? 16 : 0;
}

// The tables of all rows as LevelJob::row_tables, and the units of the rows.
struct RowTables {
  RowTables() = default;
  RowTables(const std::vector<LevelTable>& rows, int64_t panels) {
    const int64_t planes = rows.empty() || !rows[0].wide ? 1 : 2;
    const int64_t panel_bytes = planes * LevelJob::kRowTableBytes;
    tables.resize(static_cast<size_t>(panels * panel_bytes));
    units.resize(static_cast<size_t>(panels * CodePlanes::kPanelRows));
    for (size_t row = 0; row < rows.size(); ++row) {
      units[row] = rows[row].unit;
      uint8_t* low = tables.data() + static_cast<int64_t>(row / 16) * panel_bytes + row % 16 * 16;
      std::ranges::copy(rows[row].low, low);
      if (planes == 2) std::ranges::copy(rows[row].high, low + LevelJob::kRowTableBytes);
    }
  }

  std::vector<uint8_t> tables;
  std::vector<float> units;
};

class LevelKernel final : public LinearKernel {
 public:
  // With row_tables, `table` only gives their kind and offset.
  LevelKernel(const LevelMatrix& matrix, std::span<const std::byte> bytes, LevelTable table,
              RowTables row_tables)
      : layout_(matrix.layout),
        bits_(matrix.bits),
        codes_(reinterpret_cast<const uint8_t*>(bytes.data()) + layout_.codes_offset),
        table_(std::move(table)),
        row_tables_(std::move(row_tables)),
        activation_group_(activation_group(matrix)),
        name_(fmt::format("int8 dot product of {}-bit levels, {}",
                          table_.wide                  ? 14
                          : row_tables_.tables.empty() ? 7
                                                       : 8,
                          int_dot_name())) {
    if (!row_tables_.units.empty()) {
      scales_.kind = ScaleKind::kRow;
      scales_.row_factors = row_tables_.units.data();
    } else if (matrix.is_scaled) {
      scales_ = GroupScales(layout_, reinterpret_cast<const uint8_t*>(bytes.data()), 0,
                            matrix.scale, table_.unit * matrix.tensor_scale);
    } else {
      scales_.factor = table_.unit;
    }
  }

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == layout_.shape().cols && y_stride >= layout_.shape().rows);
    if (x.tokens() == 0 || layout_.codes.panels == 0) return;
    LevelJob job;
    job.shape = layout_.shape();
    job.offset = table_.offset;
    job.radix_bits = table_.wide ? 7 : row_tables_.tables.empty() ? 0 : NumberJob::kOneByte;
    job.planes = &layout_.codes;
    job.bits = bits_;
    job.codes = codes_;
    job.table = &table_;
    job.row_tables = row_tables_.tables.empty() ? nullptr : row_tables_.tables.data();
    job.scales = scales_;
    job.group_cols = layout_.group_cols;
    job.x = &x.int8(activation_group_, pool);
    job.tokens = x.tokens();
    job.y = y;
    job.y_stride = y_stride;
    for_panel_ranges(layout_.codes.panels, x.tokens(), job.scratch_bytes(), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_levels(job, range, scratch);
                     });
  }

  std::string_view name() const override { return name_; }

 private:
  GroupedLayout layout_;
  int bits_;
  const uint8_t* codes_;
  LevelTable table_;
  RowTables row_tables_;
  GroupScales scales_;
  int64_t activation_group_;
  std::string name_;
};

class LevelKernels final : public LinearKernelFamily {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {"levels", "integer dot products of levels of tables", ""};
    return info;
  }

  bool takes(const Codec& codec) const override {
    return dynamic_cast<const LevelCodec*>(&codec) != nullptr;
  }

  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const auto& codec = dynamic_cast<const LevelCodec&>(*weights.scheme.codec);
    const auto matrix = codec.level_matrix(weights.matrix(), weights.scheme.options, weights.bytes);
    if (!matrix || matrix->tables.empty() || activation_group(*matrix) == 0 ||
        matrix->scale == ScaleFormat::kF32) {
      return nullptr;
    }
    BITSMITH_ASSERT(!matrix->table_per_row || matrix->bits <= LevelMatrix::kMaxRowBits);
    std::optional<LevelTable> table;
    RowTables rows;
    if (matrix->table_per_row) {
      const std::vector<LevelTable> tables = make_row_level_tables(matrix->tables);
      if (tables.empty()) return nullptr;
      table = {.offset = tables[0].offset, .wide = tables[0].wide};
      rows = RowTables(tables, matrix->layout.codes.panels);
    } else {
      table = make_level_table(matrix->tables[0]);
      if (table && matrix->bits > 4 && matrix->bits != 6) table->wide = true;
    }
    if (!table) return nullptr;
    return std::make_unique<LevelKernel>(*matrix, weights.bytes, std::move(*table),
                                         std::move(rows));
  }
};

const Registration<LinearKernelFamily, LevelKernels> registration;

}  // namespace
}  // namespace bitsmith

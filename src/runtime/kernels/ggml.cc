// Linear layers with weights in ggml's blocks, multiplied as integers after they were rearranged
// into panels, at the first use. Blocks of whole numbers times a binary16 are the codec `int` in
// another order; the others have a kernel of their own (block_job.h).
#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "codecs/ggml_block.h"
#include "codecs/int_layout.h"
#include "core/huge_memory.h"
#include "runtime/kernels/block_job.h"
#include "runtime/kernels/int_panels.h"
#include "runtime/kernels/kernel_family.h"

namespace bitsmith {
namespace {

int bits_of(const GgmlFormat& format) { return std::bit_width(format.levels.size() - 1); }

// Levels 0 - zero, 1 - zero, ...
bool is_uniform(const GgmlFormat& format) {
  for (size_t i = 1; i < format.levels.size(); ++i) {
    if (format.levels[i] != format.levels[0] + static_cast<float>(i)) return false;
  }
  return true;
}

// The blocks of up to 16 rows at once: codes to the planes of a panel, and headers to a callback.
class PanelPacker {
 public:
  PanelPacker(const GgmlFormat& format, const CodePlanes& planes)
      : format_(format),
        planes_(planes),
        quads_(static_cast<size_t>(planes.quads * CodePlanes::kVectorBytes)) {}

  //   blocks  of the panel's first row; row_bytes from one row to the next
  //   out     [panel_code_bytes]
  //   header(row, block, const GgmlHeader&)
  template <class Header>
  void pack(const uint8_t* blocks, int64_t row_bytes, int64_t rows, uint8_t* out,
            const Header& header) {
    if (rows < CodePlanes::kPanelRows) std::ranges::fill(quads_, uint8_t{0});
    const int64_t count = planes_.shape.cols / format_.block_cols;
    for (int64_t row = 0; row < rows; ++row) {
      uint8_t* to = quads_.data() + row * 4;
      const uint8_t* from = blocks + row * row_bytes;
      for (int64_t block = 0; block < count; ++block, from += format_.block_bytes) {
        GgmlHeader unpacked;
        GgmlCodes codes;
        format_.unpack(from, unpacked, codes);
        header(row, block, unpacked);
        for (int64_t c = 0; c < format_.block_cols; c += 4, to += CodePlanes::kVectorBytes) {
          std::memcpy(to, codes.data() + c, 4);
        }
      }
    }
    for (int i = 0; i < planes_.plane_count; ++i) {
      pack_plane(planes_.planes[static_cast<size_t>(i)], out);
    }
  }

 private:
  void pack_plane(const CodePlanes::Plane& plane, uint8_t* out) const {
    const int mask = (1 << plane.width) - 1;
    uint8_t* to = out + plane.offset_bytes;
    for (int64_t quad = 0; quad < planes_.quads; ++quad) {
      const uint8_t* from = quads_.data() + quad * CodePlanes::kVectorBytes;
      const int64_t place = quad % plane.per_vector;
      const int left = static_cast<int>(place) * plane.width;
      for (int64_t j = 0; j < CodePlanes::kVectorBytes; ++j) {
        const int digit = (from[j] >> plane.shift & mask) << left;
        to[j] = static_cast<uint8_t>(place == 0 ? digit : to[j] | digit);
      }
      if (place == plane.per_vector - 1) to += CodePlanes::kVectorBytes;
    }
  }

  const GgmlFormat& format_;
  const CodePlanes& planes_;
  std::vector<uint8_t> quads_;  // [quads][64]
};

class GgmlKernel : public LinearKernel {
 public:
  GgmlKernel(const CodedTensor& weights, const GgmlFormat& format, int64_t panels, int64_t bytes)
      : shape_(weights.matrix()),
        format_(format),
        blocks_(reinterpret_cast<const uint8_t*>(weights.bytes.data())),
        panels_(panels),
        bytes_(static_cast<size_t>(bytes)) {}

  std::string_view name() const override { return name_; }

  uint64_t rearranged_bytes() const override {
    const std::lock_guard lock(mutex_);
    return memory_ != nullptr ? bytes_ : 0;
  }
  void release() const override {
    const std::lock_guard lock(mutex_);
    memory_.reset();
  }

 protected:
  // The weights in panels; they stay as long as the result, whoever calls release().
  std::shared_ptr<HugeMemory> rearranged(ThreadPool& pool) const {
    const std::lock_guard lock(mutex_);
    if (memory_ != nullptr) return memory_;
    auto memory = std::make_shared<HugeMemory>(bytes_);
    const int64_t row_bytes = shape_.cols / format_.block_cols * format_.block_bytes;
    pool.run(panels_, [&](int64_t panel, int) {
      const int64_t row = panel * CodePlanes::kPanelRows;
      pack(panel, blocks_ + row * row_bytes, row_bytes,
           std::min(CodePlanes::kPanelRows, shape_.rows - row), bytes_of(*memory));
    });
    return memory_ = std::move(memory);
  }
  static uint8_t* bytes_of(const HugeMemory& memory) {
    return reinterpret_cast<uint8_t*>(memory.bytes().data());
  }
  // One panel, whose first row's blocks are at `blocks`; out is that of all.
  virtual void pack(int64_t panel, const uint8_t* blocks, int64_t row_bytes, int64_t rows,
                    uint8_t* out) const = 0;

  MatrixShape shape_;
  const GgmlFormat& format_;

 private:
  const uint8_t* blocks_;
  int64_t panels_;
  size_t bytes_;
  std::string name_ = fmt::format("int8 dot product of rearranged blocks, {}", int_dot_name());
  mutable std::mutex mutex_;
  mutable std::shared_ptr<HugeMemory> memory_;
};

// Blocks that are d times whole numbers.
class WholeKernel final : public GgmlKernel {
 public:
  WholeKernel(const CodedTensor& weights, const GgmlFormat& format, const IntLayout& layout)
      : GgmlKernel(weights, format, layout.panels, layout.total_bytes), layout_(layout) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == shape_.cols && y_stride >= shape_.rows);
    if (x.tokens() == 0) return;
    const auto memory = rearranged(pool);
    const IntJob job = {&layout_, bytes_of(*memory), &x.int8(32, pool), x.tokens(), y, y_stride};
    for_panel_ranges(layout_.panels, x.tokens(), int_scratch_bytes(layout_), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_int(job, range, scratch);
                     });
  }

 private:
  void pack(int64_t panel, const uint8_t* blocks, int64_t row_bytes, int64_t rows,
            uint8_t* out) const override {
    PanelPacker(format_, layout_)
        .pack(blocks, row_bytes, rows, out + panel * layout_.panel_code_bytes,
              [&](int64_t row, int64_t block, const GgmlHeader& header) {
                layout_.set_parameters(panel * 16 + row, block, header.d, 0, out);
              });
  }

  IntLayout layout_;
};

BlockJob job_of(const GgmlFormat& format, const MatrixShape& shape) {
  BlockJob job;
  job.bits = bits_of(format);
  job.planes = CodePlanes::of_bits(format.id, shape, job.bits);
  job.zero = -static_cast<int32_t>(format.levels[0]);
  job.has_min = format.offsets != GgmlOffset::kNone;
  job.block_cols = format.block_cols;
  job.sub_cols = format.sub_cols;
  return job;
}

class BlockKernel final : public GgmlKernel {
 public:
  BlockKernel(const CodedTensor& weights, const GgmlFormat& format, const BlockJob& job)
      : GgmlKernel(weights, format, job.planes.panels, job.planes.panels * job.panel_bytes()),
        job_(job) {}

  void multiply(Activations& x, float* y, int64_t y_stride, ThreadPool& pool) const override {
    BITSMITH_ASSERT(x.cols() == shape_.cols && y_stride >= shape_.rows);
    if (x.tokens() == 0) return;
    const auto memory = rearranged(pool);
    BlockJob job = job_;
    job.panels = bytes_of(*memory);
    job.x = &x.int8(job.sub_cols, pool);
    job.tokens = x.tokens();
    job.y = y;
    job.y_stride = y_stride;
    for_panel_ranges(job.planes.panels, x.tokens(), job.scratch_bytes(), pool,
                     [&](const PanelRange& range, std::span<uint8_t> scratch) {
                       multiply_ggml_blocks(job, range, scratch);
                     });
  }

 private:
  void pack(int64_t panel, const uint8_t* blocks, int64_t row_bytes, int64_t rows,
            uint8_t* out) const override {
    out += panel * job_.panel_bytes();
    const auto subs = static_cast<size_t>(format_.sub_blocks());
    const bool plain = format_.scales == GgmlScale::kHalf;
    const bool half_offset = format_.offsets == GgmlOffset::kHalf;  // + m is - (-m) * 1
    PanelPacker(format_, job_.planes)
        .pack(blocks, row_bytes, rows, out,
              [&](int64_t row, int64_t block, const GgmlHeader& header) {
                uint8_t* head = out + job_.planes.panel_code_bytes + block * job_.block_bytes();
                put_half(head + row * 2, header.d);
                if (job_.has_min) {
                  put_half(head + 32 + row * 2, header.m ^ (half_offset ? 0x8000 : 0));
                }
                uint8_t* sub = head + job_.head_bytes() + row;
                for (size_t j = 0; j < subs; ++j, sub += job_.sub_bytes()) {
                  sub[0] = static_cast<uint8_t>(plain ? 1 : header.scale[j]);
                  if (job_.has_min) sub[16] = half_offset ? 1 : header.min[j];
                }
              });
  }

  static void put_half(uint8_t* out, int bits) {
    out[0] = static_cast<uint8_t>(bits);
    out[1] = static_cast<uint8_t>(bits >> 8);
  }

  BlockJob job_;
};

class GgmlKernels final : public LinearKernelFamily {
 public:
  const PartInfo& info() const override {
    static const PartInfo info = {"ggml", "integer dot products of rearranged blocks", ""};
    return info;
  }

  bool takes(const Codec& codec) const override {
    return dynamic_cast<const GgmlCodec*>(&codec) != nullptr;
  }

  // Uniform codes of 2 to 6 bits, and of 8 without factors.
  std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const override {
    const GgmlFormat& format = dynamic_cast<const GgmlCodec&>(*weights.scheme.codec).format();
    const MatrixShape shape = weights.matrix();
    BITSMITH_ASSERT(shape.cols % format.block_cols == 0 &&
                    weights.bytes.size() >=
                        weights.scheme.codec->encoded_bytes(shape, weights.scheme.options));
    if (shape.rows == 0 || shape.cols == 0 || !is_uniform(format)) return nullptr;
    if (format.scales == GgmlScale::kHalf && format.offsets == GgmlOffset::kNone) {
      const IntLayout layout(shape, bits_of(format), format.block_cols, true);
      if (format.levels[0] != -layout.symmetric_zero()) return nullptr;  // trits
      return std::make_unique<WholeKernel>(weights, format, layout);
    }
    if (format.scales != GgmlScale::kHalfTimesFactor && format.scales != GgmlScale::kHalf) {
      return nullptr;
    }
    const BlockJob job = job_of(format, shape);
    if (!job.is_supported()) return nullptr;
    return std::make_unique<BlockKernel>(weights, format, job);
  }
};

const Registration<LinearKernelFamily, GgmlKernels> registration;

}  // namespace
}  // namespace bitsmith

// How a convolution is cut into work: the geometry that integer and float kernels share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "runtime/kernels/aligned.h"
#include "tensor/shape.h"

namespace bitsmith {

// A two-dimensional convolution. Images are [height, width, channels] ("channels last"), weights
// [outputs, channels / groups, kernel_h, kernel_w].
struct ConvShape {
  int64_t channels = 0;
  int64_t height = 1;
  int64_t width = 1;
  int64_t outputs = 0;
  int64_t kernel_h = 1;
  int64_t kernel_w = 1;
  int64_t stride_h = 1;
  int64_t stride_w = 1;
  int64_t dilation_h = 1;
  int64_t dilation_w = 1;
  int64_t pad_top = 0;
  int64_t pad_left = 0;
  int64_t pad_bottom = 0;
  int64_t pad_right = 0;
  int64_t groups = 1;

  int64_t out_height() const {
    return (padded_height() - (kernel_h - 1) * dilation_h - 1) / stride_h + 1;
  }
  int64_t out_width() const {
    return (padded_width() - (kernel_w - 1) * dilation_w - 1) / stride_w + 1;
  }
  int64_t padded_height() const { return pad_top + height + pad_bottom; }
  int64_t padded_width() const { return pad_left + width + pad_right; }
  bool is_padded() const { return pad_top + pad_left + pad_bottom + pad_right > 0; }
  bool is_depthwise() const { return groups == channels && outputs == channels && groups > 1; }
  int64_t group_channels() const { return channels / groups; }
  int64_t group_outputs() const { return outputs / groups; }
  int64_t pixels() const { return out_height() * out_width(); }  // of an output image
  int64_t weights() const { return outputs * group_channels() * kernel_h * kernel_w; }
  int64_t products() const { return pixels() * weights(); }  // multiplications for an image
};

// Kernels may read this many bytes past the end of an input; what lies there does not matter.
inline constexpr int64_t kConvSlackBytes = 64;

// What becomes of the taps that meet padding.
enum class ConvBorders {
  kCopied,   // images are copied once, with their padding around them
  kSkipped,  // images are read where they lie, and pixels whose kernels meet the same part of an
             // image are computed together, without the other taps
};

// The taps of a kernel that some pixels read: RUNS (see ConvPlan) in rows. In bytes:
struct ConvWindow {
  int64_t rows = 0;
  int64_t runs = 0;       // of a row
  int64_t run_bytes = 0;  // of input, whole steps
  int64_t x_row = 0;      // of input, from a row to the next
  int64_t x_run = 0;
  int64_t weights = 0;  // of a panel, before the first run
  int64_t w_row = 0;
  int64_t w_run = 0;
};

// Some output pixels, for the panels [panel_begin, panel_end).
struct ConvTask {
  const uint8_t* x = nullptr;        // images
  const int64_t* offsets = nullptr;  // from x to the first tap of each pixel, in bytes; the last
                                     // one is repeated kSpareOffsets times
  const int64_t* outputs = nullptr;  // the number of each pixel, among those of all images
  int64_t pixels = 0;
  ConvWindow window;
  int64_t panel_begin = 0;
  int64_t panel_end = 0;
};
inline constexpr int64_t kSpareOffsets = 16;

// Weights are packed for register tiles of 16 outputs (a PANEL) by some pixels. A STEP is 4 bytes
// of input, 4 codes or one float32, for which a panel has 16 * 4 bytes, 4 for each output:
//
//     panel  [runs][run_steps][16 outputs][4 bytes]
//
// A RUN is a stretch of input that lies together in memory and meets the kernel: a whole kernel row
// of all channels or, if columns are dilated or there are groups, one tap. It is filled with zero
// weights to whole steps. So no patches are copied ("im2col"): a tile reads its pixels' runs where
// they lie.
class ConvPlan {
 public:
  static constexpr int64_t kPanel = 16;

  ConvPlan() = default;
  // kSkipped: the channels of a group are whole steps, but for depthwise kernels, which take single
  // taps.
  ConvPlan(const ConvShape& shape, int64_t element_bytes, ConvBorders borders);

  const ConvShape& shape() const { return shape_; }
  std::span<const int64_t> runs() const { return runs_; }  // all, byte offsets from the first tap
  int64_t run_steps() const { return run_steps_; }
  int64_t panel_bytes() const { return static_cast<int64_t>(runs_.size()) * run_steps_ * 64; }
  int64_t group_panels() const { return ceil_div(shape_.group_outputs(), kPanel); }
  int64_t panels() const { return shape_.groups * group_panels(); }

  // The place of output o among the outputs of all panels.
  int64_t slot(int64_t o) const {
    return o / shape_.group_outputs() * group_panels() * kPanel + o % shape_.group_outputs();
  }

  // Weights [outputs, channels / groups, kernel_h, kernel_w] as panels. Element is int8_t or float.
  template <class Element>
  AlignedArray<Element> pack(std::span<const Element> weights) const;

  // Cuts `images` images at x into parts of whole output rows that stay in the L2 cache, and runs
  // body(tasks) for each: one task where borders are copied, else one for each window; all of the
  // same panels. `panels`: how many there are to share among threads. Copied padding is filled with
  // `fill`, one element.
  using Body = std::function<void(std::span<const ConvTask>)>;
  void run(const void* x, int64_t images, int64_t panels, const void* fill, ThreadPool& pool,
           const Body& body) const;

 private:
  struct Cut;
  struct Part;
  void run_part(const Cut& cut, int64_t part, const ConvTask& task, const Body& body) const;
  void add_tasks(const Part& part, const ConvTask& task) const;
  ConvWindow window(int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end) const;
  Cut cut_work(int64_t images, int64_t panels, int threads) const;
  void pad(const uint8_t* image, int64_t first_row, int64_t rows, const void* fill,
           uint8_t* to) const;

  ConvShape shape_;
  int64_t element_bytes_ = 1;
  bool copies_ = false;      // images have their padding around them
  bool whole_rows_ = false;  // a run is a kernel row, not a tap
  int64_t pixel_bytes_ = 0;  // of an input pixel
  int64_t row_bytes_ = 0;    // of an input row, with its padding if it is copied
  int64_t run_elements_ = 0;
  int64_t run_steps_ = 0;
  std::vector<int64_t> runs_;
};

template <class Element>
AlignedArray<Element> ConvPlan::pack(std::span<const Element> weights) const {
  constexpr auto kStep = static_cast<int64_t>(4 / sizeof(Element));
  const int64_t taps = shape_.kernel_h * shape_.kernel_w;
  const int64_t inputs = shape_.group_channels();
  const int64_t run_taps = run_elements_ / inputs;
  const int64_t panel_elements = panel_bytes() / static_cast<int64_t>(sizeof(Element));
  AlignedArray<Element> packed(panels() * panel_elements);
  for (int64_t o = 0; o < shape_.outputs; ++o) {
    Element* panel = packed.data() + slot(o) / kPanel * panel_elements + slot(o) % kPanel * kStep;
    for (int64_t c = 0; c < inputs; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t element = tap % run_taps * inputs + c;  // of the run
        const int64_t step = tap / run_taps * run_steps_ + element / kStep;
        panel[step * kPanel * kStep + element % kStep] =
            weights[static_cast<size_t>((o * inputs + c) * taps + tap)];
      }
    }
  }
  return packed;
}

}  // namespace bitsmith

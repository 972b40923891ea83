#include "runtime/kernels/conv_plan.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace bitsmith {
namespace {

// A task's input stays in the L2 cache while all panels pass by.
constexpr int64_t kTaskBytes = 192 * 1024;
// Fewer pixels would read a panel for too little work.
constexpr int64_t kTaskPixels = 48;
constexpr int64_t kTasksPerThread = 3;

}  // namespace

ConvPlan::ConvPlan(const ConvShape& shape, int64_t element_bytes)
    : shape_(shape),
      element_bytes_(element_bytes),
      pixel_bytes_(shape.channels * element_bytes),
      row_bytes_(shape.padded_width() * shape.channels * element_bytes) {
  BITSMITH_ASSERT(shape.channels % shape.groups == 0 && shape.outputs % shape.groups == 0);
  BITSMITH_ASSERT(shape.out_height() > 0 && shape.out_width() > 0);
  const bool whole_rows = shape.groups == 1 && shape.dilation_w == 1;
  run_elements_ = shape.group_channels() * (whole_rows ? shape.kernel_w : 1);
  run_steps_ = ceil_div(run_elements_ * element_bytes, 4);
  for (int64_t ky = 0; ky < shape.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < (whole_rows ? 1 : shape.kernel_w); ++kx) {
      runs_.push_back(ky * shape.dilation_h * row_bytes_ + kx * shape.dilation_w * pixel_bytes_);
    }
  }
}

// Parts are ranges of output rows of one image, or several whole images.
struct ConvPlan::Cut {
  const uint8_t* x = nullptr;
  const void* fill = nullptr;
  int64_t images = 0;       // in all
  int64_t part_images = 1;  // per part
  int64_t part_rows = 0;
  int64_t row_parts = 1;  // of an image
  int64_t parts = 1;
  int64_t part_panels = 0;
};

ConvPlan::Cut ConvPlan::cut_work(int64_t images, int64_t panels, int threads) const {
  const int64_t rows = shape_.out_height();
  const int64_t cols = shape_.out_width();
  Cut cut;
  cut.images = images;
  cut.part_rows = std::clamp<int64_t>(kTaskBytes / (row_bytes_ * shape_.stride_h),
                                      std::min(rows, ceil_div(kTaskPixels, cols)), rows);
  const int64_t wanted = threads == 1 ? 1 : threads * kTasksPerThread;
  if (threads > 1) {
    const int64_t fair = ceil_div(rows * images, wanted);
    const int64_t least = std::min(rows, ceil_div(kTaskPixels, cols));
    cut.part_rows = std::clamp(fair, least, cut.part_rows);
  }
  cut.row_parts = ceil_div(rows, cut.part_rows);
  if (cut.row_parts == 1) {
    const int64_t image_bytes = row_bytes_ * shape_.padded_height();
    const int64_t fair = ceil_div(images, wanted);
    const int64_t least = ceil_div(kTaskPixels, rows * cols);
    cut.part_images = std::max<int64_t>(1, kTaskBytes / image_bytes);
    if (threads > 1) cut.part_images = std::min(cut.part_images, std::max(fair, least));
    cut.part_images = std::min(cut.part_images, images);
  }
  cut.parts = ceil_div(images, cut.part_images) * cut.row_parts;
  cut.part_panels = panels;
  if (cut.parts < wanted) cut.part_panels = ceil_div(panels, ceil_div(wanted, cut.parts));
  return cut;
}

// Rows [first_row, first_row + rows) of the padded image.
void ConvPlan::pad(const uint8_t* image, int64_t first_row, int64_t rows, const void* fill,
                   uint8_t* to) const {
  const auto put = [&](uint8_t* at, int64_t bytes) {
    if (element_bytes_ == 1) {
      std::memset(at, *static_cast<const uint8_t*>(fill), static_cast<size_t>(bytes));
    } else {
      for (int64_t i = 0; i < bytes; i += element_bytes_) {
        std::memcpy(at + i, fill, static_cast<size_t>(element_bytes_));
      }
    }
  };
  const int64_t left = shape_.pad_left * pixel_bytes_;
  const int64_t middle = shape_.width * pixel_bytes_;
  for (int64_t row = first_row; row < first_row + rows; ++row, to += row_bytes_) {
    const int64_t from = row - shape_.pad_top;
    if (from < 0 || from >= shape_.height) {
      put(to, row_bytes_);
      continue;
    }
    put(to, left);
    std::memcpy(to + left, image + from * middle, static_cast<size_t>(middle));
    put(to + left + middle, row_bytes_ - left - middle);
  }
}

void ConvPlan::run_part(const Cut& cut, int64_t part, ConvTask task,
                        const std::function<void(const ConvTask&)>& body) const {
  thread_local AlignedArray<uint8_t> scratch;
  thread_local std::vector<int64_t> offsets;
  const int64_t image = part / cut.row_parts * cut.part_images;
  const int64_t images = std::min(cut.part_images, cut.images - image);
  const int64_t out_row = part % cut.row_parts * cut.part_rows;
  const int64_t out_rows = std::min(cut.part_rows, shape_.out_height() - out_row);
  const int64_t cols = shape_.out_width();
  const int64_t image_bytes = shape_.height * shape_.width * pixel_bytes_;
  const uint8_t* first_image = cut.x + image * image_bytes;

  int64_t stride_bytes = image_bytes;  // from image to image
  if (shape_.is_padded()) {
    const int64_t first_row = out_row * shape_.stride_h;
    const int64_t rows =
        (out_rows - 1) * shape_.stride_h + (shape_.kernel_h - 1) * shape_.dilation_h + 1;
    stride_bytes = rows * row_bytes_;
    const int64_t bytes = images * stride_bytes + kConvSlackBytes;
    if (scratch.size() < bytes) scratch = AlignedArray<uint8_t>(bytes);
    for (int64_t i = 0; i < images; ++i) {
      pad(first_image + i * image_bytes, first_row, rows, cut.fill,
          scratch.data() + i * stride_bytes);
    }
    task.x = scratch.data();
  } else {
    task.x = first_image + out_row * shape_.stride_h * row_bytes_;
  }

  task.first_pixel = image * shape_.pixels() + out_row * cols;
  task.pixels = images * out_rows * cols;
  offsets.clear();
  for (int64_t i = 0; i < images; ++i) {
    for (int64_t row = 0; row < out_rows; ++row) {
      const int64_t start = i * stride_bytes + row * shape_.stride_h * row_bytes_;
      for (int64_t col = 0; col < cols; ++col) {
        offsets.push_back(start + col * shape_.stride_w * pixel_bytes_);
      }
    }
  }
  offsets.insert(offsets.end(), kSpareOffsets, offsets.back());
  task.offsets = offsets.data();
  body(task);
}

void ConvPlan::run(const void* x, int64_t images, int64_t panels, const void* fill,
                   ThreadPool& pool, const std::function<void(const ConvTask&)>& body) const {
  if (images == 0 || panels == 0) return;
  Cut cut = cut_work(images, panels, pool.threads());
  cut.x = static_cast<const uint8_t*>(x);
  cut.fill = fill;
  const int64_t panel_parts = ceil_div(panels, cut.part_panels);
  pool.run(cut.parts * panel_parts, [&](int64_t i, int) {
    ConvTask task;
    task.panel_begin = i / cut.parts * cut.part_panels;
    task.panel_end = std::min(task.panel_begin + cut.part_panels, panels);
    run_part(cut, i % cut.parts, task, body);
  });
}

}  // namespace bitsmith

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

ConvPlan::ConvPlan(const ConvShape& shape, int64_t element_bytes, ConvBorders borders)
    : shape_(shape),
      element_bytes_(element_bytes),
      copies_(borders == ConvBorders::kCopied && shape.is_padded()),
      whole_rows_(shape.groups == 1 && shape.dilation_w == 1),
      pixel_bytes_(shape.channels * element_bytes),
      row_bytes_((copies_ ? shape.padded_width() : shape.width) * pixel_bytes_) {
  BITSMITH_ASSERT(shape.channels % shape.groups == 0 && shape.outputs % shape.groups == 0);
  BITSMITH_ASSERT(shape.out_height() > 0 && shape.out_width() > 0);
  BITSMITH_ASSERT(borders == ConvBorders::kCopied || shape.is_depthwise() ||
                  shape.group_channels() * element_bytes % 4 == 0);
  run_elements_ = shape.group_channels() * (whole_rows_ ? shape.kernel_w : 1);
  run_steps_ = ceil_div(run_elements_ * element_bytes, 4);
  for (int64_t ky = 0; ky < shape.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < (whole_rows_ ? 1 : shape.kernel_w); ++kx) {
      runs_.push_back(ky * shape.dilation_h * row_bytes_ + kx * shape.dilation_w * pixel_bytes_);
    }
  }
}

// Kernel rows [row_begin, row_end) and columns [col_begin, col_end).
ConvWindow ConvPlan::window(int64_t row_begin, int64_t row_end, int64_t col_begin,
                            int64_t col_end) const {
  const int64_t cols = col_end - col_begin;
  ConvWindow w;
  if (row_begin >= row_end || cols <= 0) return w;
  w.rows = row_end - row_begin;
  w.x_row = shape_.dilation_h * row_bytes_;
  if (whole_rows_) {
    const int64_t tap_bytes = shape_.group_channels() * element_bytes_;
    w.runs = 1;
    w.run_bytes = ceil_div(cols * tap_bytes, 4) * 4;
    w.w_row = run_steps_ * 64;
    w.weights = row_begin * w.w_row + col_begin * tap_bytes / 4 * 64;
  } else {
    w.runs = cols;
    w.run_bytes = run_steps_ * 4;
    w.x_run = shape_.dilation_w * pixel_bytes_;
    w.w_run = run_steps_ * 64;
    w.w_row = shape_.kernel_w * w.w_run;
    w.weights = row_begin * w.w_row + col_begin * w.w_run;
  }
  return w;
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

// Output rows [out_row, out_row + out_rows) of some images.
struct ConvPlan::Part {
  int64_t images = 0;
  int64_t image_bytes = 0;  // from image to image
  int64_t first_row = 0;    // of the images' memory, in padded rows
  int64_t first_output = 0;
  int64_t out_row = 0;
  int64_t out_rows = 0;
};

namespace {

// Positions [begin, end) of an axis of the output that meet the same taps [first, last).
struct Range {
  int64_t begin;
  int64_t end;
  int64_t first;
  int64_t last;
};

struct Axis {
  int64_t size;  // of the input
  int64_t kernel;
  int64_t stride;
  int64_t dilation;
  int64_t pad;
  bool is_copied;  // padding is there to be read
};

std::vector<Range> ranges(const Axis& axis, int64_t begin, int64_t end) {
  if (axis.is_copied) return {{begin, end, 0, axis.kernel}};
  std::vector<Range> result;
  for (int64_t at = begin; at < end; ++at) {
    const int64_t start = at * axis.stride - axis.pad;
    const int64_t first = start < 0 ? ceil_div(-start, axis.dilation) : 0;
    const int64_t inside = start < axis.size ? ceil_div(axis.size - start, axis.dilation) : 0;
    const int64_t last = std::min(axis.kernel, inside);
    if (!result.empty() && result.back().first == first && result.back().last == last) {
      ++result.back().end;
    } else {
      result.push_back({at, at + 1, first, last});
    }
  }
  return result;
}

// What the tasks of a part point into.
struct Tasks {
  std::vector<int64_t> offsets;
  std::vector<int64_t> outputs;
  std::vector<ConvTask> tasks;
};
thread_local Tasks current;

// [count] numbers, `step` apart.
void count_up(int64_t first, int64_t step, int64_t count, int64_t* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = first + i * step;
}

}  // namespace

void ConvPlan::add_tasks(const Part& part, const ConvTask& task) const {
  auto& [all_offsets, all_outputs, tasks] = current;
  tasks.clear();
  const Axis vertical{shape_.height,     shape_.kernel_h, shape_.stride_h,
                      shape_.dilation_h, shape_.pad_top,  copies_};
  const Axis horizontal{shape_.width,      shape_.kernel_w, shape_.stride_w,
                        shape_.dilation_w, shape_.pad_left, copies_};
  const std::vector<Range> row_ranges =
      ranges(vertical, part.out_row, part.out_row + part.out_rows);
  const std::vector<Range> col_ranges = ranges(horizontal, 0, shape_.out_width());
  const size_t size = static_cast<size_t>(part.images * part.out_rows * shape_.out_width()) +
                      row_ranges.size() * col_ranges.size() * kSpareOffsets;
  if (all_offsets.size() < size) all_offsets.resize(size);
  if (all_outputs.size() < size) all_outputs.resize(size);
  int64_t* offsets = all_offsets.data();
  int64_t* outputs = all_outputs.data();
  // Of the input row and column of the first output's first tap.
  const int64_t top = copies_ ? part.first_row : shape_.pad_top;
  const int64_t left = copies_ ? 0 : shape_.pad_left;
  for (const Range& rows : row_ranges) {
    for (const Range& cols : col_ranges) {
      const int64_t width = cols.end - cols.begin;
      tasks.push_back(task);
      ConvTask& own = tasks.back();
      own.offsets = offsets;
      own.outputs = outputs;
      own.pixels = part.images * (rows.end - rows.begin) * width;
      own.window = window(rows.first, rows.last, cols.first, cols.last);
      const bool any = own.window.rows > 0;
      const int64_t x = cols.begin * shape_.stride_w + cols.first * shape_.dilation_w - left;
      for (int64_t i = 0; i < part.images; ++i) {
        for (int64_t row = rows.begin; row < rows.end; ++row) {
          const int64_t y = row * shape_.stride_h + rows.first * shape_.dilation_h - top;
          const int64_t at = i * part.image_bytes + y * row_bytes_ + x * pixel_bytes_;
          count_up(any ? at : 0, any ? shape_.stride_w * pixel_bytes_ : 0, width, offsets);
          count_up(part.first_output + i * shape_.pixels() + row * shape_.out_width() + cols.begin,
                   1, width, outputs);
          offsets += width;
          outputs += width;
        }
      }
      offsets = std::fill_n(offsets, kSpareOffsets, offsets[-1]);
      outputs += kSpareOffsets;
    }
  }
}

void ConvPlan::run_part(const Cut& cut, int64_t part, const ConvTask& task,
                        const Body& body) const {
  thread_local AlignedArray<uint8_t> scratch;
  const int64_t image = part / cut.row_parts * cut.part_images;
  const int64_t image_bytes = shape_.height * shape_.width * pixel_bytes_;
  Part p;
  p.images = std::min(cut.part_images, cut.images - image);
  p.image_bytes = image_bytes;
  p.first_output = image * shape_.pixels();
  p.out_row = part % cut.row_parts * cut.part_rows;
  p.out_rows = std::min(cut.part_rows, shape_.out_height() - p.out_row);
  ConvTask own = task;
  own.x = cut.x + image * image_bytes;
  if (copies_) {
    p.first_row = p.out_row * shape_.stride_h;
    const int64_t rows =
        (p.out_rows - 1) * shape_.stride_h + (shape_.kernel_h - 1) * shape_.dilation_h + 1;
    p.image_bytes = rows * row_bytes_;
    const int64_t bytes = p.images * p.image_bytes + kConvSlackBytes;
    if (scratch.size() < bytes) scratch = AlignedArray<uint8_t>(bytes);
    for (int64_t i = 0; i < p.images; ++i) {
      pad(own.x + i * image_bytes, p.first_row, rows, cut.fill, scratch.data() + i * p.image_bytes);
    }
    own.x = scratch.data();
  }
  add_tasks(p, own);
  body(current.tasks);
}

void ConvPlan::run(const void* x, int64_t images, int64_t panels, const void* fill,
                   ThreadPool& pool, const Body& body) const {
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

// Shift-and-add convolutions: weights as programs of terms, images as planes.
#include "runtime/kernels/conv_shift.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "core/error.h"
#include "runtime/kernels/int_panels.h"

namespace bitsmith {
namespace {

constexpr int64_t kTogether = 16;  // channels or outputs of a task
// Planes of the images that are worked on at a time, as far as one allows: in the L2 cache.
constexpr int64_t kPlaneBytes = 256 * 1024;
constexpr int64_t kMostImages = 64;
constexpr int64_t kMostCode = 255;

int64_t images_together(const ConvShape& shape) {
  const int64_t bytes = shape.channels * ConvPlanes(shape, 1).channel_size * 2;
  return std::clamp<int64_t>(kPlaneBytes / bytes, 1, kMostImages);
}

// One of the powers of two of a weight.
struct Term {
  int16_t exponent;
  bool negative;
  int32_t offset;

  // From the largest power to the smallest; additions first.
  auto key() const { return std::tuple(-exponent, negative, offset); }
};

// visit(exponent, negative) for the non-adjacent form of w, which has the fewest terms.
template <class Visit>
void for_terms(int32_t w, const Visit& visit) {
  int64_t rest = w;
  for (int16_t exponent = 0; rest != 0; ++exponent) {
    if (rest % 2 != 0) {
      const int64_t digit = rest % 4 == 1 || rest % 4 == -3 ? 1 : -1;
      visit(exponent, digit < 0);
      rest -= digit;
    }
    rest /= 2;
  }
}

}  // namespace

SumRange sum_range(std::span<const int32_t> weights, int64_t bias, uint8_t x_zero) {
  SumRange range{bias, bias};
  for (const int32_t w : weights) {
    const int64_t from_low = -int64_t{x_zero} * w;
    const int64_t from_high = (kMostCode - x_zero) * w;
    range.low += std::min(from_low, from_high);
    range.high += std::max(from_low, from_high);
  }
  return range;
}

bool ShiftConv::pays(const ShiftConvSpec& spec) {
  // Products of bytes that take as long as a term here, and as a plane made or read: by VNNI, or by
  // instructions that need several for a product.
  const bool vnni = std::string_view(int_dot_name()).ends_with("VNNI");
  const double term_cost = vnni ? 5 : 1.5;
  const double plane_cost = vnni ? 20 : 8;
  constexpr int64_t kFewestPixels = 32;
  const ConvShape& shape = spec.shape;
  if (shape.is_depthwise() || shape.pixels() < kFewestPixels) return false;
  const ConvPlanes planes(shape, 1);
  if (planes.channel_size > INT32_MAX / shape.channels) return false;
  const double positions =
      static_cast<double>(planes.image_size) / static_cast<double>(shape.pixels());
  const double cost = term_cost * static_cast<double>(count_terms(spec.weights)) +
                      plane_cost * static_cast<double>(shape.channels + shape.outputs);
  return cost * positions < static_cast<double>(spec.weights.size());
}

int64_t ShiftConv::count_terms(std::span<const int32_t> weights) {
  int64_t count = 0;
  for (const int32_t w : weights) for_terms(w, [&](int16_t, bool) { ++count; });
  return count;
}

ShiftConv::ShiftConv(const ShiftConvSpec& spec)
    : shape_(spec.shape),
      planes_(spec.shape, images_together(spec.shape)),
      x_zero_(spec.x_zero),
      y_zero_(spec.y_zero),
      y_min_(spec.y_min),
      y_max_(spec.y_max),
      low_(spec.low),
      high_(spec.high),
      scales_(spec.scales.begin(), spec.scales.end()),
      number_scales_(spec.number_scales.begin(), spec.number_scales.end()) {
  const auto outputs = static_cast<size_t>(shape_.outputs);
  BITSMITH_ASSERT(spec.weights.size() == static_cast<size_t>(shape_.weights()));
  BITSMITH_ASSERT((scales_.size() == outputs) != (number_scales_.size() == outputs));
  BITSMITH_ASSERT(spec.bias.empty() || spec.bias.size() == outputs);
  if (planes_.channel_size > INT32_MAX / shape_.channels) {
    fail(ErrorCode::kUnsupported,
         "shift-and-add convolution: {} channels of {} padded pixels are "
         "more than 2^31 numbers",
         shape_.channels, planes_.channel_size);
  }
  const auto inputs = static_cast<size_t>(shape_.weights() / shape_.outputs);
  for (size_t o = 0; o < outputs; ++o) {
    const std::span<const int32_t> weights = spec.weights.subspan(o * inputs, inputs);
    const int32_t own_bias = spec.bias.empty() ? 0 : spec.bias[o];
    const SumRange range = sum_range(weights, own_bias, spec.x_zero);
    if (!range.fits_int32()) {
      fail(ErrorCode::kUnsupported,
           "shift-and-add convolution: the sum of output {} could lie between {} and {}, which is "
           "more than 32 bits",
           o, range.low, range.high);
    }
    auto bias = static_cast<uint32_t>(own_bias);
    for (const int32_t w : weights) bias -= uint32_t{spec.x_zero} * static_cast<uint32_t>(w);
    bias_.push_back(static_cast<int32_t>(bias));
    add_output(weights, static_cast<int64_t>(o) / shape_.group_outputs() * shape_.group_channels());
  }
  first_step_.push_back(static_cast<int64_t>(steps_.size()));
}

// As many terms go into a part as fit it whatever the pixels.
//   weights of the output, [channels of its group, kernel_h, kernel_w]
void ShiftConv::add_output(std::span<const int32_t> weights, int64_t first_channel) {
  constexpr int64_t kMostPart = std::numeric_limits<int16_t>::max();
  const auto taps = static_cast<size_t>(shape_.kernel_h * shape_.kernel_w);
  std::vector<Term> terms;
  for (size_t i = 0; i < weights.size(); ++i) {
    const int64_t channel = first_channel + static_cast<int64_t>(i / taps);
    const int64_t offset =
        channel * planes_.channel_size + planes_.tap_offset(shape_, static_cast<int64_t>(i % taps));
    for_terms(weights[i], [&](int16_t exponent, bool negative) {
      terms.push_back({exponent, negative, static_cast<int32_t>(offset)});
    });
  }
  std::ranges::sort(terms, {}, &Term::key);
  first_step_.push_back(static_cast<int64_t>(steps_.size()));
  first_offset_.push_back(static_cast<int64_t>(offsets_.size()));

  int64_t low = 0;  // -low <= part <= high
  int64_t high = 0;
  int16_t exponent = 0;  // of the part
  const auto flush = [&] {
    if (low + high > 0) steps_.back().exponent = exponent;
    low = high = 0;
  };
  for (size_t begin = 0; begin < terms.size();) {
    const int16_t next = terms[begin].exponent;
    const auto is_next = [&](const Term& term) { return term.exponent == next; };
    const auto end = static_cast<size_t>(
        std::find_if_not(terms.begin() + static_cast<std::ptrdiff_t>(begin), terms.end(), is_next) -
        terms.begin());
    const auto negatives =
        static_cast<int64_t>(std::count_if(terms.begin() + static_cast<std::ptrdiff_t>(begin),
                                           terms.begin() + static_cast<std::ptrdiff_t>(end),
                                           [](const Term& term) { return term.negative; }));
    int64_t adds = static_cast<int64_t>(end - begin) - negatives;
    int64_t subtracts = negatives;
    int16_t shift = 0;
    if (low + high > 0) {
      shift = static_cast<int16_t>(exponent - next);
      const bool stays = shift < 16 && (high << shift) + adds * kMostCode <= kMostPart &&
                         (low << shift) + subtracts * kMostCode <= kMostPart;
      if (stays) {
        low <<= shift;
        high <<= shift;
      } else {
        flush();
        shift = 0;
      }
    }
    exponent = next;
    while (adds + subtracts > 0) {
      const int64_t more = std::min(adds, (kMostPart - high) / kMostCode);
      const int64_t less = std::min(subtracts, (kMostPart - low) / kMostCode);
      // In the order of terms: no subtraction before the last addition.
      const int64_t taken = more == adds ? less : 0;
      for (int64_t i = 0; i < more + taken; ++i) offsets_.push_back(terms[begin++].offset);
      steps_.push_back({shift, -1, static_cast<int32_t>(more), static_cast<int32_t>(taken)});
      adds -= more;
      subtracts -= taken;
      high += more * kMostCode;
      low += taken * kMostCode;
      shift = 0;
      if (adds + subtracts > 0) flush();
    }
  }
  flush();
}

// Of the channels [first, first + kTogether) of some images; padding is there already.
void ShiftConv::make_planes(const uint8_t* x, int64_t images, int64_t first,
                            int16_t* planes) const {
  const int64_t channels = std::min(kTogether, shape_.channels - first);
  int16_t* const to = planes + first * planes_.channel_size;
  if (!shape_.is_padded() && shape_.stride_h == 1 && shape_.stride_w == 1) {  // all end to end
    turn_pixels(x + first, shape_.channels, images * shape_.height * shape_.width, channels, to,
                planes_.channel_size);
    return;
  }
  for (int64_t row = 0; row < images * shape_.height; ++row) {
    const int64_t image = row / shape_.height;
    const uint8_t* from = x + row * shape_.width * shape_.channels + first;
    for (int64_t col = 0; col < std::min(shape_.stride_w, shape_.width); ++col) {
      const int64_t at =
          image * planes_.image_size +
          planes_.offset(shape_, row % shape_.height + shape_.pad_top, col + shape_.pad_left);
      turn_pixels(from + col * shape_.channels, shape_.stride_w * shape_.channels,
                  ceil_div(shape_.width - col, shape_.stride_w), channels, to + at,
                  planes_.channel_size);
    }
  }
}

// The outputs [first, first + kTogether) of some images.
void ShiftConv::make_outputs(const int16_t* planes, int64_t images, int64_t first,
                             uint8_t* y) const {
  thread_local std::vector<uint8_t> scratch;
  const int64_t outputs = std::min(kTogether, shape_.outputs - first);
  const int64_t positions = planes_.positions(images);
  const int64_t stride = ceil_div(positions, kShiftSlack) * kShiftSlack + kShiftSlack;
  if (scratch.size() < static_cast<size_t>(outputs * stride)) {
    scratch.resize(static_cast<size_t>(outputs * stride));
  }
  for (int64_t o = 0; o < outputs; ++o) {
    const ShiftToCodes to{scales_[static_cast<size_t>(first + o)], y_zero_, y_min_, y_max_};
    convolve_shift(program(first + o), planes, positions, to, scratch.data() + o * stride);
  }
  for_rows(images, [&](int64_t position, int64_t pixel, int64_t count) {
    turn_codes(scratch.data() + position, stride, count, outputs,
               y + pixel * shape_.outputs + first, shape_.outputs);
  });
}

void ShiftConv::make_outputs(const int16_t* planes, int64_t images, int64_t first, float* y) const {
  thread_local std::vector<int32_t> scratch;
  const int64_t positions = planes_.positions(images);
  const auto needed = static_cast<size_t>(positions + 2 * kShiftSlack);
  if (scratch.size() < needed) scratch.resize(needed);
  for (int64_t o = first; o < std::min(shape_.outputs, first + kTogether); ++o) {
    convolve_shift(program(o), planes, positions, scratch.data());
    const float scale = number_scales_[static_cast<size_t>(o)];
    for_rows(images, [&](int64_t position, int64_t pixel, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const auto sum = static_cast<float>(scratch[static_cast<size_t>(position + i)]);
        y[(pixel + i) * shape_.outputs + o] = std::clamp(scale * sum, low_, high_);
      }
    });
  }
}

// body(position, output pixel, count) for runs of output pixels side by side.
template <class Body>
void ShiftConv::for_rows(int64_t images, const Body& body) const {
  const int64_t width = shape_.out_width();
  const int64_t rows = shape_.out_height();
  if (planes_.image_size == shape_.pixels()) {
    body(0, 0, images * shape_.pixels());
    return;
  }
  for (int64_t row = 0; row < images * rows; ++row) {
    const int64_t position = row / rows * planes_.image_size + row % rows * planes_.width;
    body(position, row * width, width);
  }
}

ShiftProgram ShiftConv::program(int64_t output) const {
  const auto o = static_cast<size_t>(output);
  const auto begin = static_cast<size_t>(first_step_[o]);
  const auto end = static_cast<size_t>(first_step_[o + 1]);
  return {std::span(steps_).subspan(begin, end - begin), offsets_.data() + first_offset_[o],
          bias_[o]};
}

int64_t ShiftConv::memory_bytes() const {
  const auto bytes = [](const auto& v) { return v.size() * sizeof(v[0]); };
  return static_cast<int64_t>(bytes(scales_) + bytes(number_scales_) + bytes(bias_) +
                              bytes(steps_) + bytes(offsets_) + bytes(first_step_) +
                              bytes(first_offset_));
}

template <class Y>
void ShiftConv::run_all(const uint8_t* x, int64_t images, Y* y, ThreadPool& pool) const {
  thread_local std::vector<int16_t> scratch;
  const auto size = static_cast<size_t>(shape_.channels * planes_.channel_size);
  if (scratch.size() < size + kShiftSlack) scratch.resize(size + kShiftSlack);
  int16_t* const planes = scratch.data();
  if (shape_.is_padded()) std::fill_n(planes, size, int16_t{x_zero_});
  for (int64_t begin = 0; begin < images; begin += planes_.images) {
    const int64_t count = std::min(planes_.images, images - begin);
    const uint8_t* in = x + begin * shape_.height * shape_.width * shape_.channels;
    Y* out = y + begin * shape_.pixels() * shape_.outputs;
    pool.run(ceil_div(shape_.channels, kTogether),
             [&](int64_t task, int) { make_planes(in, count, task * kTogether, planes); });
    pool.run(ceil_div(shape_.outputs, kTogether),
             [&](int64_t task, int) { make_outputs(planes, count, task * kTogether, out); });
  }
}

void ShiftConv::run(const uint8_t* x, int64_t images, uint8_t* y, ThreadPool& pool) const {
  BITSMITH_ASSERT(number_scales_.empty());
  run_all(x, images, y, pool);
}

void ShiftConv::run(const uint8_t* x, int64_t images, float* y, ThreadPool& pool) const {
  BITSMITH_ASSERT(!number_scales_.empty());
  run_all(x, images, y, pool);
}

}  // namespace bitsmith

#include "images/preprocessing.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <tuple>

#include "core/error.h"
#include "images/resize.h"

namespace bitsmith {
namespace {

using nlohmann::json;

constexpr int64_t kLargestExtent = 1 << 14;

[[noreturn]] void refuse(const std::string& key, const std::string& expected, const json& got) {
  fail(ErrorCode::kInvalidArgument, "preprocessing: '{}' must be {}, it is {}", key, expected,
       got.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 200));
}

int64_t extent_of(const std::string& key, const json& value) {
  if (!value.is_number_integer() || value < 1 || value > kLargestExtent) {
    refuse(key, fmt::format("one or two whole numbers from 1 to {}", kLargestExtent), value);
  }
  return value.get<int64_t>();
}

std::vector<double> numbers_of(const std::string& key, const json& value) {
  std::vector<double> numbers;
  for (const json& number : value.is_array() ? value : json::array({value})) {
    if (!number.is_number() || !std::isfinite(number.get<double>())) {
      refuse(key, "a list of numbers", value);
    }
    numbers.push_back(number.get<double>());
  }
  return numbers;
}

bool choice_of(const std::string& key, const json& value, const char* first, const char* second) {
  if (value != first && value != second) {
    refuse(key, fmt::format("\"{}\" or \"{}\"", first, second), value);
  }
  return value == second;
}

void set_key(Preprocessing& p, const std::string& key, const json& value) {
  if (key == "resize" || key == "crop") {
    const bool resize = key == "resize";
    const json pair = value.is_array() ? value : json::array({value});
    if (pair.empty() || pair.size() > 2) refuse(key, "one or two whole numbers", value);
    const int64_t height = extent_of(key, pair[0]);
    const int64_t width = pair.size() == 2 ? extent_of(key, pair[1]) : resize ? 0 : height;
    (resize ? p.resize_height : p.crop_height) = height;
    (resize ? p.resize_width : p.crop_width) = width;
  } else if (key == "channels") {
    if (value != 1 && value != 3) refuse(key, "1 or 3", value);
    p.channels = value.get<int64_t>();
  } else if (key == "order") {
    p.bgr = choice_of(key, value, "rgb", "bgr");
  } else if (key == "layout") {
    p.channels_last = choice_of(key, value, "nchw", "nhwc");
  } else if (key == "scale") {
    if (numbers_of(key, value).size() != 1) refuse(key, "a number", value);
    p.scale = numbers_of(key, value).front();
  } else if (key == "mean" || key == "std") {
    (key == "mean" ? p.mean : p.deviation) = numbers_of(key, value);
  } else {
    fail(ErrorCode::kInvalidArgument,
         "preprocessing has no '{}'; it has: resize, crop, channels, order, scale, mean, std, "
         "layout",
         key);
  }
}

void check_count(const char* key, const std::vector<double>& numbers, int64_t channels) {
  if (numbers.size() <= 1 || static_cast<int64_t>(numbers.size()) == channels) return;
  fail(ErrorCode::kInvalidArgument, "preprocessing: '{}' has {} numbers for {} channels", key,
       numbers.size(), channels);
}

// The number for channel c of a list of none, one, or one for each.
double at_channel(const std::vector<double>& numbers, int64_t c, double otherwise) {
  if (numbers.empty()) return otherwise;
  return numbers.size() == 1 ? numbers[0] : numbers[static_cast<size_t>(c)];
}

std::pair<int64_t, int64_t> resized(const Preprocessing& p, int64_t height, int64_t width) {
  if (p.resize_height == 0) return {height, width};
  if (p.resize_width != 0) return {p.resize_height, p.resize_width};
  const int64_t target = p.resize_height;
  // An image may be a thousand times longer than wide, but not larger than any extent.
  const auto longer = [&](int64_t a, int64_t b) {
    return std::clamp<int64_t>(a * target / b, 1, int64_t{1} << 20);
  };
  if (height <= width) return {target, longer(width, height)};
  return {longer(height, width), target};
}

// To as many channels as wanted.
Image with_channels(Image image, int64_t channels) {
  if (image.channels == channels) return image;
  const int64_t pixels = image.height * image.width;
  Image result{image.height, image.width, channels, {}, {}};
  result.pixels.resize(static_cast<size_t>(pixels * channels));
  for (int64_t i = 0; i < pixels; ++i) {
    const uint8_t* in = image.pixels.data() + i * image.channels;
    uint8_t* out = result.pixels.data() + i * channels;
    if (image.channels == 1) {
      std::fill_n(out, channels, in[0]);
    } else {
      out[0] =
          static_cast<uint8_t>((19595u * in[0] + 38470u * in[1] + 7471u * in[2] + 32768u) >> 16);
    }
  }
  return result;
}

}  // namespace

nlohmann::json Preprocessing::to_json() const {
  json result = {{"channels", channels},
                 {"order", bgr ? "bgr" : "rgb"},
                 {"scale", scale},
                 {"layout", channels_last ? "nhwc" : "nchw"}};
  if (resize_height > 0) {
    result["resize"] = resize_width > 0 ? json{resize_height, resize_width} : json(resize_height);
  }
  if (crop_height > 0) result["crop"] = {crop_height, crop_width};
  if (!mean.empty()) result["mean"] = mean;
  if (!deviation.empty()) result["std"] = deviation;
  return result;
}

Preprocessing Preprocessing::from_json(const json& source) {
  Preprocessing result;
  if (!source.is_object()) refuse("preprocessing", "an object", source);
  for (const auto& [key, value] : source.items()) set_key(result, key, value);
  check_count("mean", result.mean, result.channels);
  check_count("std", result.deviation, result.channels);
  if (std::ranges::find(result.deviation, 0.0) != result.deviation.end()) {
    refuse("std", "other than 0", result.deviation);
  }
  return result;
}

Shape Preprocessing::output_shape(int64_t height, int64_t width) const {
  if (crop_height > 0) {
    height = crop_height;
    width = crop_width;
  } else {
    std::tie(height, width) = resized(*this, height, width);
  }
  return channels_last ? Shape{height, width, channels} : Shape{channels, height, width};
}

std::vector<int64_t> parse_extents(const std::string& text, const std::string& option) {
  std::vector<int64_t> extents;
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    int64_t extent = 0;
    const auto [stop, error] = std::from_chars(at, end, extent);
    const bool good = error == std::errc() && extent >= 1 && extent <= kLargestExtent;
    if (!good || extents.size() == 3 || (stop != end && *stop != 'x')) {
      fail(ErrorCode::kInvalidArgument, "{} '{}': expected whole numbers like 224 or 224x256",
           option, text);
    }
    extents.push_back(extent);
    if (stop == end) return extents;
    at = stop + 1;
  }
}

std::vector<double> parse_numbers(const std::string& text, const std::string& option) {
  std::vector<double> numbers;
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    double number = 0;
    auto [stop, error] = std::from_chars(at, end, number);
    bool good = error == std::errc();
    if (good && stop != end && *stop == '/') {
      double divisor = 0;
      const auto second = std::from_chars(stop + 1, end, divisor);
      good = second.ec == std::errc();
      number /= divisor;
      stop = second.ptr;
    }
    if (!good || !std::isfinite(number) || numbers.size() == 16 || (stop != end && *stop != ',')) {
      fail(ErrorCode::kInvalidArgument,
           "{} '{}': expected numbers like 0.5, 1/255 or 0.485,0.456,0.406", option, text);
    }
    numbers.push_back(number);
    if (stop == end) return numbers;
    at = stop + 1;
  }
}

std::vector<float> preprocess(const Preprocessing& p, const Image& source) {
  if (!source.values.empty()) return source.values;
  if (source.channels != 1 && source.channels != 3) {
    fail(ErrorCode::kUnsupported, "an image has {} channels; 1 and 3 are supported",
         source.channels);
  }
  const auto [height, width] = resized(p, source.height, source.width);
  Image image = resize_bilinear(source, height, width);
  if (p.crop_height > 0) image = centre_crop(image, p.crop_height, p.crop_width);
  image = with_channels(std::move(image), p.channels);

  const int64_t pixels = image.height * image.width;
  std::vector<float> values(static_cast<size_t>(pixels * p.channels));
  for (int64_t c = 0; c < p.channels; ++c) {
    // All 256 values of a channel, each rounded once.
    std::array<float, 256> table;
    for (size_t v = 0; v < table.size(); ++v) {
      table[v] = static_cast<float>((static_cast<double>(v) * p.scale - at_channel(p.mean, c, 0)) /
                                    at_channel(p.deviation, c, 1));
    }
    const int64_t from = p.bgr ? p.channels - 1 - c : c;
    for (int64_t i = 0; i < pixels; ++i) {
      const int64_t to = p.channels_last ? i * p.channels + c : c * pixels + i;
      values[static_cast<size_t>(to)] =
          table[image.pixels[static_cast<size_t>(i * p.channels + from)]];
    }
  }
  return values;
}

std::vector<float> preprocess_batch(const Preprocessing& p, const ImageDataset& dataset,
                                    int64_t begin, int64_t count, ThreadPool& pool) {
  BITSMITH_ASSERT(begin >= 0 && count > 0 && begin + count <= dataset.size());
  // The first says what the others are like.
  const Image first = dataset.image(begin);
  const Shape shape = p.output_shape(first.height, first.width);
  const std::vector<float> values = preprocess(p, first);
  std::vector<float> batch(values.size() * static_cast<size_t>(count));
  std::ranges::copy(values, batch.begin());
  pool.run(count - 1, [&](int64_t i, int) {
    const int64_t at = begin + i + 1;
    const Image image = dataset.image(at);
    const std::vector<float> own = preprocess(p, image);
    if (p.output_shape(image.height, image.width) != shape || own.size() != values.size()) {
      fail(ErrorCode::kInvalidArgument,
           "{} becomes an input {}, the images before it {}; give an exact --resize or a --crop",
           dataset.name(at), to_string(p.output_shape(image.height, image.width)),
           to_string(shape));
    }
    std::ranges::copy(own, batch.begin() + (i + 1) * static_cast<int64_t>(values.size()));
  });
  return batch;
}

}  // namespace bitsmith

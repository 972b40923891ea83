#include "image_options.h"

#include <fmt/ranges.h>

#include <array>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "images/subset.h"

namespace bitsmith {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// Usual scales of pixels, by the name of --preprocess.
const std::map<std::string, json>& presets() {
  static const std::map<std::string, json> kPresets = {
      {"none", json::object()},
      {"unit", {{"scale", 1.0 / 255}}},
      {"symmetric", {{"scale", 1.0 / 127.5}, {"mean", 1.0}}},
      {"imagenet",
       {{"scale", 1.0 / 255}, {"mean", {0.485, 0.456, 0.406}}, {"std", {0.229, 0.224, 0.225}}}},
      {"cifar10",
       {{"scale", 1.0 / 255},
        {"mean", {0.4914, 0.4822, 0.4465}},
        {"std", {0.2470, 0.2435, 0.2616}}}},
  };
  return kPresets;
}

// The test set in a folder of a dataset as it is distributed; other paths are what they are.
fs::path test_images(const fs::path& path) {
  constexpr std::array<const char*, 4> kNames = {
      "test_batch", "test_batch.bin", "t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"};
  std::error_code ignored;
  for (const char* name : kNames) {
    if (fs::is_regular_file(path / name, ignored)) return path / name;
  }
  return path;
}

// MNIST's labels lie beside its images, under a like name.
fs::path labels_beside(const fs::path& images) {
  std::string name = images.filename().string();
  const size_t at = name.find("images-idx3");
  if (at == name.npos) return {};
  const fs::path labels = images.parent_path() / name.replace(at, 11, "labels-idx1");
  std::error_code ignored;
  return fs::is_regular_file(labels, ignored) ? labels : fs::path();
}

// Channels of the network's input and whether they come last; {0, false} if it does not say.
std::pair<int64_t, bool> channels_of(const Shape& input, const Image& image) {
  const auto is_channels = [](int64_t extent) { return extent == 1 || extent == 3; };
  if (input.size() == 4 && is_channels(input[1])) return {input[1], false};
  if (input.size() == 4 && is_channels(input[3])) return {input[3], true};
  // A row of pixels.
  int64_t elements = 1;
  for (size_t i = 1; i < input.size(); ++i) elements *= input[i];
  for (const int64_t channels : {1, 3}) {
    if (elements == image.height * image.width * channels) return {channels, false};
  }
  return {0, false};
}

// The size that images must have, {0, 0} if the network does not say.
std::pair<int64_t, int64_t> size_of(const Shape& input, bool channels_last) {
  if (input.size() != 4) return {0, 0};
  return channels_last ? std::pair(input[1], input[2]) : std::pair(input[2], input[3]);
}

json extents_json(const std::string& text, const char* option) {
  return parse_extents(text, option);
}

}  // namespace

CLI::Option* add_image_options(CLI::App& command, ImageOptions& options) {
  CLI::Option* images =
      command.add_option("--images", options.images, "folder, .tar, MNIST, CIFAR-10, .npy or raw");
  images->group("Images");
  add_image_options(command, options, images);
  return images;
}

void add_image_options(CLI::App& command, ImageOptions& options, CLI::Option* source) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    CLI::Option* option = command.add_option(name, value, help)->group("Images");
    if (source != nullptr) option->needs(source);
    return option;
  };
  add("--labels", options.labels, "idx, .npy or text (default: what the images bring)");
  add("--raw", options.raw, "height x width x channels of images without a header: 32x32x3");
  std::vector<std::string> names;
  for (const auto& [name, preset] : presets()) names.push_back(name);
  add("--preprocess", options.preprocess, "scale of pixels: imagenet, for grey images unit; or")
      ->check(CLI::IsMember(names));
  add("--scale", options.scale, "pixels are multiplied by this, as 1/255");
  add("--mean", options.mean, "then this is subtracted, as 0.5 or 0.485,0.456,0.406");
  add("--std", options.deviation, "then this divides");
  add("--resize", options.resize, "to 224x256, or the shorter side to 256 (default: to the input)");
  add("--crop", options.crop, "the middle, 224 or 224x256, after resizing");
  add("--order", options.order, "of colours (default: rgb)")->check(CLI::IsMember({"rgb", "bgr"}));
  add("--layout", options.layout, "of the input (default: as its shape says)")
      ->check(CLI::IsMember({"nchw", "nhwc"}));
  add("--label-offset", options.label_offset, "class of label 0: 1 after a background class")
      ->check(CLI::Range(-1000000, 1000000));
  add("--limit", options.limit, "use this many images, spread over all")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
}

std::unique_ptr<ImageDataset> open_images(const ImageOptions& options) {
  ImageSource source;
  source.images = test_images(options.images);
  source.labels = options.labels.empty() ? labels_beside(source.images) : fs::path(options.labels);
  if (!options.raw.empty()) source.raw_shape = parse_extents(options.raw, "--raw");
  auto dataset = open_images(source);
  if (dataset->size() == 0) {
    fail(ErrorCode::kCorrupt, "'{}' holds no images", options.images);
  }
  return options.limit > 0 ? spread_images(std::move(dataset), options.limit) : std::move(dataset);
}

Preprocessing choose_preprocessing(const ImageOptions& options, const Model& model,
                                   const ImageDataset& dataset) {
  const Shape& input = model.graph.value(model.graph.inputs.at(0)).shape;
  const Image first = dataset.image(0);
  if (!first.values.empty()) return {};  // inputs as they are
  const auto [channels, last] = channels_of(input, first);
  const bool scaled = !options.scale.empty() || !options.mean.empty() || !options.deviation.empty();
  const std::string by_default = scaled ? "none" : channels == 1 ? "unit" : "imagenet";
  const bool known = model.metadata.is_object() && model.metadata.contains("preprocessing") &&
                     options.preprocess.empty() && !scaled;
  json result = known ? Preprocessing::from_json(model.metadata["preprocessing"]).to_json()
                      : presets().at(options.preprocess.empty() ? by_default : options.preprocess);
  if (channels > 0) result["channels"] = channels;
  result["layout"] = last ? "nhwc" : "nchw";
  if (!options.layout.empty()) result["layout"] = options.layout;
  if (!options.order.empty()) result["order"] = options.order;
  if (!options.scale.empty()) result["scale"] = parse_numbers(options.scale, "--scale");
  if (!options.mean.empty()) result["mean"] = parse_numbers(options.mean, "--mean");
  if (!options.deviation.empty()) result["std"] = parse_numbers(options.deviation, "--std");
  if (!options.resize.empty()) result["resize"] = extents_json(options.resize, "--resize");
  if (!options.crop.empty()) result["crop"] = extents_json(options.crop, "--crop");
  const auto [height, width] = size_of(input, result["layout"] == "nhwc");
  const bool other = height != first.height || width != first.width;
  if (height > 0 && other && !result.contains("resize") && !result.contains("crop")) {
    result["resize"] = {height, width};
  }
  const Preprocessing preprocessing = Preprocessing::from_json(result);
  const Shape got = preprocessing.output_shape(first.height, first.width);
  if (*element_count(got) != *element_count(std::span(input).subspan(1))) {
    fail(ErrorCode::kInvalidArgument,
         "the network's input is {}, an image becomes {}; see --resize, --crop, --layout",
         to_string(input), to_string(got));
  }
  return preprocessing;
}

int64_t choose_label_offset(const ImageOptions& options, const Model& model) {
  if (options.label_offset) return *options.label_offset;
  const bool known = model.metadata.is_object() && model.metadata.contains("label_offset") &&
                     model.metadata["label_offset"].is_number_integer();
  return known ? model.metadata["label_offset"].get<int64_t>() : 0;
}

std::string describe(const Preprocessing& p, const Shape& input) {
  std::string text = p.channels == 1 ? "grey" : p.bgr ? "bgr" : "rgb";
  if (p.resize_height > 0) {
    text += p.resize_width > 0
                ? fmt::format(", resized to {} x {}", p.resize_height, p.resize_width)
                : fmt::format(", shorter side {}", p.resize_height);
  }
  if (p.crop_height > 0) text += fmt::format(", middle {} x {}", p.crop_height, p.crop_width);
  text += p.scale == 1 ? ", pixel" : fmt::format(", pixel * {:.4g}", p.scale);
  if (!p.mean.empty()) text += fmt::format(" - {:.4g}", fmt::join(p.mean, " "));
  if (!p.deviation.empty()) text += fmt::format(", / {:.4g}", fmt::join(p.deviation, " "));
  return fmt::format("{}, as {}", text, to_string(input));
}

}  // namespace bitsmith

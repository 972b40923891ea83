// Options of the commands that show images to a network.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "formats/model.h"
#include "images/dataset.h"
#include "images/preprocessing.h"

namespace bitsmith {

struct ImageOptions {
  std::string images;
  std::string labels;
  std::string raw;  // "32x32x3": of images without a header
  std::string preprocess;
  std::string resize;
  std::string crop;
  std::string order;
  std::string scale;
  std::string mean;
  std::string deviation;
  std::string layout;
  std::optional<int64_t> label_offset;
  int64_t limit = 0;

  friend bool operator==(const ImageOptions&, const ImageOptions&) = default;
};

// Adds --images and what belongs to it; returns --images.
CLI::Option* add_image_options(CLI::App& command, ImageOptions& options);
// Adds what belongs to images that `source` names; nullptr: the caller sees to that.
void add_image_options(CLI::App& command, ImageOptions& options, CLI::Option* source);

// For the footer of a command's help.
inline constexpr const char* kImageHelp =
    "--images takes a folder or .tar of JPEG and PNG files (folders are classes), the files of\n"
    "MNIST or CIFAR-10 or their folder, .npy, or raw bytes with --raw. Pixels become\n"
    "(pixel * scale - mean) / std: --preprocess none keeps them 0 to 255, unit makes them 0 to 1,\n"
    "symmetric -1 to 1; imagenet and cifar10 subtract the mean of these sets from 0 to 1 and "
    "divide\n"
    "by the deviation.";

std::unique_ptr<ImageDataset> open_images(const ImageOptions& options);

// What the options say; what they leave open is what the model was compressed with, if it says so;
// else it is taken from the network's input and the images: layout and channels, the size (images
// of another size are resized), and the scale of pixels (--preprocess imagenet for colour, unit for
// grey). kInvalidArgument if that cannot fit.
Preprocessing choose_preprocessing(const ImageOptions& options, const Model& model,
                                   const ImageDataset& dataset);
// The network's class of label 0, by the option or else by the model.
int64_t choose_label_offset(const ImageOptions& options, const Model& model);

// "rgb 3 x 32 x 32, (pixel * 0.003922 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
std::string describe(const Preprocessing& preprocessing, const Shape& input);

}  // namespace bitsmith

#include "images/dataset.h"

#include "core/error.h"
#include "images/array_dataset.h"
#include "images/cifar.h"
#include "images/folder.h"
#include "core/gzip.h"
#include "images/idx.h"
#include "images/labels.h"
#include "images/npy.h"
#include "images/tar.h"

namespace bitsmith {
namespace {

constexpr uint64_t kLargestInflated = uint64_t{1} << 32;

void set_labels(const Labels* labels, ImageArray& array) {
  if (labels == nullptr) return;
  // Arrays have no names, so names in the labels only say which file it was.
  if (static_cast<int64_t>(labels->labels.size()) != array.count) {
    fail(ErrorCode::kCorrupt, "there are {} labels for the {} images of '{}'",
         labels->labels.size(), array.count, array.file);
  }
  array.labels = labels->labels;
}

std::unique_ptr<ImageDataset> open_idx(ImageArray array, const IdxArray& idx,
                                       const Labels* labels) {
  if (idx.shape.size() < 3) {
    fail(ErrorCode::kCorrupt, "'{}' is the array {}; images are [n, height, width]", array.file,
         to_string(idx.shape));
  }
  array.count = idx.shape[0];
  array.shape = {idx.shape[1], idx.shape[2], idx.shape.size() == 4 ? idx.shape[3] : 1};
  array.stride = checked_pixels(array.shape, array.file);
  array.bytes = idx.elements;
  set_labels(labels, array);
  return make_array_dataset(std::move(array));
}

std::unique_ptr<ImageDataset> open_npy(ImageArray array, const NpyArray& npy,
                                       const Labels* labels) {
  array.floats = npy.type == "<f4";
  const size_t extents = npy.shape.size();
  if (!array.floats && (npy.type != "|u1" || extents < 3 || extents > 4)) {
    fail(ErrorCode::kUnsupported,
         "'{}' is the array {} of '{}'; images are uint8 [n, height, width] or [n, height, width, "
         "channels], or float32 [n, ...]",
         array.file, to_string(npy.shape), npy.type);
  }
  if (extents < 2) {
    fail(ErrorCode::kCorrupt, "'{}' is the array {}: it holds no images", array.file,
         to_string(npy.shape));
  }
  array.count = npy.shape[0];
  array.shape.assign(npy.shape.begin() + 1, npy.shape.end());
  if (!array.floats && extents == 3) array.shape.push_back(1);
  array.stride = checked_pixels(array.shape, array.file) * (array.floats ? 4 : 1);
  array.bytes = npy.elements;
  set_labels(labels, array);
  return make_array_dataset(std::move(array));
}

std::unique_ptr<ImageDataset> open_raw(ImageArray array, const Shape& shape, const Labels* labels) {
  if (shape.size() != 3) {
    fail(ErrorCode::kInvalidArgument, "the shape of raw images is height, width, channels; got {}",
         to_string(shape));
  }
  array.shape = shape;
  array.stride = checked_pixels(shape, array.file);
  const auto size = static_cast<int64_t>(array.bytes.size());
  if (size == 0 || size % array.stride != 0) {
    fail(ErrorCode::kCorrupt, "'{}' has {} bytes, no multiple of the {} of an image {}", array.file,
         size, array.stride, to_string(shape));
  }
  array.count = size / array.stride;
  set_labels(labels, array);
  return make_array_dataset(std::move(array));
}

}  // namespace

std::unique_ptr<ImageDataset> open_images(const ImageSource& source) {
  const std::string file = source.images.string();
  std::error_code ignored;
  if (!std::filesystem::exists(source.images, ignored)) {
    fail(ErrorCode::kNotFound, "'{}' is not there", file);
  }
  Labels list;
  const Labels* labels = nullptr;
  if (!source.labels.empty()) {
    list = read_labels(source.labels);
    labels = &list;
  }
  if (std::filesystem::is_directory(source.images, ignored)) {
    return open_folder(source.images, labels);
  }
  FileContent content = open_content(source.images, kLargestInflated);
  ImageArray array;
  array.file = file;
  array.bytes = content.bytes;
  array.owner = content.owner;
  if (!source.raw_shape.empty()) return open_raw(std::move(array), source.raw_shape, labels);
  if (is_tar(content.bytes)) return open_tar(source.images, labels);
  if (is_npy(content.bytes)) {
    return open_npy(std::move(array), read_npy(content.bytes, file), labels);
  }
  if (is_idx(content.bytes)) {
    return open_idx(std::move(array), read_idx(content.bytes, file), labels);
  }
  if (labels == nullptr && (is_pickle(content.bytes) || is_cifar_binary(content.bytes))) {
    return open_cifar(source.images);
  }
  fail(ErrorCode::kUnsupported,
       "'{}' holds no images that bitsmith knows: a folder or .tar of JPEG and PNG files, idx, "
       "CIFAR-10 batches (which bring their labels), .npy, or raw bytes with a given shape",
       file);
}

}  // namespace bitsmith

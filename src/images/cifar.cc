#include "images/cifar.h"

#include "core/error.h"
#include "images/array_dataset.h"
#include "images/cifar_pickle.h"

namespace bitsmith {
namespace {

constexpr int64_t kExtent = 32;
constexpr int64_t kPixelBytes = kExtent * kExtent * 3;
constexpr int64_t kEntryBytes = 1 + kPixelBytes;
constexpr int64_t kClasses = 10;

const std::vector<std::string> kNames = {"airplane", "automobile", "bird",  "cat",  "deer",
                                         "dog",      "frog",       "horse", "ship", "truck"};

std::vector<int64_t> checked_labels(std::vector<int64_t> labels, const std::string& file) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0 && labels[i] < kClasses) continue;
    fail(ErrorCode::kCorrupt, "'{}': image {} has the label {}, expected 0 to 9", file, i,
         labels[i]);
  }
  return labels;
}

}  // namespace

bool is_cifar_binary(std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes.size() % kEntryBytes != 0) return false;
  for (size_t at = 0; at < bytes.size(); at += kEntryBytes) {
    if (std::to_integer<int64_t>(bytes[at]) >= kClasses) return false;
  }
  return true;
}

bool is_pickle(std::span<const std::byte> bytes) {
  return bytes.size() > 2 && bytes[0] == std::byte{0x80} && bytes[1] >= std::byte{2} &&
         bytes[1] <= std::byte{5};
}

std::unique_ptr<ImageDataset> open_cifar(const std::filesystem::path& path) {
  auto file = std::make_shared<MappedFile>(path);
  const std::span<const std::byte> bytes = file->bytes();
  ImageArray array;
  array.file = path.string();
  array.shape = {kExtent, kExtent, 3};
  array.order = PixelOrder::kPlanar;
  array.classes = kNames;
  if (is_pickle(bytes)) {
    const CifarBatch batch = read_cifar_pickle(bytes, path.string());
    array.bytes = batch.data;
    array.stride = kPixelBytes;
    array.count = static_cast<int64_t>(batch.labels.size());
    array.labels = checked_labels(batch.labels, array.file);
  } else {
    if (!is_cifar_binary(bytes)) {
      fail(ErrorCode::kCorrupt,
           "'{}' is no CIFAR-10 batch: neither a pickle nor entries of {} bytes", path.string(),
           kEntryBytes);
    }
    array.bytes = bytes;
    array.stride = kEntryBytes;
    array.offset = 1;
    array.count = static_cast<int64_t>(bytes.size()) / kEntryBytes;
    for (size_t at = 0; at < bytes.size(); at += kEntryBytes) {
      array.labels.push_back(std::to_integer<int64_t>(bytes[at]));
    }
  }
  array.owner = std::move(file);
  return make_array_dataset(std::move(array));
}

}  // namespace bitsmith

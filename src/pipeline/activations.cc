#include "pipeline/activations.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "core/error.h"
#include "core/mapped_file.h"

namespace bitsmith {

ActivationStore::ActivationStore(std::filesystem::path folder, uint64_t memory_bytes)
    : folder_(std::move(folder)), memory_bytes_(memory_bytes) {}

ActivationStore::~ActivationStore() { unmap(); }

void ActivationStore::unmap() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
  data_ = nullptr;
}

void ActivationStore::swap(ActivationStore& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(memory_bytes_, other.memory_bytes_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(spilled_, other.spilled_);
  std::swap(samples_, other.samples_);
  std::swap(shape_, other.shape_);
  std::swap(elements_, other.elements_);
}

void ActivationStore::resize(int64_t samples, Shape shape) {
  const int64_t elements = *element_count(shape);
  const size_t bytes = static_cast<size_t>(samples * elements) * sizeof(float);
  const bool fits = data_ != nullptr && bytes == bytes_;
  samples_ = samples;
  shape_ = std::move(shape);
  elements_ = elements;
  if (fits) return;
  unmap();
  bytes_ = bytes;
  spilled_ = bytes > memory_bytes_;
  void* data = MAP_FAILED;
  if (spilled_) {
    const int fd = ::open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    const int failed = fd < 0 ? errno : ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
    if (failed != 0) {
      if (fd >= 0) ::close(fd);
      fail(ErrorCode::kEnvironment, "cannot spill {} MB of activations to '{}': {}", bytes >> 20,
           folder_.string(), std::strerror(failed));
    }
    data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
  } else {
    data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  if (data == MAP_FAILED) {
    fail(ErrorCode::kEnvironment, "cannot map {} MB for activations: {}", bytes >> 20,
         std::strerror(errno));
  }
  data_ = static_cast<float*>(data);
}

NextActivations::NextActivations(ActivationStore& current, int64_t samples, const Shape& shape)
    : current_(current),
      in_place_(shape == current.shape()),
      other_(current.folder(), current.memory_bytes()) {
  if (!in_place_) other_.resize(samples, shape);
}

at::Tensor ActivationStore::load(int64_t i) const {
  at::Tensor copy = view(i).clone();
  release(i);
  return copy;
}

void ActivationStore::save(int64_t i, const at::Tensor& values) {
  view(i).copy_(values);
  release(i);
}

at::Tensor ActivationStore::view(int64_t i) const {
  BITSMITH_ASSERT(i >= 0 && i < samples_);
  return at::from_blob(data_ + i * elements_, shape_, at::kFloat);
}

void ActivationStore::release(int64_t i) const {
  if (!spilled_) return;
  const float* begin = data_ + i * elements_;
  release_pages(std::as_bytes(std::span(begin, static_cast<size_t>(elements_))));
}

}  // namespace bitsmith

// The activations of all calibration samples at one cut point, in memory or spilled to disk.
#pragma once

#include <cstdint>
#include <filesystem>

#include "reference/torch.h"
#include "tensor/shape.h"

namespace bitsmith {

// A block of float32 [samples, shape]. When it is larger than `memory_bytes` it lies
// in an unlinked temporary file in `folder`, mapped, and a sample's pages are dropped from memory
// as soon as it was read or written.
class ActivationStore {
 public:
  ActivationStore(std::filesystem::path folder, uint64_t memory_bytes);
  ~ActivationStore();
  ActivationStore(const ActivationStore&) = delete;
  ActivationStore& operator=(const ActivationStore&) = delete;
  void swap(ActivationStore& other) noexcept;

  // Makes room; what was stored is lost if the size changes.
  //   shape: of one sample, [1, ...], every extent known
  void resize(int64_t samples, Shape shape);

  // Copies of one sample, of its shape. Different samples may be used from different threads at
  // once.
  at::Tensor load(int64_t i) const;
  void save(int64_t i, const at::Tensor& values);

  const Shape& shape() const { return shape_; }
  const std::filesystem::path& folder() const { return folder_; }
  uint64_t memory_bytes() const { return memory_bytes_; }

 private:
  at::Tensor view(int64_t i) const;
  void release(int64_t i) const;
  void unmap();

  std::filesystem::path folder_;
  uint64_t memory_bytes_;
  float* data_ = nullptr;
  size_t bytes_ = 0;
  bool spilled_ = false;
  int64_t samples_ = 0;
  Shape shape_;
  int64_t elements_ = 0;  // of a sample
};

// What a block makes of the activations before it: written over them if it has their shape, else
// into a store that takes their place in the end. (Each sample is read before it is written.)
class NextActivations {
 public:
  NextActivations(ActivationStore& current, int64_t samples, const Shape& shape);
  void save(int64_t i, const at::Tensor& values) {
    (in_place_ ? current_ : other_).save(i, values);
  }
  void finish() {
    if (!in_place_) current_.swap(other_);
  }

 private:
  ActivationStore& current_;
  bool in_place_;
  ActivationStore other_;
};

}  // namespace bitsmith

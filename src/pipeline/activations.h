// The activations of all calibration sequences at one cut point, in memory or spilled to disk.
#pragma once

#include <cstdint>
#include <filesystem>

#include "reference/torch.h"

namespace bitsmith {

// A block of float32 [sequences, length, channels]. When it is larger than `memory_bytes` it lies
// in an unlinked temporary file in `folder`, mapped, and a sequence's pages are dropped from memory
// as soon as it was read or written.
class ActivationStore {
 public:
  ActivationStore(std::filesystem::path folder, uint64_t memory_bytes);
  ~ActivationStore();
  ActivationStore(const ActivationStore&) = delete;
  ActivationStore& operator=(const ActivationStore&) = delete;

  // Makes room; what was stored is lost if the size changes.
  void resize(int64_t sequences, int64_t length, int64_t channels);

  // Copies of one sequence, [1, length, channels]. Different sequences may be used from different
  // threads at once.
  at::Tensor load(int64_t i) const;
  void save(int64_t i, const at::Tensor& values);

  int64_t channels() const { return channels_; }

 private:
  at::Tensor view(int64_t i) const;
  void release(int64_t i) const;
  void unmap();

  std::filesystem::path folder_;
  uint64_t memory_bytes_;
  float* data_ = nullptr;
  size_t bytes_ = 0;
  bool spilled_ = false;
  int64_t sequences_ = 0;
  int64_t length_ = 0;
  int64_t channels_ = 0;
};

}  // namespace bitsmith

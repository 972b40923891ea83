// The activations of all calibration sequences at one cut point, in memory or spilled to disk.
#pragma once

#include <cstdint>
#include <filesystem>

#include "reference/torch.h"

namespace bitsmith {

// A block of float32 [sequences, length, channels]. When it is larger than `memory_bytes` it lies
// in an unlinked temporary file in `folder`, mapped, and release() drops a sequence's pages from
// memory.
class ActivationStore {
 public:
  ActivationStore(std::filesystem::path folder, uint64_t memory_bytes);
  ~ActivationStore();
  ActivationStore(const ActivationStore&) = delete;
  ActivationStore& operator=(const ActivationStore&) = delete;

  // Makes room; what was stored is lost if the size changes.
  void resize(int64_t sequences, int64_t length, int64_t channels);

  // A view [1, length, channels] of one sequence, valid until resize().
  at::Tensor sequence(int64_t i) const;
  void release(int64_t i) const;

  int64_t channels() const { return channels_; }

 private:
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

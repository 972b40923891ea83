// Kernels for families of codecs: those whose codes have the same form.
#pragma once

#include "runtime/kernels/linear.h"

namespace bitsmith {

// Makes kernels for all codecs that it takes, whatever their ids, and that have no factory of their
// own.
class LinearKernelFamily {
 public:
  static const char* kind() { return "linear kernel family"; }
  virtual ~LinearKernelFamily() = default;
  virtual const PartInfo& info() const = 0;

  virtual bool takes(const Codec& codec) const = 0;
  // nullptr for options this kernel does not handle. The tensor's bytes must outlive the kernel.
  virtual std::unique_ptr<LinearKernel> make(const CodedTensor& weights) const = 0;
};

}  // namespace bitsmith

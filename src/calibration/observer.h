// Which range of an activation its codes should cover: the interface of every observer.
#pragma once

#include <memory>
#include <span>

#include "core/registry.h"

namespace bitsmith {

// Numbers that have a code, low <= 0 <= high: zero always has one, so that padding and what a ReLU
// leaves are exact.
struct ValueRange {
  double low = 0;
  double high = 0;
  friend bool operator==(const ValueRange&, const ValueRange&) = default;
};

// Affine codes of a range: code = clamp(round(x / scale) + zero, 0, 2^bits - 1).
struct AffineCode {
  float scale = 1;
  int zero = 0;
  int high = 255;

  AffineCode(const ValueRange& range, int bits);
  double rounded(double x) const;  // the number that the code of x stands for
};

// Collects one activation. Memory does not grow with what it is shown.
class Observer {
 public:
  virtual ~Observer() = default;
  // The elements of one batch of images, in any order; all are finite.
  virtual void add(std::span<const float> x) = 0;
  virtual ValueRange range(int bits) const = 0;
};

class ObserverMethod {
 public:
  static const char* kind() { return "observer"; }
  virtual ~ObserverMethod() = default;
  virtual const PartInfo& info() const = 0;
  virtual std::unique_ptr<Observer> make(const Options& options) const = 0;
};

}  // namespace bitsmith

// Arrays that begin at a cache line, for panels that vectors are loaded from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

namespace bitsmith {

// `size` elements of a plain type, zero at first. Owns its memory; moves, but does not copy.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(int64_t size) : size_(size) {
    const auto bytes = static_cast<size_t>(std::max<int64_t>(1, size)) * sizeof(T);
    data_.reset(static_cast<T*>(::operator new (bytes, std::align_val_t{64})));
    std::fill_n(data_.get(), size, T{});
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * static_cast<int64_t>(sizeof(T)); }
  T& operator[](int64_t i) { return data_[static_cast<size_t>(i)]; }
  const T& operator[](int64_t i) const { return data_[static_cast<size_t>(i)]; }

 private:
  struct Delete {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<T[], Delete> data_;
  int64_t size_ = 0;
};

}  // namespace bitsmith

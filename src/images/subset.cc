#include "images/subset.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith {
namespace {

class Spread final : public ImageDataset {
 public:
  Spread(std::unique_ptr<ImageDataset> dataset, int64_t count)
      : dataset_(std::move(dataset)), count_(count) {}
  int64_t size() const override { return count_; }
  Image image(int64_t i) const override { return dataset_->image(at(i)); }
  int64_t label(int64_t i) const override { return dataset_->label(at(i)); }
  std::string name(int64_t i) const override { return dataset_->name(at(i)); }
  std::vector<std::string> classes() const override { return dataset_->classes(); }

 private:
  int64_t at(int64_t i) const {
    // Without overflow: size * i / count in two parts.
    const int64_t size = dataset_->size();
    return size / count_ * i + size % count_ * i / count_;
  }

  std::unique_ptr<ImageDataset> dataset_;
  int64_t count_;
};

}  // namespace

std::unique_ptr<ImageDataset> spread_images(std::unique_ptr<ImageDataset> dataset, int64_t count) {
  BITSMITH_ASSERT(count > 0);
  if (count >= dataset->size()) return dataset;
  return std::make_unique<Spread>(std::move(dataset), count);
}

}  // namespace bitsmith

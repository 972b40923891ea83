#include "images/subset.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith {
namespace {

class Selected final : public ImageDataset {
 public:
  Selected(std::shared_ptr<const ImageDataset> dataset, std::vector<int64_t> numbers)
      : dataset_(std::move(dataset)), numbers_(std::move(numbers)) {}
  int64_t size() const override { return static_cast<int64_t>(numbers_.size()); }
  Image image(int64_t i) const override { return dataset_->image(at(i)); }
  int64_t label(int64_t i) const override { return dataset_->label(at(i)); }
  std::string name(int64_t i) const override { return dataset_->name(at(i)); }
  std::vector<std::string> classes() const override { return dataset_->classes(); }

 private:
  int64_t at(int64_t i) const { return numbers_.at(static_cast<size_t>(i)); }

  std::shared_ptr<const ImageDataset> dataset_;
  std::vector<int64_t> numbers_;
};

}  // namespace

std::unique_ptr<ImageDataset> spread_images(std::unique_ptr<ImageDataset> dataset, int64_t count) {
  BITSMITH_ASSERT(count > 0);
  if (count >= dataset->size()) return dataset;
  const int64_t size = dataset->size();
  std::vector<int64_t> numbers;
  // Without overflow: size * i / count in two parts.
  for (int64_t i = 0; i < count; ++i) {
    numbers.push_back(size / count * i + size % count * i / count);
  }
  return select_images(std::move(dataset), std::move(numbers));
}

std::unique_ptr<ImageDataset> select_images(std::shared_ptr<const ImageDataset> dataset,
                                            std::vector<int64_t> numbers) {
  return std::make_unique<Selected>(std::move(dataset), std::move(numbers));
}

}  // namespace bitsmith

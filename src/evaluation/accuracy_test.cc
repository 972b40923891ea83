#include "evaluation/accuracy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace bitsmith {
namespace {

// Image i is the number i; its label is i mod 8.
class Numbers final : public ImageDataset {
 public:
  explicit Numbers(int64_t count, bool labels = true) : count_(count), labels_(labels) {}
  int64_t size() const override { return count_; }
  Image image(int64_t i) const override { return {0, 0, 0, {}, {static_cast<float>(i)}}; }
  int64_t label(int64_t i) const override { return labels_ ? i % 8 : kNoLabel; }
  std::string name(int64_t i) const override { return fmt::format("image {}", i); }

 private:
  int64_t count_;
  bool labels_;
};

// Gives class choose(i) the logit 3, class i mod 8 the logit 2 and others -c.
Classifier classifier(const std::function<int64_t(int64_t)>& choose, int64_t classes = 8) {
  return [=](std::span<const float> inputs, int64_t count) {
    std::vector<float> logits;
    for (int64_t i = 0; i < count; ++i) {
      const auto image = static_cast<int64_t>(inputs[static_cast<size_t>(i)]);
      for (int64_t c = 0; c < classes; ++c) {
        logits.push_back(c == choose(image) ? 3.0F
                         : c == image % 8   ? 2.0F
                                            : -static_cast<float>(c));
      }
    }
    return logits;
  };
}

ClassifierEvaluation evaluate(const Classifier& model, const Classifier* original, int64_t images,
                              AccuracyOptions options = {}) {
  ThreadPool pool(2);
  SilentProgress progress;
  return evaluate_classifier(model, original, Numbers(images), {}, options, pool, progress);
}

TEST(Accuracy, CountsByClassAndRank) {
  // Wrong on every fourth image, where the right class is second.
  const Classifier model = classifier([](int64_t i) { return i % 4 == 0 ? (i + 1) % 8 : i % 8; });
  for (const int64_t batch : {1, 7, 100}) {
    const auto result = evaluate(model, nullptr, 80, {batch, 0});
    EXPECT_EQ(result.model.images, 80);
    EXPECT_DOUBLE_EQ(result.model.top1.value, 0.75);
    EXPECT_DOUBLE_EQ(result.model.top1.error, std::sqrt(0.75 * 0.25 / 80));
    EXPECT_EQ(result.model.top5.value, 1);
    ASSERT_EQ(result.model.classes.size(), 8U);
    EXPECT_EQ(result.model.classes[0].images, 10);
    EXPECT_EQ(result.model.classes[0].correct, 0);
    EXPECT_EQ(result.model.classes[3].correct, 10);
  }
}

// Logits that are all equal: the label's rank is its number.
TEST(Accuracy, TiesGoToTheSmallerClass) {
  const Classifier flat = [](std::span<const float>, int64_t count) {
    return std::vector<float>(static_cast<size_t>(8 * count), 1.0F);
  };
  const auto result = evaluate(flat, nullptr, 16);
  EXPECT_DOUBLE_EQ(result.model.top1.value, 1 / 8.0);
  EXPECT_DOUBLE_EQ(result.model.top5.value, 5 / 8.0);
}

TEST(Accuracy, ComparesImageByImage) {
  const Classifier model = classifier([](int64_t i) { return i < 10 ? (i + 1) % 8 : i % 8; });
  const Classifier original =
      classifier([](int64_t i) { return i >= 8 && i < 12 ? (i + 2) % 8 : i % 8; });
  const auto result = evaluate(model, &original, 40);
  ASSERT_TRUE(result.comparison.has_value());
  // The original is wrong on 8 to 11, the model on 0 to 9: both on 8 and 9, differently.
  EXPECT_EQ(result.comparison->lost, 8);
  EXPECT_EQ(result.comparison->gained, 2);
  EXPECT_DOUBLE_EQ(result.comparison->difference.value, -6 / 40.0);
  EXPECT_DOUBLE_EQ(result.comparison->difference.error, std::sqrt(10 - 36 / 40.0) / 40);
  EXPECT_DOUBLE_EQ(result.comparison->agreement.value, 28 / 40.0);
  EXPECT_EQ(result.to_json()["comparison"]["lost"], 8);
  EXPECT_GT(result.comparison->kl_nats.value, 0);
  EXPECT_EQ(evaluate(model, &model, 40).comparison->kl_nats.value, 0);
}

// The same two distributions on every image: p = (e, 1) / (e + 1) from q = (1, 1) / 2.
TEST(Accuracy, MeasuresDivergence) {
  const auto constant = [](float first) {
    return [=](std::span<const float>, int64_t count) {
      std::vector<float> logits(static_cast<size_t>(8 * count), -100.0F);
      for (int64_t i = 0; i < count; ++i) {
        logits[static_cast<size_t>(8 * i)] = first;
        logits[static_cast<size_t>(8 * i + 1)] = 0;
      }
      return logits;
    };
  };
  const Classifier original = constant(1);
  const Estimate kl = evaluate(constant(0), &original, 20).comparison->kl_nats;
  const double p = std::exp(1.0) / (std::exp(1.0) + 1);
  EXPECT_NEAR(kl.value, p * std::log(2 * p) + (1 - p) * std::log(2 * (1 - p)), 1e-6);
  EXPECT_NEAR(kl.error, 0, 1e-7);
}

TEST(Accuracy, LabelsMayBeMoved) {
  // Class 0 is the background: class c + 1 is right for label c.
  const Classifier model = [](std::span<const float> inputs, int64_t count) {
    std::vector<float> logits(static_cast<size_t>(9 * count));
    for (int64_t i = 0; i < count; ++i) {
      logits[static_cast<size_t>(9 * i + 1 +
                                 static_cast<int64_t>(inputs[static_cast<size_t>(i)]) % 8)] = 1;
    }
    return logits;
  };
  EXPECT_EQ(evaluate(model, nullptr, 20, {8, 1}).model.top1.value, 1);
  EXPECT_EQ(evaluate(model, nullptr, 20, {8, 0}).model.top1.value, 0);
}

TEST(Accuracy, RefusesWhatCannotBeMeasured) {
  const Classifier model = classifier([](int64_t i) { return i % 8; });
  const Classifier small = classifier([](int64_t i) { return i % 8; }, 7);
  const Classifier broken = [](std::span<const float>, int64_t count) {
    return std::vector<float>(static_cast<size_t>(8 * count), std::nanf(""));
  };
  const auto code = [](const std::function<void()>& body) {
    try {
      body();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode{};
  };
  EXPECT_EQ(code([&] { evaluate(small, nullptr, 20); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { evaluate(model, &small, 20); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code([&] { evaluate(broken, nullptr, 20); }), ErrorCode::kCorrupt);
  EXPECT_EQ(code([&] { evaluate(model, nullptr, 0); }), ErrorCode::kInvalidArgument);
  ThreadPool pool(1);
  SilentProgress progress;
  EXPECT_EQ(
      code([&] { evaluate_classifier(model, nullptr, Numbers(4, false), {}, {}, pool, progress); }),
      ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace bitsmith

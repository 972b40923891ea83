#include "images/preprocessing.h"

#include <cmath>

#include "core/random.h"
#include "images/images_testing.h"
#include "images/resize.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Image random_image(int64_t height, int64_t width, int64_t channels, uint64_t seed) {
  Image image{height, width, channels, {}, {}};
  Random random(seed);
  image.pixels.resize(static_cast<size_t>(height * width * channels));
  for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random.next());
  return image;
}

// One output pixel by the definition, in floating point and in one pass.
double resized_pixel(const Image& image, int64_t height, int64_t width, int64_t y, int64_t x,
                     int64_t c) {
  const auto weights = [](int64_t in, int64_t out, int64_t i) {
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double support = std::max(1.0, scale);
    std::vector<double> w(static_cast<size_t>(in));
    double sum = 0;
    for (int64_t k = 0; k < in; ++k) {
      const double d = static_cast<double>(k) + 0.5 - (static_cast<double>(i) + 0.5) * scale;
      w[static_cast<size_t>(k)] = std::max(0.0, 1 - std::abs(d) / support);
      sum += w[static_cast<size_t>(k)];
    }
    for (double& v : w) v /= sum;
    return w;
  };
  const auto down = weights(image.height, height, y);
  const auto across = weights(image.width, width, x);
  double value = 0;
  for (int64_t v = 0; v < image.height; ++v) {
    for (int64_t u = 0; u < image.width; ++u) {
      value += down[static_cast<size_t>(v)] * across[static_cast<size_t>(u)] *
               image.pixels[static_cast<size_t>((v * image.width + u) * image.channels + c)];
    }
  }
  return value;
}

// Each pass rounds to whole levels: at most half a level each.
TEST(Resize, FollowsItsDefinition) {
  for (const auto& [height, width] : {std::pair{5, 7}, {20, 31}, {13, 9}, {1, 1}, {64, 3}}) {
    const Image image = random_image(13, 17, 3, 1);
    const Image result = resize_bilinear(image, height, width);
    ASSERT_EQ(result.pixels.size(), static_cast<size_t>(height * width * 3));
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        for (int64_t c = 0; c < 3; ++c) {
          const double expected = resized_pixel(image, height, width, y, x, c);
          const auto at = static_cast<size_t>((y * width + x) * 3 + c);
          ASSERT_NEAR(result.pixels[at], expected, 1.001) << y << " " << x;
        }
      }
    }
  }
}

TEST(Resize, KeepsConstantImagesAndTheSameSize) {
  Image grey{9, 5, 1, std::vector<uint8_t>(45, 200), {}};
  for (const uint8_t pixel : resize_bilinear(grey, 4, 11).pixels) EXPECT_EQ(pixel, 200);
  const Image image = random_image(8, 8, 3, 2);
  EXPECT_EQ(resize_bilinear(image, 8, 8).pixels, image.pixels);
}

TEST(CentreCrop, TakesTheMiddle) {
  Image image{3, 4, 1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {}};
  EXPECT_THAT(centre_crop(image, 1, 2).pixels, ElementsAre(5, 6));
  EXPECT_THAT(centre_crop(image, 2, 1).pixels, ElementsAre(1, 5));
  EXPECT_THAT(error_of(ErrorCode::kInvalidArgument, [&] { centre_crop(image, 4, 4); }),
              HasSubstr("resize it first"));
}

TEST(Preprocess, OrdersAndScalesChannels) {
  const Image image{1, 2, 3, {10, 20, 30, 40, 50, 60}, {}};
  Preprocessing p;
  EXPECT_THAT(preprocess(p, image), ElementsAre(10, 40, 20, 50, 30, 60));
  p.channels_last = true;
  EXPECT_THAT(preprocess(p, image), ElementsAre(10, 20, 30, 40, 50, 60));
  p.bgr = true;
  p.mean = {1, 2, 3};  // of blue, green, red
  p.deviation = {2};
  p.scale = 0.5;
  EXPECT_THAT(preprocess(p, image), ElementsAre(7, 4, 1, 14.5F, 11.5F, 8.5F));
  p = {};
  p.channels = 1;
  const Image white{1, 1, 3, {255, 255, 255}, {}};
  EXPECT_THAT(preprocess(p, white), ElementsAre(255));
  p.channels = 3;
  EXPECT_THAT(preprocess(p, Image{1, 1, 1, {9}, {}}), ElementsAre(9, 9, 9));
  EXPECT_THAT(preprocess(p, Image{0, 0, 0, {}, {1.5F, -2}}), ElementsAre(1.5F, -2));
}

TEST(Preprocess, ShorterSideAndCrop) {
  Preprocessing p;
  p.resize_height = 6;
  EXPECT_EQ(p.output_shape(12, 30), (Shape{3, 6, 15}));
  EXPECT_EQ(p.output_shape(30, 12), (Shape{3, 15, 6}));
  EXPECT_EQ(preprocess(p, random_image(12, 30, 3, 3)).size(), 3U * 6 * 15);
  p.crop_height = 5;
  p.crop_width = 4;
  EXPECT_EQ(p.output_shape(12, 30), (Shape{3, 5, 4}));
  EXPECT_EQ(preprocess(p, random_image(12, 30, 3, 3)).size(), 3U * 5 * 4);
}

TEST(Preprocess, JsonIsKept) {
  Preprocessing p;
  p.resize_height = 256;
  p.crop_height = 224;
  p.crop_width = 200;
  p.bgr = true;
  p.scale = 1 / 255.0;
  p.mean = {0.485, 0.456, 0.406};
  p.deviation = {0.229, 0.224, 0.225};
  p.channels_last = true;
  EXPECT_EQ(Preprocessing::from_json(p.to_json()), p);
  EXPECT_EQ(Preprocessing::from_json(json::object()), Preprocessing());
  EXPECT_EQ(Preprocessing::from_json(json::parse(p.to_json().dump())), p);
  const auto message = [](const char* text) {
    return error_of(ErrorCode::kInvalidArgument,
                    [&] { Preprocessing::from_json(json::parse(text)); });
  };
  EXPECT_THAT(message(R"({"resise": 3})"), HasSubstr("'resise'"));
  EXPECT_THAT(message(R"({"resize": 0})"), HasSubstr("'resize'"));
  EXPECT_THAT(message(R"({"crop": [1, 2, 3]})"), HasSubstr("'crop'"));
  EXPECT_THAT(message(R"({"order": "gbr"})"), HasSubstr("'order'"));
  EXPECT_THAT(message(R"({"mean": [1, 2]})"), HasSubstr("2 numbers for 3 channels"));
  EXPECT_THAT(message(R"({"std": 0})"), HasSubstr("'std'"));
  EXPECT_THAT(message(R"([])"), HasSubstr("an object"));
}

TEST(Preprocess, ReadsCommandLines) {
  EXPECT_THAT(parse_extents("224", "--resize"), ElementsAre(224));
  EXPECT_THAT(parse_extents("32x48x3", "--image-shape"), ElementsAre(32, 48, 3));
  EXPECT_THAT(parse_numbers("1/255", "--scale"), ElementsAre(1 / 255.0));
  EXPECT_THAT(parse_numbers("0.5,-1", "--mean"), ElementsAre(0.5, -1));
  for (const char* text : {"", "x", "1x", "0", "-3", "1x2x3x4", "99999"}) {
    error_of(ErrorCode::kInvalidArgument, [&] { parse_extents(text, "--crop"); });
  }
  for (const char* text : {"", "a", "1,", "1/0", "1/", "nan"}) {
    error_of(ErrorCode::kInvalidArgument, [&] { parse_numbers(text, "--mean"); });
  }
}

// Images of its own size for each index.
class Sizes final : public ImageDataset {
 public:
  explicit Sizes(std::vector<int64_t> widths) : widths_(std::move(widths)) {}
  int64_t size() const override { return static_cast<int64_t>(widths_.size()); }
  Image image(int64_t i) const override {
    return random_image(4, widths_[static_cast<size_t>(i)], 3, static_cast<uint64_t>(i));
  }
  int64_t label(int64_t) const override { return kNoLabel; }
  std::string name(int64_t i) const override { return fmt::format("image {}", i); }

 private:
  std::vector<int64_t> widths_;
};

TEST(PreprocessBatch, DoesNotDependOnThreads) {
  const Sizes dataset({5, 7, 9, 6, 4, 8});
  Preprocessing p;
  p.resize_height = 6;
  p.resize_width = 6;
  std::vector<float> expected;
  for (int64_t i = 1; i < 6; ++i) {
    const auto values = preprocess(p, dataset.image(i));
    expected.insert(expected.end(), values.begin(), values.end());
  }
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(preprocess_batch(p, dataset, 1, 5, pool), expected);
  }
  ThreadPool pool(2);
  EXPECT_THAT(
      error_of(ErrorCode::kInvalidArgument, [&] { preprocess_batch({}, dataset, 0, 6, pool); }),
      HasSubstr("give an exact --resize"));
}

}  // namespace
}  // namespace bitsmith

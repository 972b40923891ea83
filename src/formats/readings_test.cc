// Models read at fewer bits: which tensors change, to what, and what is refused.
#include "formats/readings.h"

#include "codecs/codec_testing.h"
#include "formats/formats_test_support.h"

namespace bitsmith {
namespace {

constexpr int64_t kRows = 32;
constexpr int64_t kCols = 256;

// A model of matrices of 32 x 256 without a graph.
class Matrices {
 public:
  Matrices() : weights_(testing::normal_weights(kRows * kCols, 3)), pool_(1) {
    model.path = "matrices";
  }

  void add(const std::string& name, const std::string& codec, const nlohmann::json& options) {
    const Scheme scheme(codec, options);
    auto encoded = testing::encode(scheme, {kRows, kCols}, weights_, pool_);
    model.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(std::move(encoded.bytes)));
    model.parameters[name] = {name, {kRows, kCols}, scheme, *model.buffers.back()};
  }

  std::string label(const std::string& name) const { return model.parameter(name).scheme.label(); }
  double error(const std::string& name) const {
    return testing::relative_mse(weights_, model.parameter(name).decode_all());
  }

  Model model;

 private:
  std::vector<float> weights_;
  ThreadPool pool_;
};

const nlohmann::json kEight = {{"bits", 8}, {"group", 64}, {"symmetric", true}};

TEST(Readings, TakeTheFinestThatFits) {
  Matrices matrices;
  matrices.add("eight", "int", kEight);
  matrices.add("three", "int", {{"bits", 3}, {"group", 64}, {"symmetric", true}});
  matrices.add("numbers", "bf16", nlohmann::json::object());
  matrices.add("sum", "sum", nlohmann::json::object());
  matrices.model.metadata = {{"quality", 1}, {"recipe", 2}};
  read_at_fewer_bits(matrices.model, 4.3);
  EXPECT_EQ(matrices.label("eight"), "int4 g64 sym");
  EXPECT_EQ(matrices.label("three"), "int3 g64 sym");
  EXPECT_EQ(matrices.label("numbers"), "bf16");
  EXPECT_EQ(matrices.label("sum"), "int4 g64 sym");
  EXPECT_LT(matrices.error("eight"), 0.012);
  EXPECT_LT(matrices.error("sum"), 0.012);
  EXPECT_EQ(matrices.model.metadata, (nlohmann::json{{"recipe", 2}}));
  EXPECT_EQ(matrices.model.parameter_bytes(),
            (2 * 4.25 + 3.25 + 16) * static_cast<double>(kRows * kCols) / 8);
  // Exactly as many bits as there are: nothing changes. Again, from what was read.
  read_at_fewer_bits(matrices.model, 4.25);
  EXPECT_EQ(matrices.label("eight"), "int4 g64 sym");
  read_at_fewer_bits(matrices.model, 2.25);
  EXPECT_EQ(matrices.label("three"), "int2 g64 sym");
}

TEST(Readings, RefuseWhatCannotBeRead) {
  const auto message = [](Matrices& matrices, double bits, ErrorCode code) {
    try {
      read_at_fewer_bits(matrices.model, bits);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      return std::string(error.what());
    }
    return std::string();
  };
  Matrices plain;
  plain.add("numbers", "bf16", nlohmann::json::object());
  plain.add("two", "int", {{"bits", 2}});
  EXPECT_THAT(message(plain, 4, ErrorCode::kUnsupported),
              ::testing::HasSubstr("bipolar, int, sum"));
  Matrices eight;
  eight.add("eight", "int", kEight);
  EXPECT_THAT(message(eight, 2, ErrorCode::kInvalidArgument),
              ::testing::HasSubstr("at least 2.25 bits per weight"));
}

// A tensor that its file holds entropy-coded is no longer so.
TEST(Readings, ReadEntropyCodedTensors) {
  Model model =
      open_checkpoint(testing::source_folder() / "tests" / "golden" / "parts_streams.bitsmith");
  ASSERT_EQ(model.parameter("sum").entropy_coder, "rans");
  const std::vector<float> before = model.parameter("sum").decode_all();
  read_at_fewer_bits(model, 16);
  const CodedTensor& after = model.parameter("sum");
  EXPECT_EQ(after.scheme.label(), "bf16");
  EXPECT_EQ(after.stored_bytes().data(), after.bytes.data());
  EXPECT_LT(testing::relative_mse(before, after.decode_all()), 1e-5);
}

}  // namespace
}  // namespace bitsmith

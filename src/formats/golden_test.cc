// Files of every released version of the format must decode to the same values for ever; see
// docs/FORMAT.md and tests/format/.
#include <algorithm>
#include <bit>

#include "formats/formats_test_support.h"

namespace bitsmith {
namespace {

TEST(GoldenFiles, DecodeToTheValuesTheyWereMadeFrom) {
  const std::filesystem::path folder = testing::source_folder() / "tests" / "golden";
  int files = 0;
  SilentProgress progress;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".bitsmith") continue;
    SCOPED_TRACE(entry.path().filename());
    ++files;
    const Model model = open_checkpoint(entry.path());
    verify_checkpoint(model, progress);
    const std::string expected =
        read_bytes(std::filesystem::path(entry.path()).replace_extension(".f32"));
    size_t position = 0;
    for (const auto& [name, tensor] : model.parameters) {
      const std::vector<float> values = tensor.decode_all();
      ASSERT_LE(position + 4 * values.size(), expected.size());
      // Bit by bit: signs of zeros and NaN count.
      EXPECT_EQ(std::memcmp(values.data(), expected.data() + position, 4 * values.size()), 0)
          << name;
      position += 4 * values.size();

      const MatrixShape m = tensor.matrix();
      std::vector<float> row(static_cast<size_t>(m.cols));
      tensor.decode(m.rows - 1, 1, row.data());
      EXPECT_EQ(std::memcmp(row.data(), values.data() + values.size() - row.size(), 4 * row.size()),
                0)
          << name;
    }
    EXPECT_EQ(position, expected.size());
  }
  EXPECT_GE(files, 2);
}

// The worked example of docs/FORMAT.md, section 5.
TEST(GoldenFiles, ExampleOfTheSpecification) {
  std::vector<std::byte> bytes(256);
  const auto put = [&](size_t offset, std::initializer_list<int> values) {
    for (const int value : values) bytes[offset++] = static_cast<std::byte>(value);
  };
  put(0, {0x05, 0x02, 0x03, 0x00, 0x0f, 0x02, 0x01, 0x00});
  put(64, {0x02, 0x00, 0x00, 0x01, 0x01, 0x01, 0x01, 0x01});
  put(128, {0x00, 0x38, 0x00, 0x3c});
  put(160, {0x00, 0x34, 0x00, 0x40});
  put(192, {0x3a});
  put(198, {0x18});
  const Scheme scheme("int", {{"bits", 3}, {"group", 4}, {"symmetric", false}});
  const CodedTensor tensor{"example", {2, 5}, scheme, bytes};
  ASSERT_EQ(scheme.codec->encoded_bytes(tensor.matrix(), scheme.options), bytes.size());
  EXPECT_THAT(tensor.decode_all(),
              ::testing::ElementsAre(-0.5F, 0, 0.5F, 1, 1.25F, 0, -1, -2, -3, 0));
}

}  // namespace
}  // namespace bitsmith

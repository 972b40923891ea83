#include "formats/model.h"

#include "formats/formats_test_support.h"

namespace bitsmith {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::filesystem::path& path, ErrorCode code) {
  return error_of(code, [&] { open_model(path); });
}

TEST(OpenModel, NamesFormatsThatItDoesNotRead) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> files = {
      {"c.pt", "a PyTorch archive"},
      {"d.bin", "a PyTorch archive"},
      {"e.tflite", "a TensorFlow Lite file"},
      {"f.txt", "no model that bitsmith knows"},
      {"g", "no model that bitsmith knows"}};
  write_bytes(folder / "c.pt", "PK\x03\x04zip");
  write_bytes(folder / "d.bin", "\x80\x02pickle");
  write_bytes(folder / "e.tflite", "\x1c__\x01TFL3__");
  write_bytes(folder / "f.txt", "hello");
  write_bytes(folder / "g", "");
  for (const auto& [file, what] : files) {
    EXPECT_THAT(refusal(folder / file, ErrorCode::kUnsupported), HasSubstr(what));
  }
  EXPECT_THAT(refusal(folder / "absent", ErrorCode::kNotFound), HasSubstr("is not there"));
  EXPECT_THAT(refusal(folder.path(), ErrorCode::kNotFound), HasSubstr("has no config.json"));
}

TEST(OpenModel, KnowsONNXByItsContent) {
  const TemporaryFolder folder;
  write_bytes(folder / "b.onnx", "\x08\x07");  // only ir_version
  EXPECT_THAT(refusal(folder / "b.onnx", ErrorCode::kCorrupt), HasSubstr("no graph"));
}

TEST(OpenModel, OpensCheckpointsUnderAnyName) {
  const TemporaryFolder folder;
  const SmallModel source;
  for (const char* name : {"m.bitsmith", "m.safetensors", "m"}) {
    write_checkpoint(folder / name, source.contents);
    EXPECT_EQ(open_model(folder / name).format, "bitsmith");
  }
  const std::string text = read_bytes(folder / "m");
  write_bytes(folder / "cut.bitsmith", text.substr(0, text.size() - 1));
  EXPECT_THAT(refusal(folder / "cut.bitsmith", ErrorCode::kCorrupt), HasSubstr("truncated"));
  write_bytes(folder / "short.bitsmith", "");
  EXPECT_THAT(refusal(folder / "short.bitsmith", ErrorCode::kCorrupt), HasSubstr("truncated"));
}

TEST(OpenModel, KnowsGgufByItsFirstBytes) {
  const TemporaryFolder folder;
  write_bytes(folder / "m", "GGUF\x03");
  EXPECT_THAT(refusal(folder / "m", ErrorCode::kCorrupt), HasSubstr("truncated"));
}

TEST(OpenModel, FindsTheFolderOfAFile) {
  const TemporaryFolder folder;
  write_bytes(folder / "model.safetensors", safetensors_text("{}"));
  EXPECT_THAT(refusal(folder / "model.safetensors", ErrorCode::kUnsupported),
              HasSubstr("without a config.json beside it"));
  const auto source = shared_data("llm/tinystories-656k");
  if (source.empty()) GTEST_SKIP() << "tinystories-656k is not on this machine";
  for (const char* name : {"", "config.json", "model.safetensors"}) {
    EXPECT_EQ(open_model(source / name).parameters.size(), 20u);
  }
}

}  // namespace
}  // namespace bitsmith

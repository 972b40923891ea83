#include "formats/safetensors.h"

#include "formats/formats_test_support.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Safetensors read(const std::string& text) { return read_safetensors(as_bytes(text), "file"); }

TEST(Safetensors, ReadsTensorsOfAnyShapeInAnyOrder) {
  const std::string header = R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},)"
                             R"("__metadata__":{"format":"pt","empty":""},)"
                             R"("scalar":{"data_offsets":[0,4],"shape":[],"dtype":"F32"},)"
                             R"("none":{"dtype":"F16","shape":[3,0,2],"data_offsets":[4,4]},)"
                             R"("eight":{"dtype":"F8_E4M3","shape":[1,1],"data_offsets":[6,7]},)"
                             R"("half":{"dtype":"F4","shape":[2],"data_offsets":[7,8]}}   )";
  const std::string text = safetensors_text(header, "abcdefgh");
  const Safetensors file = read(text);
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"empty", ""}}));
  ASSERT_EQ(file.tensors.size(), 5u);
  EXPECT_EQ(file.tensors.at("b").shape, Shape{2});
  EXPECT_EQ(static_cast<char>(file.tensors.at("b").bytes[1]), 'f');
  EXPECT_EQ(file.tensors.at("scalar").shape, Shape{});
  EXPECT_EQ(file.tensors.at("scalar").bytes.size(), 4u);
  EXPECT_THAT(file.tensors.at("none").shape, ElementsAre(3, 0, 2));
  EXPECT_TRUE(file.tensors.at("none").bytes.empty());
  EXPECT_EQ(file.tensors.at("eight").dtype, "F8_E4M3");
  EXPECT_EQ(file.tensors.at("half").bytes.size(), 1u);
}

TEST(Safetensors, ReadsAFileWithoutTensors) {
  EXPECT_TRUE(read(safetensors_text("{}")).tensors.empty());
}

struct Hostile {
  std::string header;
  std::string data;
  std::string message;
  ErrorCode code = ErrorCode::kCorrupt;
};

TEST(Safetensors, RefusesHeadersThatBreakARule) {
  const auto tensor = [](const std::string& name, const std::string& shape, int begin, int end) {
    return fmt::format(R"("{}":{{"dtype":"U8","shape":{},"data_offsets":[{},{}]}})", name, shape,
                       begin, end);
  };
  const std::string big = "[4611686018427387904,4]";
  const std::vector<Hostile> cases = {
      {"", "", "does not start with '{'"},
      {" {}", "", "does not start with '{'"},
      {"[]", "", "does not start with '{'"},
      {"{", "", "not valid JSON"},
      {"{}x", "", "not valid JSON"},
      {"{\"\xff\":{}}", "", "not valid JSON"},
      {R"({"a":1e999})", "", "not valid JSON"},
      {R"({"a":null})", "", "'a' should be an object, got null"},
      {R"({"a":[]})", "", "'a' should be an object, got an array"},
      {R"({"a":{}})", "", "'a' has no dtype"},
      {R"({"a":{"dtype":"U8","shape":[0]}})", "", "'a' has no data_offsets"},
      {R"({"a":{"dtype":"U8","data_offsets":[0,0]}})", "", "'a' has no shape"},
      {R"({"a":{"dtype":3}})", "", "'a': dtype cannot be a number"},
      {R"({"a":{"shape":3}})", "", "'a': shape cannot be a number"},
      {R"({"a":{"shape":["3"]}})", "", "'a': shape cannot be a string"},
      {R"({"a":{"shape":[[3]]}})", "", "'a': shape cannot be an array"},
      {R"({"a":{"shape":[-3]}})", "", "'a': shape cannot be a negative number"},
      {R"({"a":{"shape":[1.5]}})", "", "'a': shape cannot be a number with a fraction"},
      {R"({"a":{"shape":[18446744073709551615]}})", "", "does not fit 63 bits"},
      {R"({"a":{"shape":[18446744073709551616]}})", "", "a number with a fraction"},
      {R"({"a":{"data_offsets":[0,1,2]}})", "", "cannot be more than two numbers"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}})", "",
       "should be two numbers, got 1"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", "", "'a' has 'x'"},
      {R"({"a":{"dtype":"U8","dtype":"U8"}})", "", "'a' has 'dtype' twice"},
      {"{" + tensor("a", "[1]", 0, 1) + "," + tensor("a", "[1]", 1, 2) + "}", "xy",
       "names 'a' twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", "", "names '__metadata__' twice"},
      {R"({"__metadata__":{"k":"a","k":"b"}})", "", "holds 'k' twice"},
      {R"({"__metadata__":{"k":1}})", "", "__metadata__ 'k' should be a string, got a number"},
      {R"({"__metadata__":{"k":{}}})", "", "__metadata__ 'k' should be a string, got an object"},
      {R"({"__metadata__":"x"})", "", "'__metadata__' should be an object"},
      {"{" + tensor("a", "[2]", 0, 1) + "}", "x", "needs 2 bytes, data_offsets give it 1"},
      {"{" + tensor("a", "[1]", 1, 0) + "}", "x", "has data_offsets [1, 0]"},
      {"{" + tensor("a", "[1]", 1, 2) + "}", "xy", "expected it to begin at 0"},
      {"{" + tensor("a", "[2]", 0, 2) + "," + tensor("b", "[2]", 1, 3) + "}", "xyz",
       "'b' has data_offsets [1, 3]; expected it to begin at 2"},
      {"{" + tensor("a", "[1]", 0, 1) + "," + tensor("b", "[1]", 2, 3) + "}", "xyz",
       "'b' has data_offsets [2, 3]; expected it to begin at 1"},
      {"{" + tensor("a", "[1]", 0, 1) + "," + tensor("b", "[1]", 0, 1) + "}", "x",
       "expected it to begin at 1"},
      {"{" + tensor("a", "[4]", 0, 4) + "}", "xyz", "ends at 3 (truncated download?)"},
      {"{" + tensor("a", "[1]", 0, 1) + "}", "xyz", "2 bytes follow the last tensor"},
      {"{}", "x", "1 bytes follow the last tensor"},
      {"{" + tensor("a", big, 0, 0) + "}", "", "has no size in bytes"},
      {"{" + tensor("a", "[4294967296,4294967296,0]", 0, 0) + "}", "", "has no size in bytes"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", "x", "has no size in bytes"},
      {R"({"a":{"dtype":"F5","shape":[0],"data_offsets":[0,0]}})", "", "type 'F5'",
       ErrorCode::kUnsupported},
  };
  for (const Hostile& c : cases) {
    const std::string message = error_of(c.code, [&] { read(safetensors_text(c.header, c.data)); });
    EXPECT_THAT(message, HasSubstr(c.message)) << c.header;
    EXPECT_THAT(message, HasSubstr("'file'")) << c.header;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(Safetensors, ChecksTheHeadersSizeBeforeReadingIt) {
  const auto message = [](const std::string& text) {
    return error_of(ErrorCode::kCorrupt, [&] { read(text); });
  };
  EXPECT_THAT(message(""), HasSubstr("'file' has 0 bytes"));
  EXPECT_THAT(message("1234567"), HasSubstr("truncated download?"));
  EXPECT_THAT(message(std::string(8, '\xff')), HasSubstr("at most 100000000 are allowed"));
  EXPECT_THAT(message(std::string("\x10\0\0\0\0\0\0\0{}", 10)), HasSubstr("ends after 2 of them"));
}

TEST(Safetensors, SurvivesDeepNesting) {
  for (const std::string& open : {std::string("["), std::string("{\"a\":")}) {
    std::string header = R"({"a":)";
    for (int i = 0; i < 1'000'000; ++i) header += open;
    error_of(ErrorCode::kCorrupt, [&] { read(safetensors_text(header)); });
  }
}

TEST(Safetensors, ShowsNamesOnOneLine) {
  const std::string message = error_of(ErrorCode::kCorrupt, [&] {
    read(safetensors_text(R"({"a\nb)" + std::string(1000, 'x') + R"(":1})"));
  });
  EXPECT_THAT(message, HasSubstr(R"('a\nbxxx)"));
  EXPECT_LT(message.size(), 300u);
}

TEST(Safetensors, NeverCrashesOnDamagedFiles) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}} )";
  expect_never_crashes(safetensors_text(header, "12345678abcdef"), 20'000,
                       [](std::span<const std::byte> bytes) { read_safetensors(bytes, "file"); });
}

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  const TemporaryFolder folder;
  const std::vector<SafetensorsWriter::Entry> entries = {
      {"second", DType::kF16, {3}}, {"empty", DType::kF32, {0, 4}}, {"first", DType::kU8, {}}};
  const auto write = [&](const std::string& name) {
    SafetensorsWriter writer(folder / name, entries, {{"format", "x"}});
    writer.append("second", as_bytes("ab"));
    writer.append("second", as_bytes("cdef"));
    writer.append("empty", {});
    writer.append("first", as_bytes("g"));
    writer.commit();
    return read_bytes(folder / name);
  };
  const std::string text = write("a");
  EXPECT_EQ(text, write("b"));
  EXPECT_EQ(text.size() % 64, 7u);
  const Safetensors file = read(text);
  EXPECT_EQ(file.metadata.at("format"), "x");
  EXPECT_EQ(file.tensors.at("second").dtype, "F16");
  EXPECT_EQ(file.tensors.at("second").bytes.data(), as_bytes(text).data() + text.size() - 7);
  EXPECT_THAT(file.tensors.at("empty").shape, ElementsAre(0, 4));
  EXPECT_EQ(static_cast<char>(file.tensors.at("first").bytes[0]), 'g');
}

TEST(SafetensorsWriter, RefusesWhatTheReaderWouldRefuse) {
  const TemporaryFolder folder;
  const auto write = [&](std::vector<SafetensorsWriter::Entry> entries) {
    SafetensorsWriter writer(folder / "a", std::move(entries), {});
  };
  const SafetensorsWriter::Entry a{"a", DType::kU8, {1}};
  error_of(ErrorCode::kInvalidArgument, [&] { write({a, a}); });
  error_of(ErrorCode::kInvalidArgument, [&] { write({{"__metadata__", DType::kU8, {1}}}); });
  error_of(ErrorCode::kInvalidArgument, [&] { write({{"\xff", DType::kU8, {1}}}); });
  error_of(ErrorCode::kInvalidArgument, [&] { write({{"a", DType::kU8, {-1}}}); });
  error_of(ErrorCode::kInvalidArgument, [&] { write({{"a", DType::kF64, {int64_t{1} << 62}}}); });
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
}

TEST(SafetensorsWriter, RefusesBytesInTheWrongPlace) {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder / "a", {{"a", DType::kU8, {2}}, {"b", DType::kU8, {1}}}, {});
  EXPECT_THROW(writer.append("b", as_bytes("x")), std::logic_error);
  EXPECT_THROW(writer.append("a", as_bytes("xyz")), std::logic_error);
  EXPECT_THROW(writer.commit(), std::logic_error);
}

}  // namespace
}  // namespace bitsmith

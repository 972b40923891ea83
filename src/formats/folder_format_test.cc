// Quantized matrices in the formats of other engines' folders and back.
#include "formats/folder_format.h"

#include <gtest/gtest.h>

#include "core/random.h"
#include "formats/bit_words.h"
#include "formats/folder_testing.h"
#include "formats/formats_test_support.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kName = "model.layers.0.mlp.up_proj.weight";

struct Case {
  const char* name;
  const char* format;
  int bits;
  int64_t group;
  bool symmetric;
  MatrixShape shape = {64, 96};
};

// Codes, scales and zero points of any value.
IntegerMatrix random_matrix(const Case& c) {
  Random random(1, c.name);
  IntegerMatrix m;
  m.shape = c.shape;
  m.bits = c.bits;
  m.group = c.group;
  m.symmetric = c.symmetric;
  const auto below = [&](int64_t n) { return static_cast<uint8_t>(random.below(n)); };
  for (int64_t i = 0; i < m.shape.rows * m.shape.cols; ++i) m.codes.push_back(below(1 << m.bits));
  for (int64_t i = 0; i < m.shape.rows * m.groups(); ++i) {
    m.scales.push_back(float_to_f16(static_cast<float>(random.normal())));
    m.zeros.push_back(m.symmetric ? static_cast<uint8_t>(1 << (m.bits - 1)) : below(1 << m.bits));
  }
  return m;
}

class FolderFormats : public ::testing::TestWithParam<Case> {};

TEST_P(FolderFormats, GiveBackEveryCode) {
  const Case& c = GetParam();
  const IntegerMatrix m = random_matrix(c);
  ByteBuffers buffers;
  const CodedTensor tensor = coded_tensor(kName, {c.shape.rows, c.shape.cols}, m, buffers);
  EXPECT_EQ(integer_matrix(tensor).codes, m.codes);
  EXPECT_EQ(integer_matrix(tensor).scales, m.scales);
  EXPECT_EQ(integer_matrix(tensor).zeros, m.zeros);

  const FolderFormat& format = Registry<FolderFormat>::instance().get(c.format);
  const auto writer = format.writer({&tensor});
  ASSERT_EQ(writer->refusal(tensor), "");
  const Folder folder(writer->pack(tensor));
  const json config = writer->config({&tensor}, {"lm_head"});
  EXPECT_EQ(config["quant_method"], c.format);
  const auto reader = format.reader(config);
  const auto again = reader->read(kName, tensor.shape, folder.find(), buffers);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->decode_all(), tensor.decode_all());
  EXPECT_EQ(again->scheme.label(), tensor.scheme.label());
  EXPECT_TRUE(std::ranges::equal(again->bytes, tensor.bytes));
  // A layer that is not quantized.
  EXPECT_FALSE(reader->read("lm_head.weight", tensor.shape, folder.find(), buffers));
}

TEST_P(FolderFormats, RefuseMissingAndMisshapenParts) {
  const Case& c = GetParam();
  ByteBuffers buffers;
  const CodedTensor tensor =
      coded_tensor(kName, {c.shape.rows, c.shape.cols}, random_matrix(c), buffers);
  const FolderFormat& format = Registry<FolderFormat>::instance().get(c.format);
  const auto writer = format.writer({&tensor});
  const auto reader = format.reader(writer->config({&tensor}, {}));
  const Folder whole(writer->pack(tensor));
  for (size_t i = 0; i < whole.tensors.size(); ++i) {
    const std::string& name = whole.tensors[i].entry.name;
    const bool first = name.ends_with(".qweight") || name.ends_with(".weight_packed");
    const bool optional = name.ends_with(".g_idx") || name.ends_with(".weight_zero_point");
    SCOPED_TRACE(name);
    Folder without = whole;
    without.tensors.erase(without.tensors.begin() + static_cast<int64_t>(i));
    without.index();
    if (first) {
      EXPECT_FALSE(reader->read(kName, tensor.shape, without.find(), buffers));
    } else if (!optional) {
      EXPECT_THROW(reader->read(kName, tensor.shape, without.find(), buffers), Error);
    }
    for (const int64_t change : {-1, 1}) {
      Folder wrong = whole;
      wrong.found[name].shape[0] += change;  // bytes stay: nothing may read beyond them
      EXPECT_THROW(reader->read(kName, tensor.shape, wrong.find(), buffers), Error);
    }
    Folder other = whole;
    other.found[name].dtype = "BOOL";
    EXPECT_THROW(reader->read(kName, tensor.shape, other.find(), buffers), Error);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FolderFormats,
    ::testing::Values(Case{"gptq2", "gptq", 2, 32, true}, Case{"gptq3", "gptq", 3, 32, false},
                      Case{"gptq4", "gptq", 4, 32, true}, Case{"gptq4a", "gptq", 4, 48, false},
                      Case{"gptq4row", "gptq", 4, 0, true}, Case{"gptq8", "gptq", 8, 48, true},
                      Case{"awq", "awq", 4, 32, false}, Case{"awqsym", "awq", 4, 48, true},
                      Case{"awqrow", "awq", 4, 0, false, {24, 40}},
                      Case{"ct2", "compressed-tensors", 2, 32, true},
                      Case{"ct4", "compressed-tensors", 4, 32, true},
                      Case{"ct4a", "compressed-tensors", 4, 48, false, {50, 96}},
                      Case{"ct8", "compressed-tensors", 8, 0, true},
                      Case{"ct8a", "compressed-tensors", 8, 12, false, {7, 36}}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(FolderFormat, GptqOfTheOlderFormStoresZeroPointsLessOne) {
  const Case c{"sym", "gptq", 4, 32, true};
  ByteBuffers buffers;
  const CodedTensor tensor =
      coded_tensor(kName, {c.shape.rows, c.shape.cols}, random_matrix(c), buffers);
  const auto writer = Registry<FolderFormat>::instance().get("gptq").writer({&tensor});
  EXPECT_EQ(writer->config({&tensor}, {})["checkpoint_format"], "gptq");
  for (const FolderTensor& part : writer->pack(tensor)) {
    if (!part.entry.name.ends_with(".qzeros")) continue;
    for (size_t i = 0; i < part.bytes.size() / 4; ++i) {
      EXPECT_EQ(load_word(part.bytes, static_cast<int64_t>(i)), 0x77777777U);
    }
  }
}

TEST(FolderFormat, GptqNamesLayersOfOtherBits) {
  ByteBuffers buffers;
  const auto tensor = [&](const char* name, int bits) {
    const Case c{name, "gptq", bits, 32, true};
    return coded_tensor(name, {c.shape.rows, c.shape.cols}, random_matrix(c), buffers);
  };
  const CodedTensor a = tensor("a.x.weight", 4);
  const CodedTensor b = tensor("a.y.weight", 4);
  const CodedTensor d = tensor("a.z.weight", 8);
  const auto writer = Registry<FolderFormat>::instance().get("gptq").writer({&a, &b, &d});
  const json config = writer->config({&a, &b, &d}, {"a.w"});
  EXPECT_EQ(config["bits"], 4);
  EXPECT_EQ(config["dynamic"]["+:^a\\.z$"]["bits"], 8);
  EXPECT_TRUE(config["dynamic"].contains("-:^a\\.w$"));
  const json groups = Registry<FolderFormat>::instance()
                          .get("compressed-tensors")
                          .writer({})
                          ->config({&a, &b, &d}, {})["config_groups"];
  EXPECT_EQ(groups["group_0"]["targets"], json::array({"a.x", "a.y"}));
  EXPECT_EQ(groups["group_1"]["weights"]["num_bits"], 8);
}

// "int-quantized" with activations rounded per token.
TEST(FolderFormat, CompressedTensorsOfRoundedInputs) {
  const FolderFormat& format = Registry<FolderFormat>::instance().get("compressed-tensors");
  EXPECT_EQ(format.rounded_writer(4), nullptr);
  EXPECT_EQ(Registry<FolderFormat>::instance().get("gptq").rounded_writer(8), nullptr);
  const auto writer = format.rounded_writer(8);
  ByteBuffers buffers;
  const auto tensor = [&](int bits, int64_t group, bool symmetric) {
    const Case c{"rounded", "", bits, group, symmetric};
    return coded_tensor(kName, {c.shape.rows, c.shape.cols}, random_matrix(c), buffers);
  };
  for (const CodedTensor& other : {tensor(4, 0, true), tensor(8, 32, true), tensor(8, 0, false)}) {
    EXPECT_THAT(writer->refusal(other), HasSubstr("a scale for each row"));
  }
  const CodedTensor rows = tensor(8, 0, true);
  ASSERT_EQ(writer->refusal(rows), "");
  const Folder folder(writer->pack(rows));
  json config = writer->config({&rows}, {"lm_head"});
  const auto reader = format.reader(config);
  EXPECT_EQ(reader->token_bits(), 8);
  EXPECT_TRUE(reader->notes().empty());
  const auto again = reader->read(kName, rows.shape, folder.find(), buffers);
  EXPECT_TRUE(std::ranges::equal(again->bytes, rows.bytes));
  // Of tensors, or in one of two groups only: said, not done.
  json static_inputs = config;
  static_inputs["config_groups"]["group_0"]["input_activations"]["dynamic"] = false;
  json mixed = config;
  mixed["config_groups"]["group_1"] = {{"weights", {{"num_bits", 8}}}};
  for (const json& other : {static_inputs, mixed}) {
    EXPECT_EQ(format.reader(other)->token_bits(), 0);
    EXPECT_THAT(format.reader(other)->notes(), ::testing::ElementsAre(HasSubstr("8 bits")));
  }
}

// desc_act: inputs of a group lie anywhere.
TEST(FolderFormat, GptqInTheOrderOfActivations) {
  const Case c{"order", "gptq", 4, 32, false};
  IntegerMatrix m = random_matrix(c);
  std::vector<int32_t> group_of;
  for (int32_t i = 0; i < c.shape.cols; ++i) group_of.push_back(i * 7 % 96 / 32);
  set_group_of(m, group_of, "g_idx");
  ByteBuffers buffers;
  const CodedTensor tensor = coded_tensor(kName, {c.shape.rows, c.shape.cols}, m, buffers);
  EXPECT_EQ(tensor.scheme.codec->info().id, "ordered");
  const std::vector<float> values = tensor.decode_all();
  for (size_t i = 0; i < values.size(); ++i) {
    const auto group = static_cast<size_t>(group_of[i % 96]);
    const size_t at = i / 96 * 3 + group;
    ASSERT_EQ(values[i], f16_to_float(m.scales[at]) * static_cast<float>(m.codes[i] - m.zeros[at]));
  }
  const FolderFormat& format = Registry<FolderFormat>::instance().get("gptq");
  const auto writer = format.writer({&tensor});
  const json config = writer->config({&tensor}, {});
  EXPECT_EQ(config["desc_act"], true);
  Folder folder(writer->pack(tensor));
  const auto again = format.reader(config)->read(kName, tensor.shape, folder.find(), buffers);
  EXPECT_EQ(again->decode_all(), values);
  EXPECT_TRUE(std::ranges::equal(again->bytes, tensor.bytes));
  for (const char* other : {"awq", "compressed-tensors"}) {
    EXPECT_THAT(Registry<FolderFormat>::instance().get(other).writer({&tensor})->refusal(tensor),
                HasSubstr("neighbouring"));
  }
  EXPECT_EQ(block_codec(tensor), "");
  // Groups that are not there, and of unequal size.
  for (const int group : {3, -1, 0}) {
    folder.tensors[0].bytes[32 * 4] = static_cast<std::byte>(group);  // g_idx
    folder.index();
    EXPECT_THROW(format.reader(config)->read(kName, tensor.shape, folder.find(), buffers), Error);
  }
}

// The layouts of compressed-tensors that are read only.
TEST(FolderFormat, CompressedTensorsReadsPaddedWordsAndSignedBytes) {
  const FolderFormat& format = Registry<FolderFormat>::instance().get("compressed-tensors");
  const auto reader = [&](int bits) {
    return format.reader(
        {{"config_groups", {{"g", {{"weights", {{"num_bits", bits}, {"type", "int"}}}}}}}});
  };
  ByteBuffers buffers;
  const auto part = [](const char* name, DType dtype, Shape shape, const auto& numbers) {
    return folder_tensor(std::string("a") + name, dtype, std::move(shape),
                         std::as_bytes(std::span(numbers)));
  };
  const std::vector<uint16_t> one = {float_to_f16(1)};
  // Ten codes of 3 bits fill a word, the eleventh begins another.
  std::vector<uint32_t> words(2, 0);
  std::vector<float> expected;
  for (uint32_t i = 0; i < 11; ++i) {
    words[i / 10] |= (i % 8) << (i % 10 * 3);
    expected.push_back(static_cast<float>(i % 8) - 4);
  }
  const Folder padded({part(".weight_packed", DType::kI32, {1, 2}, words),
                       part(".weight_scale", DType::kF16, {1, 1}, one),
                       part(".weight_shape", DType::kI64, {2}, std::vector<int64_t>{1, 11})});
  EXPECT_THROW(reader(4)->read("a.weight", {1, 12}, padded.find(), buffers), Error);
  // 33 bits or ten to a word: two words both ways.
  EXPECT_THROW(reader(3)->read("a.weight", {1, 11}, padded.find(), buffers), Error);
  std::vector<uint32_t> more(4, 0);
  expected.clear();
  for (uint32_t i = 0; i < 32; ++i) {
    more[i / 10] |= (i % 8) << (i % 10 * 3);
    expected.push_back(static_cast<float>(i % 8) - 4);
  }
  const Folder longer({part(".weight_packed", DType::kI32, {1, 4}, more),
                       part(".weight_scale", DType::kF16, {1, 1}, one),
                       part(".weight_shape", DType::kI64, {2}, std::vector<int64_t>{1, 32})});
  EXPECT_EQ(reader(3)->read("a.weight", {1, 32}, longer.find(), buffers)->decode_all(), expected);

  const std::vector<int8_t> bytes = {-128, 0, 127, 5};
  const Folder plain(
      {part(".weight", DType::kI8, {2, 2}, bytes), part(".weight_scale", DType::kF16, {1}, one)});
  EXPECT_EQ(reader(8)->read("a.weight", {2, 2}, plain.find(), buffers)->decode_all(),
            (std::vector<float>{-128, 0, 127, 5}));
}

TEST(FolderFormat, RefusesWhatItCannotRead) {
  const auto refusal = [](const char* format, const json& config) {
    try {
      Registry<FolderFormat>::instance().get(format).reader(config);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  const json weights = {{"num_bits", 4}, {"type", "int"}};
  const auto group = [&](json g) { return json{{"config_groups", {{"g", std::move(g)}}}}; };
  EXPECT_THAT(refusal("compressed-tensors", json::object()), HasSubstr("config_groups"));
  EXPECT_THAT(refusal("compressed-tensors", group({{"weights", {{"type", "complex"}}}})),
              HasSubstr("int and float"));
  EXPECT_THAT(refusal("compressed-tensors",
                      group({{"weights", weights}, {"output_activations", {{"num_bits", 8}}}})),
              HasSubstr("output_activations"));
  EXPECT_THAT(refusal("compressed-tensors",
                      group({{"weights", {{"type", "float"}, {"block_structure", {128, 0}}}}})),
              HasSubstr("block_structure"));
  EXPECT_THAT(refusal("compressed-tensors", group({{"weights", {{"num_bits", 77}}}})),
              HasSubstr("num_bits"));
  EXPECT_THAT(refusal("gptq", {{"checkpoint_format", "marlin"}}), HasSubstr("marlin"));
  EXPECT_THAT(refusal("awq", {{"version", "gemv"}}), HasSubstr("gemv"));
  EXPECT_THAT(refusal("awq", {{"bits", 8}}), HasSubstr("bits"));
}

TEST(IntegerMatrix, ChangesIntoBlocksAndBack) {
  for (const int bits : {4, 8}) {
    const Case c{"blocks", "", bits, 32, true};
    const IntegerMatrix m = random_matrix(c);
    ByteBuffers buffers;
    const CodedTensor tensor = coded_tensor("w", {64, 96}, m, buffers);
    ASSERT_EQ(block_codec(tensor), bits == 4 ? "q4_0" : "q8_0");
    const std::vector<std::byte> bytes = integer_blocks(tensor);
    const CodedTensor blocks{"w", {64, 96}, Scheme(block_codec(tensor), json::object()), bytes};
    EXPECT_EQ(blocks.decode_all(), tensor.decode_all());
    EXPECT_EQ(integer_matrix(blocks).codes, m.codes);
    EXPECT_EQ(integer_matrix(blocks).scales, m.scales);
  }
  for (const Case& c : {Case{"zeros", "", 4, 32, false}, Case{"wide", "", 4, 48, true},
                        Case{"bits", "", 5, 32, true}, Case{"rest", "", 4, 32, true, {2, 40}}}) {
    ByteBuffers buffers;
    const CodedTensor tensor =
        coded_tensor("w", {c.shape.rows, c.shape.cols}, random_matrix(c), buffers);
    EXPECT_EQ(block_codec(tensor), "") << c.name;
  }
}

TEST(FolderFormat, ScalesMustBeBinary16) {
  const float numbers[] = {0.5F, 1e-9F};
  SafetensorsTensor tensor{"F32", {2}, std::as_bytes(std::span(numbers))};
  EXPECT_EQ(scale_as_f16(tensor, 0, "s"), float_to_f16(0.5F));
  EXPECT_THROW(scale_as_f16(tensor, 1, "s"), Error);
}

}  // namespace
}  // namespace bitsmith

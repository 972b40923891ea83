// FP8 and FP4 matrices in folders of compressed-tensors, in ggml's blocks and back.
#include "formats/compressed_tensors_floats.h"

#include <gtest/gtest.h>

#include "codecs/codec_testing.h"
#include "core/random.h"
#include "formats/folder_testing.h"
#include "formats/formats_test_support.h"
#include "formats/tensor_error.h"
#include "tensor/dtype.h"
#include "tensor/minifloat.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kName = "model.layers.0.mlp.up_proj.weight";

const FolderFormat& format() {
  return Registry<FolderFormat>::instance().get("compressed-tensors");
}

json fp8(const char* scale, int64_t group = 0) {
  return {
      {"exponent", 4}, {"mantissa", 3}, {"reserved", "nan"}, {"group", group}, {"scale", scale}};
}

struct Encoded {
  CodedTensor tensor;
  std::vector<std::byte> bytes;
};

// Normal weights of any size.
Encoded encoded(const Scheme& scheme, const MatrixShape& shape, float deviation = 0.02F,
                std::string name = kName) {
  Random random(3, scheme.label());
  std::vector<float> weights(static_cast<size_t>(shape.rows * shape.cols));
  for (float& w : weights) w = static_cast<float>(random.normal()) * deviation;
  ThreadPool pool(1);
  Encoded result{{std::move(name), {shape.rows, shape.cols}, scheme, {}},
                 bitsmith::testing::encode(scheme, shape, weights, pool).bytes};
  result.tensor.bytes = result.bytes;
  return result;
}

struct Case {
  Scheme scheme;
  const char* format;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {Scheme("minifloat", fp8("f16")), "float-quantized"},
      {Scheme("minifloat", fp8("f32")), "float-quantized"},
      {Scheme("minifloat", fp8("e8m0")), "float-quantized"},
      {Scheme("minifloat", fp8("e4m3")), "float-quantized"},
      {Scheme("mxfp", {{"element", "e2m1"}}), "mxfp4-pack-quantized"},
      {Scheme("mxfp", {{"element", "e4m3"}, {"rule", "best"}}), "mxfp8-quantized"},
      {Scheme("nvfp4", json::object()), "nvfp4-pack-quantized"},
      {Scheme("nvfp4", {{"rule", "amax"}}), "nvfp4-pack-quantized"}};
  return all;
}

TEST(CompressedTensorsFloats, GiveBackEveryValue) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.scheme.label());
    const Encoded e = encoded(c.scheme, {34, 96});
    const auto writer = format().writer({&e.tensor});
    ASSERT_EQ(writer->refusal(e.tensor), "");
    const Folder folder(writer->pack(e.tensor));
    const json config = writer->config({&e.tensor}, {"lm_head"});
    EXPECT_EQ(config["format"], c.format);
    EXPECT_EQ(config["config_groups"]["group_0"]["format"], c.format);
    const auto reader = format().reader(config);
    ByteBuffers buffers;
    const auto again = reader->read(kName, e.tensor.shape, folder.find(), buffers);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->decode_all(), e.tensor.decode_all());
    EXPECT_FALSE(reader->read("lm_head.weight", e.tensor.shape, folder.find(), buffers));
    EXPECT_TRUE(reader->notes().empty());
  }
}

TEST(CompressedTensorsFloats, RefuseMissingAndMisshapenParts) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.scheme.label());
    const Encoded e = encoded(c.scheme, {34, 96});
    const auto writer = format().writer({&e.tensor});
    const auto reader = format().reader(writer->config({&e.tensor}, {}));
    const Folder whole(writer->pack(e.tensor));
    ByteBuffers buffers;
    for (size_t i = 0; i < whole.tensors.size(); ++i) {
      const std::string& name = whole.tensors[i].entry.name;
      SCOPED_TRACE(name);
      if (name.ends_with(".weight_scale")) {
        Folder without = whole;
        without.tensors.erase(without.tensors.begin() + static_cast<int64_t>(i));
        without.index();
        EXPECT_THROW(reader->read(kName, e.tensor.shape, without.find(), buffers), Error);
      }
      for (const int64_t change : {-1, 1}) {
        Folder wrong = whole;
        wrong.found[name].shape[0] += change;  // bytes stay: nothing may read beyond them
        if (name.ends_with("global_scale") && change < 0) continue;  // an empty tensor
        EXPECT_THROW(reader->read(kName, e.tensor.shape, wrong.find(), buffers), Error);
      }
    }
  }
}

// Scales that are the same for all rows, one for each, and for blocks; numbers of any type.
TEST(CompressedTensorsFloats, ReadScalesOfTensorsRowsAndBlocks) {
  const auto reader = [](const json& block) {
    return format().reader(
        {{"config_groups",
          {{"g",
            {{"weights", {{"num_bits", 8}, {"type", "float"}, {"block_structure", block}}},
             {"input_activations", {{"num_bits", 8}, {"dynamic", true}}}}}}}});
  };
  EXPECT_THAT(reader(nullptr)->notes(), ::testing::ElementsAre(HasSubstr("8 bits")));
  const auto part = [](const char* name, DType dtype, Shape shape, const auto& numbers) {
    return folder_tensor(std::string("a") + name, dtype, std::move(shape),
                         std::as_bytes(std::span(numbers)));
  };
  std::vector<uint8_t> codes;
  for (const float x : {1.0F, -2.0F, 448.0F, 0.5F, 0.015625F, 3.5F})
    codes.push_back(kE4M3.encode(x));
  const FolderTensor weight = part(".weight", DType::kF8E4M3, {2, 3}, codes);
  const auto read = [&](const FolderTensor& scales, const json& block) {
    const Folder folder({weight, scales});
    ByteBuffers buffers;
    const auto tensor = reader(block)->read("a.weight", {2, 3}, folder.find(), buffers);
    return std::pair(tensor->decode_all(), tensor->scheme.options.text("scale"));
  };
  const std::vector<float> one = {0.1F};
  const auto [tensor_values, tensor_scale] = read(part(".weight_scale", DType::kF32, {1}, one), {});
  EXPECT_EQ(tensor_scale, "e4m3");  // 0.1 is no binary16
  EXPECT_EQ(tensor_values,
            (std::vector<float>{0.1F, -0.2F, 448 * 0.1F, 0.05F, 0.015625F * 0.1F, 3.5F * 0.1F}));
  const std::vector<float> rows = {0.1F, 0.3F};
  const auto [row_values, row_scale] = read(part(".weight_scale", DType::kF32, {2, 1}, rows), {});
  EXPECT_EQ(row_scale, "f32");
  EXPECT_EQ(row_values[3], 0.15F);
  const std::vector<uint16_t> halves = {float_to_bf16(0.25F), float_to_bf16(0.0078125F)};
  const auto [half_values, half_scale] =
      read(part(".weight_scale", DType::kBF16, {2, 1}, halves), {});
  EXPECT_EQ(half_scale, "f16");
  EXPECT_EQ(half_values[2], 112);
  EXPECT_EQ(half_values[5], 3.5F * 0.0078125F);
  const std::vector<float> blocks = {1, 2};
  EXPECT_EQ(read(part(".weight_scale", DType::kF32, {1, 2}, blocks), {2, 2}).first,
            (std::vector<float>{1, -2, 896, 0.5F, 0.015625F, 7}));
  EXPECT_THROW(read(part(".weight_scale", DType::kF32, {1, 2}, blocks), {}), Error);
  EXPECT_THROW(read(part(".weight_scale", DType::kF32, {1, 2}, blocks), {2, 1}), Error);
  const std::vector<float> infinite = {std::numeric_limits<float>::infinity()};
  EXPECT_THROW(read(part(".weight_scale", DType::kF32, {1}, infinite), {}), Error);
}

TEST(CompressedTensorsFloats, RefuseCodesThatAreNoNumbers) {
  const auto first_byte = [](const Scheme& scheme, const char* ending, int value) {
    const Encoded e = encoded(scheme, {2, 32});
    const auto writer = format().writer({&e.tensor});
    Folder folder(writer->pack(e.tensor));
    for (FolderTensor& part : folder.tensors) {
      if (part.entry.name.ends_with(ending)) part.bytes[0] = static_cast<std::byte>(value);
    }
    folder.index();
    ByteBuffers buffers;
    format().reader(writer->config({&e.tensor}, {}))->read(kName, {2, 32}, folder.find(), buffers);
  };
  EXPECT_THROW(first_byte(Scheme("minifloat", fp8("f16")), ".weight", 0xff), Error);
  EXPECT_THROW(first_byte(Scheme("nvfp4", json::object()), ".weight_scale", 0x7f), Error);
  EXPECT_THROW(first_byte(Scheme("nvfp4", json::object()), ".weight_scale", 0x90), Error);
  EXPECT_THROW(first_byte(Scheme("mxfp", json::object()), ".weight_scale", 0xff), Error);
  EXPECT_NO_THROW(first_byte(Scheme("nvfp4", json::object()), ".weight_scale", 0x7e));
}

// A divisor whose inverse is rounded: nearly the same values, and the same divisor again.
TEST(CompressedTensorsFloats, Nvfp4IsReadByTheInverseOfItsDivisor) {
  const Encoded e = encoded(Scheme("nvfp4", json::object()), {4, 64});
  const auto writer = format().writer({&e.tensor});
  Folder folder(writer->pack(e.tensor));
  const float divisor = 2688.0F / 0.7F;
  std::memcpy(folder.tensors[2].bytes.data(), &divisor, 4);
  folder.index();
  ByteBuffers buffers;
  const auto tensor = format()
                          .reader(writer->config({&e.tensor}, {}))
                          ->read(kName, e.tensor.shape, folder.find(), buffers);
  const FloatMatrix m = float_matrix(*tensor);
  const std::vector<float> values = tensor->decode_all();
  for (size_t i = 0; i < values.size(); ++i) {
    const float scale = kUE4M3.decode(m.scales[i / 16]) / divisor;
    EXPECT_FLOAT_EQ(values[i], scale * kE2M1.decode(m.codes[i]));
  }
}

// Engines take one scale for q, k and v: they are written in units of the largest.
TEST(CompressedTensorsFloats, JoinedLayersGetOneScale) {
  const Scheme scheme("nvfp4", json::object());
  const Encoded gate = encoded(scheme, {16, 64}, 0.02F, "l.gate_proj.weight");
  const Encoded up = encoded(scheme, {16, 64}, 0.11F, "l.up_proj.weight");
  const auto writer = format().writer({&gate.tensor, &up.tensor});
  EXPECT_EQ(writer->joined_form(gate.tensor), writer->joined_form(up.tensor));
  const auto packed = writer->pack(gate.tensor);
  const auto other = writer->pack(up.tensor);
  EXPECT_EQ(packed[2].bytes, other[2].bytes);
  ByteBuffers buffers;
  const auto again =
      format()
          .reader(writer->config({&gate.tensor}, {}))
          ->read(gate.tensor.name, gate.tensor.shape, Folder(packed).find(), buffers);
  EXPECT_EQ(again->decode_all(), gate.tensor.decode_all());
  // Scales that would need smaller numbers than there are stay as they are.
  const Encoded large = encoded(scheme, {16, 64}, 2000.0F, "l.up_proj.weight");
  const auto unequal = format().writer({&gate.tensor, &large.tensor});
  EXPECT_NE(unequal->joined_form(gate.tensor), unequal->joined_form(large.tensor));
}

TEST(CompressedTensorsFloats, WhatHasNoPlaceIsRefused) {
  const auto refusal = [](const Scheme& scheme) {
    const Encoded e = encoded(scheme, {2, 48});
    return format().writer({&e.tensor})->refusal(e.tensor);
  };
  EXPECT_THAT(refusal(Scheme("minifloat", fp8("f16", 16))), HasSubstr("each row"));
  EXPECT_THAT(refusal(Scheme("mxfp", json::object())), HasSubstr("groups of 32"));
  EXPECT_THAT(refusal(Scheme("mxfp", {{"element", "e3m2"}})), HasSubstr("has no"));
  EXPECT_THAT(refusal(Scheme("nf4", json::object())), HasSubstr("has no"));
}

TEST(FloatMatrix, ChangesIntoBlocksAndBack) {
  for (const Scheme& scheme :
       {Scheme("mxfp", json::object()), Scheme("nvfp4", {{"rule", "four_over_six"}})}) {
    const Encoded e = encoded(scheme, {5, 192});
    const auto blocks = fp4_block_scheme(e.tensor);
    ASSERT_TRUE(blocks);
    const std::vector<std::byte> bytes = fp4_blocks(e.tensor);
    const CodedTensor other{kName, e.tensor.shape, *blocks, bytes};
    EXPECT_EQ(relative_error(e.tensor, other), 0) << scheme.label();
    const FloatMatrix m = float_matrix(other);
    EXPECT_EQ(m.codes, float_matrix(e.tensor).codes);
    ByteBuffers buffers;
    EXPECT_EQ(coded_tensor("w", e.tensor.shape, m, buffers).decode_all(), e.tensor.decode_all());
    EXPECT_FALSE(fp4_block_scheme(other));
  }
  EXPECT_FALSE(fp4_block_scheme(encoded(Scheme("nvfp4", json::object()), {2, 48}).tensor));
  EXPECT_FALSE(fp4_block_scheme(encoded(Scheme("mxfp", {{"element", "e4m3"}}), {2, 64}).tensor));
}

}  // namespace
}  // namespace bitsmith

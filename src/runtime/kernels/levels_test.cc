// The kernels for scaled levels against their specification and the codecs' decoders.
#include "codecs/level_matrix.h"

#include <limits>

#include "runtime/kernels/codec_kernel_testing.h"
#include "runtime/kernels/level_table.h"

namespace bitsmith {
namespace {

using nlohmann::json;

double number(const LevelTable& table, size_t code) {
  const int high = table.high.empty() ? 0 : table.high[code];  // bytes of rows have none
  return static_cast<double>(table.unit) * (high * 128 + table.low[code] - table.offset);
}

double largest(std::span<const float> levels) {
  double result = 0;
  for (const float level : levels) result = std::max(result, std::abs(static_cast<double>(level)));
  return result;
}

double table_error(std::span<const float> levels, const LevelTable& table) {
  double error = 0;
  for (size_t code = 0; code < levels.size(); ++code) {
    error = std::max(error, std::abs(number(table, code) - static_cast<double>(levels[code])));
  }
  return error;
}

TEST(LevelTable, IsNarrowAndExactForE2m1) {
  const std::vector<float> levels = {0, 0.5F,  1,  1.5F,  2,  3,  4,  6,
                                     0, -0.5F, -1, -1.5F, -2, -3, -4, -6};
  const auto table = make_level_table(levels);
  ASSERT_TRUE(table);
  EXPECT_FALSE(table->wide);
  EXPECT_EQ(table->unit, 0.5F);
  EXPECT_EQ(table_error(levels, *table), 0);
}

TEST(LevelTable, IsWideAndExactFor8BitIntegers) {
  std::vector<float> levels;
  for (int i = 0; i < 256; ++i) levels.push_back(static_cast<float>(i - 128) / 64);
  const auto table = make_level_table(levels);
  ASSERT_TRUE(table);
  EXPECT_TRUE(table->wide);
  EXPECT_EQ(table_error(levels, *table), 0);
}

TEST(LevelTable, RoundsToWithinItsBound) {
  Random random(1);
  for (const double sigma : {1e-7, 1.0, 1e4}) {
    const std::vector<float> levels = normal_floats(random, 256, sigma);
    const auto table = make_level_table(levels);
    ASSERT_TRUE(table);
    EXPECT_TRUE(table->wide);
    EXPECT_LE(table_error(levels, *table), largest(levels) * 0x1.01p-14);
    for (size_t i = 0; i < levels.size(); ++i)
      EXPECT_TRUE(table->high[i] < 128 && table->low[i] < 128);
  }
}

TEST(LevelTable, OfZerosAndOfNoNumbers) {
  const auto zeros = make_level_table(std::vector<float>(16));
  ASSERT_TRUE(zeros);
  EXPECT_EQ(number(*zeros, 3), 0);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(make_level_table(std::vector<float>{0, infinity}));
  EXPECT_FALSE(make_wide_level_table(std::vector<float>{std::nanf(""), 1}));
}

TEST(LevelTable, OfRows) {
  Random random(3);
  std::vector<std::vector<float>> rows = {std::vector<float>(16), normal_floats(random, 16)};
  for (size_t i = 0; i < 16; ++i) rows[1][i] = 0.1F * static_cast<float>(i) - 0.7F;
  for (const LevelTable& table : make_row_level_tables(rows)) {
    EXPECT_FALSE(table.wide);
    EXPECT_EQ(table.offset, 128);
  }
  EXPECT_LE(table_error(rows[1], make_row_level_tables(rows)[1]), largest(rows[1]) / 127 / 1.99);
  rows[1][3] = 300;  // too far out for bytes, and so for all rows
  for (const LevelTable& table : make_row_level_tables(rows)) EXPECT_TRUE(table.wide);
  rows[1][3] = std::nanf("");
  EXPECT_TRUE(make_row_level_tables(rows).empty());
}

class LevelKernel : public CodecKernelTest {
 protected:
  static void check_scheme(const Scheme& scheme, const MatrixShape& shape,
                           const std::vector<int64_t>& tokens) {
    check_bytes(scheme, shape, encode_normal(scheme, shape), tokens);
  }

  static void check_bytes(const Scheme& scheme, const MatrixShape& shape,
                          const std::vector<std::byte>& bytes, const std::vector<int64_t>& tokens) {
    const CodedTensor weights{"w", {shape.rows, shape.cols}, scheme, bytes};
    const auto matrix =
        dynamic_cast<const LevelCodec&>(*scheme.codec).level_matrix(shape, scheme.options, bytes);
    ASSERT_TRUE(matrix);
    std::vector<LevelTable> tables;
    if (matrix->table_per_row) {
      tables = make_row_level_tables(matrix->tables);
    } else {
      tables.push_back(*make_level_table(matrix->tables[0]));
    }
    std::vector<double> errors;
    for (size_t i = 0; i < tables.size(); ++i) {
      errors.push_back(table_error(matrix->tables[i], tables[i]));
    }
    const auto error = [&](int64_t row, int64_t col) {
      const double of_table = errors[matrix->table_per_row ? static_cast<size_t>(row) : 0];
      if (!matrix->is_scaled) return of_table;
      const uint32_t pattern = matrix->layout.read_parameter(
          reinterpret_cast<const uint8_t*>(bytes.data()), row, col / matrix->layout.group_cols, 0);
      const float scale = decode_scale(matrix->scale, pattern, matrix->tensor_scale);
      return of_table * std::abs(static_cast<double>(scale));
    };
    const bool halves = matrix->layout.groups > 1 && matrix->layout.group_cols % 32 != 0;
    for (const int64_t n : tokens) check(weights, n, halves ? 16 : 32, error);
  }
};

// Every codec that says it has levels, and every type of scale, table and width.
const std::vector<Scheme>& schemes() {
  static const std::vector<Scheme> all = {
      Scheme("nf4", json::object()),
      Scheme("nf4", {{"group", 48}, {"scale", "e4m3"}}),
      Scheme("nf4", {{"group", 0}, {"scale", "e5m3"}}),
      Scheme("minifloat", json::object()),
      Scheme("minifloat", {{"exponent", 1}, {"mantissa", 1}, {"group", 32}}),
      Scheme("minifloat", {{"exponent", 1}, {"mantissa", 0}}),
      Scheme("minifloat", {{"exponent", 4}, {"mantissa", 3}, {"group", 0}, {"reserved", "nan"}}),
      Scheme("minifloat", {{"exponent", 5}, {"mantissa", 2}, {"group", 128}, {"scale", "e8m0"}}),
      Scheme("minifloat", {{"exponent", 3}, {"mantissa", 3}}),
      Scheme("minifloat", {{"exponent", 2}, {"mantissa", 2}}),
      Scheme("mxfp", json::object()),
      Scheme("mxfp", {{"element", "e2m3"}}),
      Scheme("mxfp", {{"element", "e3m2"}}),
      Scheme("mxfp", {{"element", "e4m3"}}),
      Scheme("mxfp", {{"element", "e5m2"}}),
      Scheme("mxint", json::object()),
      Scheme("bfp", json::object()),
      Scheme("nvfp4", json::object()),
      Scheme("pot", json::object()),
      Scheme("apot", json::object()),
      Scheme("log2", {{"bits", 5}}),
      Scheme("power", {{"bits", 3}}),
      Scheme("codebook", {{"scope", "tensor"}}),
      Scheme("codebook", {{"scope", "tensor"}, {"bits", 1}}),
      Scheme("codebook", {{"scope", "tensor"}, {"bits", 6}}),
      Scheme("codebook", {{"scope", "tensor_scaled"}, {"group", 64}}),
      Scheme("codebook", {{"bits", 1}}),
      Scheme("codebook", {{"bits", 2}}),
      Scheme("codebook", {{"bits", 3}}),
      Scheme("codebook", {{"bits", 4}})};
  return all;
}

TEST_P(LevelKernel, EveryScheme) {
  for (const Scheme& scheme : schemes()) check_scheme(scheme, {33, 208}, {1, 2, 21});
}

// Several streams of panels, and panels that are left over.
TEST_P(LevelKernel, ManyPanels) {
  for (const Scheme& scheme : schemes()) check_scheme(scheme, {205, 70}, {1});
}

TEST_P(LevelKernel, EdgeShapes) {
  for (const Scheme& scheme :
       {Scheme("nf4", json::object()), Scheme("nvfp4", json::object()),
        Scheme("mxfp", {{"element", "e4m3"}}), Scheme("codebook", {{"bits", 4}}),
        Scheme("codebook", {{"bits", 3}})}) {
    for (const int64_t rows : {1, 15, 16, 17}) {
      for (const int64_t cols : {1, 4, 5, 31, 33, 64, 100, 288}) {
        check_scheme(scheme, {rows, cols}, {1, 5, 16});
      }
    }
  }
}

// Rows whose levels bytes are too coarse for.
TEST_P(LevelKernel, RowsWithOutliers) {
  const MatrixShape shape = {36, 200};
  Random random(5);
  std::vector<float> w = normal_floats(random, shape.rows * shape.cols);
  for (int64_t row = 0; row < shape.rows; ++row) w[static_cast<size_t>(row * 201)] = 300.0F;
  for (const int bits : {3, 4}) {
    const Scheme scheme("codebook", {{"bits", bits}});
    ThreadPool pool(1);
    const std::vector<std::byte> bytes = testing::encode(scheme, shape, w, pool).bytes;
    EXPECT_EQ(make_linear_kernel({"w", {36, 200}, scheme, bytes})->name().substr(0, 34),
              "int8 dot product of 14-bit levels,");
    check_bytes(scheme, shape, bytes, {1, 5});
  }
}

BITSMITH_EACH_TARGET(LevelKernel);

std::string kernel_of(const Scheme& scheme) {
  const std::vector<std::byte> bytes = encode_normal(scheme, {17, 80});
  const CodedTensor weights{"w", {17, 80}, scheme, bytes};
  return std::string(make_linear_kernel(weights)->name());
}

TEST(LevelKernelFallback, RowsHaveNumbersOfOneByte) {
  for (const int bits : {3, 4}) {
    EXPECT_TRUE(kernel_of(Scheme("codebook", {{"bits", bits}}))
                    .starts_with("int8 dot product of 8-bit levels"));
  }
}

TEST(LevelKernelFallback, WhatIsLeftToTheDecoder) {
  for (const Scheme& scheme :
       {Scheme("nf4", {{"group", 24}}), Scheme("bfp", {{"bits", 6}}),
        Scheme("bitmod", json::object()), Scheme("codebook", {{"scope", "group"}}),
        Scheme("codebook", {{"bits", 5}})}) {
    EXPECT_TRUE(kernel_of(scheme).starts_with("decoded")) << scheme.label();
  }
}

}  // namespace
}  // namespace bitsmith

// The distortion of codecs on a Gaussian source, beside what theory and others say, as a table.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "codecs/codec_testing.h"
#include "encoding/coded_storage.h"

namespace bitsmith {
namespace {

struct Row {
  const char* codec;
  nlohmann::json options;
  int search_steps = 0;
  double known = 0;  // the figure of a paper or of an independent implementation; 0: none
  double tolerance = 0.03;
};

const std::vector<Row>& rows() {
  using nlohmann::json;
  static const std::vector<Row> kRows = {
      {"int", {{"bits", 4}, {"group", 128}}, 0, 0.01010},
      {"int", {{"bits", 4}, {"group", 32}}, 0, 0.00652},
      {"int", {{"bits", 4}, {"group", 32}}, 20},
      {"int", {{"bits", 3}, {"group", 128}}, 0, 0.0464},
      {"int", {{"bits", 2}, {"group", 128}}, 0, 0.253},
      {"int", {{"bits", 2}, {"group", 128}}, 20},
      {"int", {{"bits", 3}, {"group", 16}}, 20},
      {"int", {{"bits", 3}, {"group", 16}, {"scale", "e4m3"}}, 20},
      {"int", {{"bits", 3}, {"group", 16}, {"symmetric", true}, {"scale", "e4m3"}}, 20},
      {"olive", {{"group", 0}}, 20},
      {"affine", {{"bits", 4}, {"group", 64}}},
      {"affine", {{"bits", 4}, {"group", 64}}, 20},
      {"affine", {{"bits", 2}, {"group", 64}}, 20},
      {"minifloat", {{"exponent", 4}, {"mantissa", 3}, {"group", 0}}},
      {"minifloat", {{"exponent", 3}, {"mantissa", 2}, {"group", 64}}, 20},
      {"minifloat", {{"exponent", 2}, {"mantissa", 1}, {"group", 64}}, 20},
      {"nf4", {{"group", 64}}},
      {"nf4", {{"group", 64}}, 20},
      {"nf4", {{"group", 64}, {"scale", "e4m3"}}, 20},
      {"mxfp", {{"rule", "floor"}}, 0, 0.01321, 0.01},
      {"mxfp", {{"rule", "ceil"}}, 0, 0.01330, 0.01},
      {"mxfp", {{"rule", "even"}}, 0, 0.01250, 0.01},
      {"mxfp", {{"rule", "best"}}, 0, 0.01244, 0.01},
      {"mxfp", {{"element", "e2m3"}}},
      {"mxfp", {{"element", "e4m3"}}},
      {"mxint", {{"bits", 8}}},
      {"bfp", {{"bits", 4}, {"group", 16}}},
      {"nvfp4", {{"rule", "amax"}}, 0, 0.00904, 0.01},
      {"nvfp4", {{"rule", "four_over_six"}}, 0, 0.00755, 0.01},
      {"nvfp4", {{"rule", "best"}}, 0, 0.00659, 0.01},
      {"bipolar", {{"bits", 2}, {"group", 64}}, 20},
      {"bipolar", {{"bits", 4}, {"group", 64}}, 20},
      {"pot", {{"bits", 4}, {"group", 64}}, 20},
      {"pot", {{"bits", 3}, {"zero", false}, {"group", 64}}, 20},
      {"apot", {{"bits", 4}, {"group", 64}}, 20},
      {"subsetq", {{"bits", 4}, {"group", 64}}, 20},
      {"log2", {{"bits", 4}, {"group", 64}}, 20},
      {"power", {{"bits", 4}, {"group", 64}}, 20},
      {"codebook", {{"bits", 1}, {"scope", "tensor"}}, 0, 0.3634, 0.005},
      {"codebook", {{"bits", 2}, {"scope", "tensor"}}, 0, 0.1175, 0.005},
      {"codebook", {{"bits", 3}, {"scope", "tensor"}}, 0, 0.03455, 0.005},
      {"codebook", {{"bits", 4}, {"scope", "tensor"}}, 0, 0.009497, 0.005},
      {"codebook", {{"bits", 4}, {"scope", "tensor_scaled"}, {"group", 64}}, 20},
      {"ternary", {{"group", 0}}, 0, 0.1902},
      {"ternary", {{"group", 128}}},
      {"binary", {{"group", 0}}, 0, 0.3634},
      {"roots", {{"group", 0}}, 0, 0.3634},
      {"planes", {{"planes", 2}, {"group", 128}}},
      {"planes", {{"planes", 3}, {"group", 128}}},
      {"planes", {{"planes", 2}, {"digit", "trit"}, {"group", 128}}},
      {"vector", {{"dim", 2}, {"bits", 4}}},
      {"vector", {{"dim", 4}, {"bits", 8}}},
      {"vector", {{"dim", 8}, {"bits", 8}, {"stages", 2}}},
      {"e8", json::object(), 0, 0.0913},
      {"pvq", {{"pulses", 6}, {"gain_bits", 4}}},
      {"trellis", {{"bits", 1}, {"code", "3inst"}}, 0, 0.2674},
      {"trellis", {{"bits", 2}, {"code", "3inst"}}, 0, 0.0687},
      {"trellis", {{"bits", 2}, {"code", "mul1"}}, 0, 0.0683},
      {"trellis", {{"bits", 3}, {"code", "mul1"}}, 0, 0.0174},
      {"trellis", {{"bits", 4}, {"code", "mul1"}}, 0, 0.00447},
      {"trellis", {{"bits", 1}, {"code", "lookup"}}},
      {"trellis", {{"bits", 2}, {"code", "lookup"}}},
      {"trellis", {{"bits", 3}, {"code", "lookup"}}},
      {"trellis", {{"bits", 4}, {"code", "lookup"}}},
      {"trellis", {{"bits", 1}, {"quarters", 2}, {"code", "lookup"}}},
      {"trellis", {{"bits", 2}, {"quarters", 2}, {"code", "lookup"}}},
      {"trellis", {{"bits", 3}, {"quarters", 2}, {"code", "lookup"}}},
      {"sparse", {{"density", 0.5}, {"of", 4}}},
      {"sparse", {{"density", 0.5}, {"of", 0}}},
      {"sparse", {{"density", 0.5}, {"of", 0}, {"run", 16}}},
      {"pruned", {{"density", 0.2}}},
      {"salient", json::object()},
      {"sum", json::object()},
      {"ordered", json::object()},
      {"focused", {{"bits", 3}}},
      {"focused", {{"bits", 4}}},
  };
  return kRows;
}

void print_row(const std::string& name, double bits, double mse, double known) {
  const std::string text = known > 0 ? fmt::format("{:.5f}", known) : "";
  std::printf("%-44s %8.4f %10.5f %10s %10.5f\n", name.c_str(), bits, mse, text.c_str(),
              std::pow(2.0, -2 * bits));
}

// bits per weight: of a matrix of 4096 x 4096, side information included. mse: of 32 rows of 2048
// weights, of 512 where the bound on the known figure is narrow, relative to their power. D(R):
// 2^(-2 bits per weight), below which no code gets.
TEST(GaussianTable, IsAboveTheBoundAndNearWhatIsKnown) {
  const auto many = testing::normal_weights(512 * 2048, 13);
  ThreadPool pool;
  std::printf("%-44s %8s %10s %10s %10s\n", "codec", "bpw", "mse", "known", "D(R)");
  for (const Row& row : rows()) {
    const Scheme scheme(row.codec, row.options);
    const MatrixShape shape{row.tolerance < 0.03 ? 512 : 32, 2048};
    const std::vector<float> weights(many.begin(), many.begin() + shape.rows * shape.cols);
    const auto encoded =
        testing::encode(scheme, shape, weights, pool, FitOptions{row.search_steps, nullptr});
    const double mse = testing::relative_mse(weights, encoded.values);
    const double bits =
        8.0 * static_cast<double>(scheme.codec->encoded_bytes({4096, 4096}, scheme.options)) /
        (4096.0 * 4096.0);
    const double bound = std::pow(2.0, -2 * bits);
    const std::string name = scheme.label() + (row.search_steps > 0 ? ", searched" : "");
    print_row(name, bits, mse, row.known);
    EXPECT_GT(mse, bound) << name;
    if (row.known > 0) {
      EXPECT_NEAR(mse / row.known, 1.0, row.tolerance) << name;
    }
  }
}

// Cells of one width, their codes entropy-coded: 0.0889 at 2 bits (Gish and Pierce 1968).
TEST(GaussianTable, UniformCellsWithAnEntropyCoder) {
  const MatrixShape shape{512, 2048};
  const auto weights = testing::normal_weights(512 * 2048, 13);
  ThreadPool pool;
  for (const auto& [entropy, known] : {std::pair{2.0, 0.0889}, {3.0, 0.02224}, {4.0, 0.00556}}) {
    const Scheme scheme(
        "codebook", {{"bits", 6}, {"scope", "tensor"}, {"symbols", "codes"}, {"entropy", entropy}});
    const auto encoded = testing::encode(scheme, shape, weights, pool, FitOptions{});
    const double mse = testing::relative_mse(weights, encoded.values);
    for (const char* id : {"huffman", "rans"}) {
      const auto stored = encode_storage({"w", {shape.rows, shape.cols}, scheme, encoded.bytes},
                                         Registry<EntropyCoder>::instance().get(id), pool);
      const double bits =
          8.0 * static_cast<double>(stored.size()) / static_cast<double>(shape.rows * shape.cols);
      print_row(fmt::format("{}, {:g} bits by {}", scheme.label(), entropy, id), bits, mse, known);
      EXPECT_NEAR(mse / known, 1.0, 0.01);
      EXPECT_LE(bits, entropy * (std::string(id) == "rans" ? 1.005 : 1.06));
    }
  }
}

}  // namespace
}  // namespace bitsmith

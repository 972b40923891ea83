// Writes the golden files of tests/golden: checkpoints with the values that they must decode to.
//
//     make_golden FOLDER VECTORS
//
// For `int` and plain numbers, codes, scales and zero points are drawn at random and packed here,
// bit by bit as docs/FORMAT.md says, and the expected values are computed from them directly:
// neither comes from the codecs under test. Blocks of ggml and their values come from VECTORS
// (tests/vectors/ggml), which ggml decoded. For the other codecs, random weights are encoded and
// the values are those that the codec decodes; decode_checkpoint.py, written from the
// specification, must find the same. Golden files are written once and never again; new features
// get new files.
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <vector>

#include "codecs/codec_testing.h"
#include "core/output_file.h"
#include "core/random.h"
#include "formats/checkpoint.h"
#include "graph/operators.h"
#include "tensor/dtype.h"

namespace {

using namespace bitsmith;

// A tensor's bytes, and what they mean.
struct Golden {
  Scheme scheme;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

class BitWriter {
 public:
  explicit BitWriter(std::vector<std::byte>& bytes) : bytes_(bytes) {}
  // Sets `width` bits from `bit` of byte `offset` on, which were zero.
  void put(size_t offset, size_t bit, int width, uint32_t value) {
    for (int i = 0; i < width; ++i) {
      const size_t at = bit + static_cast<size_t>(i);
      std::byte& byte = bytes_.at(offset + at / 8);
      if ((value >> i & 1u) != 0) byte |= static_cast<std::byte>(1 << (at % 8));
    }
  }

 private:
  std::vector<std::byte>& bytes_;
};

size_t ceil_to(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

//   draws: a code is the smallest of so many random ones; more than one can be entropy-coded
Golden make_int(size_t rows, size_t cols, int bits, size_t group, bool symmetric, Random& random,
                int draws = 1) {
  const size_t b = static_cast<size_t>(bits);
  const size_t group_cols = group == 0 || group > cols ? cols : group;
  const size_t groups = (cols + group_cols - 1) / group_cols;
  const size_t panels = (rows + 15) / 16;
  const size_t quads = (cols + 3) / 4;
  size_t panel_bytes = 0;
  for (const size_t p : {8u, 4u, 2u, 1u}) panel_bytes += (b & p) ? 8 * ceil_to(quads * p, 8) : 0;
  const size_t scales = panels * panel_bytes;
  const size_t zeros = ceil_to(scales + panels * groups * 32, 64);
  const size_t total = symmetric ? zeros : ceil_to(zeros + panels * groups * 2 * b, 64);

  Golden golden{Scheme("int", {{"bits", bits}, {"group", group}, {"symmetric", symmetric}}),
                std::vector<std::byte>(total), std::vector<float>(rows * cols)};
  BitWriter out(golden.bytes);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t g = 0; g < groups; ++g) {
      const uint16_t scale = float_to_f16(static_cast<float>(random.normal()) * 0.05F);
      const auto zero = static_cast<uint32_t>(random.below(uint64_t{1} << b));
      const size_t vector = r / 16 * groups + g;
      out.put(scales + vector * 32, r % 16 * 16, 16, scale);
      if (!symmetric) out.put(zeros + vector * 2 * b, r % 16 * b, bits, zero);
      const float offset = !symmetric  ? static_cast<float>(zero)
                           : bits == 1 ? 0.5F
                                       : static_cast<float>(1 << (bits - 1));
      for (size_t c = g * group_cols; c < std::min(cols, (g + 1) * group_cols); ++c) {
        auto code = static_cast<uint32_t>(random.below(uint64_t{1} << b));
        for (int i = 1; i < draws; ++i) {
          code = std::min(code, static_cast<uint32_t>(random.below(uint64_t{1} << b)));
        }
        golden.values[r * cols + c] = f16_to_float(scale) * (static_cast<float>(code) - offset);
        const size_t j = r % 16 * 4 + c % 4;
        size_t plane = r / 16 * panel_bytes;
        int shift = 0;
        for (const size_t p : {8u, 4u, 2u, 1u}) {
          if ((b & p) == 0) continue;
          const size_t byte = plane + c / 4 * p / 8 * 64 + j;
          out.put(byte, c / 4 % (8 / p) * p, static_cast<int>(p), code >> shift & ((1u << p) - 1));
          shift += static_cast<int>(p);
          plane += 8 * ceil_to(quads * p, 8);
        }
      }
    }
  }
  return golden;
}

// Plain numbers, among them the extremes of the type, signed zeros, infinities and a NaN.
Golden make_plain(const std::string& codec, size_t count, Random& random) {
  Golden golden{Scheme(codec, nlohmann::json::object()), {}, {}};
  const std::vector<uint32_t> special =
      codec == "f16" ? std::vector<uint32_t>{0x0000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0xfc00, 0x7e00}
      : codec == "bf16"
          ? std::vector<uint32_t>{0x0000, 0x8000, 0x0001, 0x807f, 0x7f7f, 0xff80, 0x7fc0}
          : std::vector<uint32_t>{0, 0x80000000, 1, 0x807fffff, 0x7f7fffff, 0xff800000, 0x7fc00000};
  for (size_t i = 0; i < count; ++i) {
    const float x = static_cast<float>(random.normal());
    uint32_t pattern = codec == "f16"    ? float_to_f16(x)
                       : codec == "bf16" ? float_to_bf16(x)
                                         : std::bit_cast<uint32_t>(x);
    if (i < special.size()) pattern = special[i];
    const size_t size = codec == "f32" ? 4 : 2;
    for (size_t k = 0; k < size; ++k) {
      golden.bytes.push_back(static_cast<std::byte>(pattern >> (8 * k)));
    }
    golden.values.push_back(codec == "f16"    ? f16_to_float(static_cast<uint16_t>(pattern))
                            : codec == "bf16" ? std::bit_cast<float>(pattern << 16)
                                              : std::bit_cast<float>(pattern));
  }
  return golden;
}

// The first four blocks of a file of vectors: [4, block_cols].
Golden read_ggml(const std::filesystem::path& vectors, const std::string& codec, size_t block_cols,
                 size_t block_bytes) {
  const std::string file = read_file(vectors / (codec + ".bin"), 1 << 20);
  const size_t blocks = file.size() / (block_bytes + 4 * block_cols);
  const bool has_option = codec == "nvfp4_ggml";
  Golden golden{
      Scheme(codec, has_option ? nlohmann::json{{"tensor_scale", 1.0}} : nlohmann::json::object()),
      std::vector<std::byte>(4 * block_bytes), std::vector<float>(4 * block_cols)};
  std::memcpy(golden.bytes.data(), file.data(), golden.bytes.size());
  std::memcpy(golden.values.data(), file.data() + blocks * block_bytes, 16 * block_cols);
  return golden;
}

// Random weights, encoded without a solver.
Golden make_encoded(const std::string& codec, const nlohmann::json& options,
                    const MatrixShape& shape, Random& random, const FitOptions& fit = {}) {
  Golden golden{Scheme(codec, options), {}, {}};
  std::vector<float> weights(static_cast<size_t>(shape.rows * shape.cols));
  for (float& w : weights) w = static_cast<float>(random.normal()) * 0.05F;
  ThreadPool pool(1);
  golden.bytes = bitsmith::testing::encode(golden.scheme, shape, weights, pool, fit).bytes;
  golden.values.resize(weights.size());
  golden.scheme.codec->decode(shape, golden.scheme.options, golden.bytes, 0, shape.rows,
                              golden.values.data());
  return golden;
}

class GoldenFile {
 public:
  // The graph looks tokens up in "table" [rows, cols], and every other matrix reads the result, or
  // the result of another matrix.
  GoldenFile(const Shape& shape, Golden golden) {
    const ValueId tokens = contents_.graph.add_input("tokens", {kBatch, kTime});
    x_ = ops::embedding(contents_.graph, "x", tokens, add("table", shape, std::move(golden)));
  }

  // y = linear(x): an output of the graph.
  ValueId linear(const std::string& name, const Shape& shape, Golden golden, ValueId x = kNoValue,
                 ValueId bias = kNoValue) {
    const ValueId weight = add(name, shape, std::move(golden));
    const ValueId y =
        ops::linear(contents_.graph, "y." + name, x == kNoValue ? x_ : x, weight, bias);
    contents_.graph.outputs.push_back(y);
    return y;
  }

  ValueId add(const std::string& name, const Shape& shape, Golden golden) {
    Golden& kept = tensors_[name] = std::move(golden);
    contents_.parameters[name] = {name, shape, kept.scheme, kept.bytes};
    return contents_.graph.add_parameter(name, shape, "golden");
  }

  void write(const std::filesystem::path& stem) const {
    write_checkpoint(stem.string() + ".bitsmith", contents_);
    OutputFile expected(stem.string() + ".f32");
    for (const auto& [name, golden] : tensors_) {
      expected.write(std::as_bytes(std::span(golden.values)));
    }
    expected.commit();
  }

  CheckpointContents& contents() { return contents_; }
  ValueId x() const { return x_; }

 private:
  CheckpointContents contents_;
  std::map<std::string, Golden> tensors_;  // in the order of the expected values
  ValueId x_ = kNoValue;
};

void write_int(const std::filesystem::path& folder) {
  Random random(2024);
  GoldenFile file({9, 37}, make_int(9, 37, 4, 16, false, random));
  for (int bits = 1; bits <= 8; ++bits) {
    file.linear(fmt::format("int{}.grouped", bits), {17, 37},
                make_int(17, 37, bits, 16, false, random));
    file.linear(fmt::format("int{}.row.symmetric", bits), {5, 37},
                make_int(5, 37, bits, 0, true, random));
  }
  const ValueId wide = file.linear("wide", {70, 37}, make_int(70, 37, 2, 1, true, random));
  file.linear("short_last_group", {3, 70}, make_int(3, 70, 3, 64, false, random), wide);
  file.linear("group_beyond_row", {16, 70}, make_int(16, 70, 5, 1000, true, random), wide);
  const ValueId one = file.linear("one_row", {1, 37}, make_int(1, 37, 7, 5, false, random));
  file.linear("one_column", {33, 1}, make_int(33, 1, 6, 64, false, random), one);
  file.write(folder / "int");
}

// Scales of 8 bits, with and without an entropy coder.
void write_int_scales(const std::filesystem::path& folder) {
  const auto options = [](int bits, int group, bool symmetric, const char* scale) {
    return nlohmann::json{
        {"bits", bits}, {"group", group}, {"symmetric", symmetric}, {"scale", scale}};
  };
  for (const char* coder : {"", "rans"}) {
    Random random(2045);
    GoldenFile file({90, 70}, make_encoded("int", options(3, 16, false, "e4m3"), {90, 70}, random));
    for (const char* scale : {"f32", "e8m0", "e4m3", "e5m3"}) {
      for (const bool symmetric : {false, true}) {
        for (const int bits : {1, 3, 4}) {
          file.linear(fmt::format("{}.{}{}", scale, bits, symmetric ? ".symmetric" : ""), {17, 70},
                      make_encoded("int", options(bits, 16, symmetric, scale), {17, 70}, random));
        }
      }
    }
    const bool coded = *coder != 0;
    if (coded) file.contents().entropy_coder = &Registry<EntropyCoder>::instance().get(coder);
    file.write(folder / (coded ? "int_scales_rans" : "int_scales"));
  }
}

void write_plain(const std::filesystem::path& folder) {
  Random random(2025);
  GoldenFile file({5, 33}, make_plain("bf16", 5 * 33, random));
  const ValueId bias = file.add("bias", {7}, make_plain("f16", 7, random));
  file.linear("f16", {7, 33}, make_plain("f16", 7 * 33, random), kNoValue, bias);
  file.linear("f32", {3, 33}, make_plain("f32", 3 * 33, random));
  file.linear("f32.aligned", {16, 33}, make_plain("f32", 16 * 33, random));
  const ValueId weight = file.add("norm", {33}, make_plain("f32", 33, random));
  Graph& graph = file.contents().graph;
  graph.outputs.push_back(ops::rms_norm(graph, "y.norm", file.x(), weight, 1e-5));
  file.contents().config = {{"model_type", "golden"}, {"name", "\u00e9\"\\"}};
  file.contents().metadata = {{"recipe", {{"name", "none"}}}, {"quality", nullptr}};
  file.contents().tokenizer_files = {{"tokenizer.json", "{\"model\": null}\n"},
                                     {"tokenizer.model", std::string("\0\xff\x80", 3)},
                                     {"empty", ""}};
  file.write(folder / "plain");
}

// Tensors of every codec large enough to be worth coding, and some that are not.
void write_entropy(const std::filesystem::path& folder, const std::string& coder) {
  Random random(2026);
  GoldenFile file({40, 70}, make_int(40, 70, 4, 32, true, random, 3));
  for (int bits = 1; bits <= 8; ++bits) {
    file.linear(fmt::format("int{}", bits), {35, 70},
                make_int(35, 70, bits, 32, bits % 2 == 0, random, 4));
  }
  const ValueId bias = file.add("bias", {9}, make_plain("f16", 9, random));
  file.linear("bf16", {9, 70}, make_plain("bf16", 9 * 70, random), kNoValue, bias);
  file.linear("f16", {40, 70}, make_plain("f16", 40 * 70, random));
  file.linear("f32", {30, 70}, make_plain("f32", 30 * 70, random));
  Golden zeros = make_plain("bf16", 90 * 70, random);
  std::ranges::fill(zeros.bytes, std::byte{0});
  std::ranges::fill(zeros.values, 0.0F);
  file.linear("zeros", {90, 70}, std::move(zeros));
  file.contents().entropy_coder = &Registry<EntropyCoder>::instance().get(coder);
  file.write(folder / coder);
}

void write_ggml(const std::filesystem::path& folder, const std::filesystem::path& vectors) {
  struct Block {
    const char* codec;
    int64_t cols;
    size_t bytes;
  };
  constexpr Block kBlocks[] = {
      {"q4_0", 32, 18},   {"q4_1", 32, 20},     {"q5_0", 32, 22},       {"q5_1", 32, 24},
      {"q8_0", 32, 34},   {"iq4_nl", 32, 18},   {"mxfp4_ggml", 32, 17}, {"nvfp4_ggml", 64, 36},
      {"q2_k", 256, 84},  {"q3_k", 256, 110},   {"q4_k", 256, 144},     {"q5_k", 256, 176},
      {"q6_k", 256, 210}, {"iq4_xs", 256, 136}, {"tq1_0", 256, 54},     {"tq2_0", 256, 66}};
  Random random(2026);
  GoldenFile file({3, 32}, make_plain("f16", 3 * 32, random));
  std::map<int64_t, ValueId> inputs = {{32, file.x()}};
  inputs[64] = file.linear("to64", {64, 32}, make_int(64, 32, 1, 0, true, random));
  inputs[256] = file.linear("to256", {256, 32}, make_int(256, 32, 1, 0, true, random));
  for (const Block& block : kBlocks) {
    file.linear(block.codec, {4, block.cols},
                read_ggml(vectors, block.codec, static_cast<size_t>(block.cols), block.bytes),
                inputs[block.cols]);
  }
  file.write(folder / "ggml");
}

using SchemeList = std::vector<std::pair<std::string, nlohmann::json>>;

// A file of encoded matrices of 19 x 70: short last panels, groups, quads and vectors.
void write_encoded(const std::filesystem::path& stem, uint64_t seed, const SchemeList& schemes) {
  Random random(seed);
  GoldenFile file({19, 70}, make_encoded("nf4", {{"scale", "e4m3"}}, {19, 70}, random));
  for (size_t i = 0; i < schemes.size(); ++i) {
    const auto& [codec, options] = schemes[i];
    file.linear(fmt::format("{}.{}", codec, i), {19, 70},
                make_encoded(codec, options, {19, 70}, random));
  }
  file.write(stem);
}

void write_tables(const std::filesystem::path& folder) {
  write_encoded(folder / "tables", 2027,
                {{"codebook", {{"bits", 4}, {"scope", "row"}}},
                 {"codebook", {{"bits", 2}, {"scope", "group"}, {"group", 32}}},
                 {"codebook", {{"bits", 8}, {"scope", "tensor"}}},
                 {"codebook", {{"bits", 3}, {"scope", "tensor_scaled"}, {"group", 16}}},
                 {"ternary", {{"group", 32}}},
                 {"ternary", {{"group", 0}, {"symmetric", false}}},
                 {"binary", {{"group", 16}}},
                 {"binary", {{"group", 0}, {"mean", true}}},
                 {"planes", {{"planes", 3}, {"group", 32}}},
                 {"planes", {{"planes", 2}, {"digit", "trit"}, {"group", 0}}},
                 {"planes", {{"planes", 4}, {"digit", "bit"}, {"mean", true}, {"group", 64}}}});
}

void write_affine(const std::filesystem::path& folder) {
  write_encoded(folder / "affine", 2034,
                {{"affine", {{"bits", 1}, {"group", 16}}},
                 {"affine", {{"bits", 3}, {"group", 32}, {"norm", 0.7}}},
                 {"affine", {{"bits", 8}, {"group", 0}}}});
}

void write_roots(const std::filesystem::path& folder) {
  write_encoded(folder / "roots", 2046, {{"roots", {{"group", 0}}}, {"roots", {{"group", 16}}}});
}

void write_olive(const std::filesystem::path& folder) {
  write_encoded(folder / "olive", 2047, {{"olive", {{"group", 0}}}, {"olive", {{"group", 16}}}});
}

void write_bipolar(const std::filesystem::path& folder) {
  write_encoded(folder / "bipolar", 2045,
                {{"bipolar", {{"bits", 1}, {"group", 0}}},
                 {"bipolar", {{"bits", 3}, {"group", 32}}},
                 {"bipolar", {{"bits", 8}, {"group", 16}, {"scale", "e4m3"}}}});
}

void write_subsets(const std::filesystem::path& folder) {
  write_encoded(folder / "subsets", 2033,
                {{"subsetq", {{"bits", 2}, {"group", 32}}},
                 {"subsetq", {{"bits", 3}, {"group", 16}}},
                 {"subsetq", {{"bits", 4}}}});
}

void write_grids(const std::filesystem::path& folder) {
  write_encoded(
      folder / "grids", 2026,
      {{"minifloat", {{"exponent", 4}, {"mantissa", 3}, {"reserved", "nan"}, {"group", 0}}},
       {"minifloat", {{"exponent", 5}, {"mantissa", 2}, {"reserved", "ieee"}, {"scale", "e8m0"}}},
       {"minifloat", {{"exponent", 3}, {"mantissa", 0}, {"group", 16}, {"scale", "e4m3"}}},
       {"minifloat", {{"exponent", 0}, {"mantissa", 4}, {"group", 5}, {"scale", "e5m3"}}},
       {"nf4", {{"group", 16}}},
       {"mxfp", {{"element", "e2m1"}}},
       {"mxfp", {{"element", "e2m3"}, {"rule", "ceil"}}},
       {"mxfp", {{"element", "e3m2"}, {"rule", "even"}}},
       {"mxfp", {{"element", "e4m3"}, {"rule", "best"}}},
       {"mxfp", {{"element", "e5m2"}}},
       {"mxint", {{"bits", 8}}},
       {"mxint", {{"bits", 3}}},
       {"bfp", {{"bits", 5}}},
       {"nvfp4", nlohmann::json::object()},
       {"pot", {{"bits", 4}}},
       {"pot", {{"bits", 3}, {"zero", false}, {"scale", "e8m0"}}},
       {"apot", {{"bits", 6}, {"terms", 2}}},
       {"log2", {{"bits", 5}, {"second", 2}, {"fraction", 3}}},
       {"bitmod", {{"bits", 3}, {"group", 32}}},
       {"bitmod", {{"bits", 4}, {"group", 0}, {"scale", "e8m0"}}},
       {"power", {{"bits", 4}}},
       {"power", {{"bits", 3}, {"per_group", true}, {"group", 16}, {"scale", "e4m3"}}}});
}

void write_wide_scales(const std::filesystem::path& folder) {
  write_encoded(folder / "wide_scales", 2034,
                {{"minifloat", {{"exponent", 4}, {"mantissa", 3}, {"group", 0}, {"scale", "f32"}}},
                 {"nf4", {{"group", 16}, {"scale", "f32"}}},
                 {"power", {{"bits", 3}, {"per_group", true}, {"group", 16}, {"scale", "f32"}}}});
}

void write_ordered(const std::filesystem::path& folder) {
  write_encoded(
      folder / "ordered", 2035,
      {{"ordered", nlohmann::json::object()},
       {"ordered", {{"inner", R"({"codec":"binary","options":{"group":16,"mean":false}})"}}}});
}

void write_blocks(const std::filesystem::path& folder) {
  write_encoded(folder / "blocks", 2028,
                {{"vector", {{"bits", 4}}},
                 {"vector", {{"dim", 3}, {"bits", 5}, {"stages", 3}}},
                 {"vector", {{"dim", 8}, {"bits", 3}, {"scope", "position"}}},
                 {"vector", {{"dim", 2}, {"bits", 9}, {"scaled", true}, {"group", 32}}},
                 {"e8", {{"group", 0}}},
                 {"e8", {{"group", 16}}},
                 {"pvq", {{"group", 0}}},
                 {"pvq", {{"dim", 16}, {"pulses", 9}, {"gain_bits", 7}, {"group", 32}}}});
}

// Codecs with a mask, and `focused`: around 0 on normal weights, around two centres on survivors.
const SchemeList& mask_schemes() {
  using nlohmann::json;
  static const SchemeList kSchemes = {
      {"focused", {{"bits", 4}}},
      {"focused", {{"bits", 3}, {"separation", 0}}},
      {"pruned", {{"density", 0.25}}},
      {"pruned",
       {{"density", 0.2},
        {"inner", R"({"codec":"focused","options":{"bits":5,"separation":2.0}})"}}},
      {"pruned", {{"density", 0.1}, {"gap_bits", 4}, {"inner", R"({"codec":"f32","options":{}})"}}},
      {"pruned",
       {{"density", 0.3},
        {"gap_bits", 9},
        {"inner", R"({"codec":"int","options":{"bits":3,"group":16,"symmetric":true}})"}}},
  };
  return kSchemes;
}

void write_masks(const std::filesystem::path& folder) {
  SchemeList schemes = mask_schemes();
  schemes.push_back(
      {"sparse",
       {{"of", 4},
        {"inner", R"({"codec":"int","options":{"bits":4,"group":16,"symmetric":false}})"}}});
  schemes.push_back(
      {"sparse", {{"of", 0}, {"density", 0.3}, {"inner", R"({"codec":"f16","options":{}})"}}});
  write_encoded(folder / "masks", 2030, schemes);
}

void write_masks_entropy(const std::filesystem::path& folder) {
  Random random(2031);
  GoldenFile file({40, 70},
                  make_encoded("codebook", {{"bits", 3}, {"scope", "tensor"}, {"symbols", "codes"}},
                               {40, 70}, random));
  file.linear(
      "scaled", {40, 70},
      make_encoded("codebook",
                   {{"bits", 5}, {"scope", "tensor_scaled"}, {"group", 32}, {"symbols", "codes"}},
                   {40, 70}, random));
  int index = 0;
  for (const auto& [codec, options] : mask_schemes()) {
    file.linear(fmt::format("{}.{}", codec, index++), {90, 70},
                make_encoded(codec, options, {90, 70}, random));
  }
  file.contents().entropy_coder = &Registry<EntropyCoder>::instance().get("rans");
  file.write(folder / "masks_rans");
}

void write_outliers(const std::filesystem::path& folder) {
  const nlohmann::json integers = {
      {"fraction", 0.02},
      {"inner", R"({"codec":"int","options":{"bits":3,"group":32,"symmetric":false}})"}};
  write_encoded(
      folder / "outliers", 2040,
      {{"outliers", integers},
       {"outliers", {{"fraction", 0.1}, {"inner", R"({"codec":"e8","options":{"group":0}})"}}},
       {"outliers", {{"fraction", 0.0}, {"inner", R"({"codec":"bf16","options":{}})"}}}});
  Random random(2041);
  GoldenFile file({90, 70}, make_encoded("outliers", integers, {90, 70}, random));
  file.linear("linear", {40, 70}, make_encoded("outliers", integers, {40, 70}, random));
  file.contents().entropy_coder = &Registry<EntropyCoder>::instance().get("rans");
  file.write(folder / "outliers_rans");
}

// Codecs of several parts, with and without an entropy coder.
void write_parts(const std::filesystem::path& folder) {
  const std::string int3 = R"({"codec":"int","options":{"bits":3,"group":32,"symmetric":false}})";
  const std::string int2 = R"({"codec":"int","options":{"bits":2,"group":0,"symmetric":true}})";
  const std::string signs = R"({"codec":"binary","options":{"group":16,"mean":false}})";
  const std::string runs =
      R"({"codec":"sparse","options":{"density":0.25,"of":0,"run":8,"inner":)"
      R"("{\"codec\":\"int\",\"options\":{\"bits\":4,\"group\":8,\"symmetric\":true}}"}})";
  const auto list = [](const std::vector<std::string>& terms) {
    return fmt::format("[{}]", fmt::join(terms, ","));
  };
  const SchemeList schemes = {
      {"salient", {{"fraction", 0.2}, {"salient", int3}, {"inner", signs}}},
      {"salient", {{"fraction", 1.0}, {"salient", int2}, {"inner", signs}}},
      {"sum", {{"inner", list({int3, int2, signs})}}},
      {"sum", {{"inner", list({int2, runs})}}},
      {"sparse", {{"density", 0.5}, {"of", 0}, {"run", 16}, {"inner", int3}}},
      {"sparse", {{"density", 0.5}, {"of", 4}, {"run", 3}, {"inner", int3}}},
  };
  write_encoded(folder / "parts", 2042, schemes);
  Random random(2043);
  GoldenFile file({90, 70}, make_encoded(schemes[0].first, schemes[0].second, {90, 70}, random));
  int index = 0;
  for (const auto& [codec, options] : schemes) {
    file.linear(fmt::format("{}.{}", codec, index++), {90, 70},
                make_encoded(codec, options, {90, 70}, random));
  }
  file.contents().entropy_coder = &Registry<EntropyCoder>::instance().get("rans");
  file.write(folder / "parts_rans");
}

// Parts whose codes are worth an entropy coder.
void write_parts_streams(const std::filesystem::path& folder) {
  const std::string bf16 = R"({"codec":"bf16","options":{}})";
  const std::string int5 = R"({"codec":"int","options":{"bits":5,"group":0,"symmetric":false}})";
  Random random(2044);
  GoldenFile file({90, 70},
                  make_encoded("salient", {{"fraction", 0.3}, {"salient", bf16}, {"inner", int5}},
                               {90, 70}, random));
  file.linear(
      "sum", {90, 70},
      make_encoded("sum", {{"inner", fmt::format("[{},{}]", bf16, int5)}}, {90, 70}, random));
  file.contents().entropy_coder = &Registry<EntropyCoder>::instance().get("rans");
  file.write(folder / "parts_streams");
}

void write_trellis(const std::filesystem::path& folder) {
  Random random(2029);
  GoldenFile file({17, 290}, make_encoded("trellis", {{"bits", 2}}, {17, 290}, random));
  for (const char* code : {"3inst", "mcg", "mul1"}) {
    for (int bits = 1; bits <= 4; ++bits) {
      file.linear(fmt::format("{}.{}", code, bits), {3, 290},
                  make_encoded("trellis", {{"bits", bits}, {"code", code}, {"group", 256}},
                               {3, 290}, random));
    }
  }
  file.write(folder / "trellis");
}

void write_trellis_lookup(const std::filesystem::path& folder) {
  const nlohmann::json two_bits = {{"bits", 2}, {"code", "lookup"}};
  Random random(2030);
  GoldenFile file({17, 290}, make_encoded("trellis", two_bits, {17, 290}, random));
  for (int bits = 1; bits <= 4; ++bits) {
    file.linear(fmt::format("lookup.{}", bits), {3, 290},
                make_encoded("trellis", {{"bits", bits}, {"code", "lookup"}, {"group", 256}},
                             {3, 290}, random));
  }
  file.write(folder / "trellis_lookup");
}

void write_trellis_quarters(const std::filesystem::path& folder) {
  SchemeList schemes;
  for (const auto& [bits, quarters] : {std::pair{1, 1}, {1, 2}, {2, 3}, {3, 2}}) {
    schemes.push_back({"trellis", {{"bits", bits}, {"quarters", quarters}, {"code", "lookup"}}});
  }
  write_encoded(folder / "trellis_quarters", 2046, schemes);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: make_golden FOLDER VECTORS\n");
    return 2;
  }
  try {
    write_int(argv[1]);
    write_int_scales(argv[1]);
    write_plain(argv[1]);
    for (const EntropyCoder* coder : Registry<EntropyCoder>::instance().all()) {
      write_entropy(argv[1], coder->info().id);
    }
    write_ggml(argv[1], argv[2]);
    write_grids(argv[1]);
    write_wide_scales(argv[1]);
    write_ordered(argv[1]);
    write_tables(argv[1]);
    write_subsets(argv[1]);
    write_affine(argv[1]);
    write_bipolar(argv[1]);
    write_roots(argv[1]);
    write_olive(argv[1]);
    write_blocks(argv[1]);
    write_masks(argv[1]);
    write_masks_entropy(argv[1]);
    write_outliers(argv[1]);
    write_parts(argv[1]);
    write_parts_streams(argv[1]);
    write_trellis(argv[1]);
    write_trellis_lookup(argv[1]);
    write_trellis_quarters(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "make_golden: %s\n", error.what());
    return 1;
  }
}

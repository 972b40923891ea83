// ONNX files that are written: what lies in them, and what is refused. That they compute what the
// network computes is tested in reference/onnx_export*_test.cc.
#include "formats/onnx_export.h"

#include <map>

#include "formats/formats_test_support.h"
#include "formats/onnx.h"
#include "formats/onnx_constant.h"
#include "formats/onnx_raising.h"
#include "formats/onnx_testing.h"

namespace bitsmith {
namespace {

using onnx::File;
using onnx::FileNode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const ops::Window kPlain{{1, 1}, {1, 1}, {0, 0, 0, 0}};

// A network whose parameters are coded; owns them.
struct Network {
  Model model;

  ValueId parameter(const std::string& name, const Shape& shape, const Scheme& scheme,
                    const std::vector<float>& values) {
    model.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(encode(scheme, shape, values)));
    model.parameters[name] = {name, shape, scheme, *model.buffers.back()};
    return model.graph.add_parameter(name, shape, "test");
  }
  ValueId random(const std::string& name, const Shape& shape, const Scheme& scheme) {
    return parameter(name, shape, scheme, normal_values(shape, model.parameters.size() + 1));
  }
  ValueId numbers(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    return parameter(name, shape, Scheme("f32", nlohmann::json::object()), values);
  }
  ValueId quantized(ValueId x, const std::string& name, float scale) {
    const ValueId s = numbers(name + ".scale", {}, {scale});
    const ValueId z = numbers(name + ".zero_point", {}, {128});
    const ValueId q = ops::quantize(model.graph, name + ".q", x, s, z, 0, 0, 255);
    return ops::dequantize(model.graph, name + ".dq", q, s, z, 0);
  }
};

Scheme int_scheme(int bits, int64_t group, bool symmetric) {
  return Scheme("int", {{"bits", bits}, {"group", group}, {"symmetric", symmetric}});
}

// A file that was written, and its parts by name.
struct Written {
  explicit Written(const Model& model, bool as_float = false) {
    const TemporaryFolder folder;
    report = export_onnx(folder / "net.onnx", model, as_float);
    bytes = read_bytes(folder / "net.onnx");
    file = onnx::read_file(as_bytes(bytes), "net.onnx");
    for (const onnx::Tensor& tensor : file.graph.initializers) {
      tensors[std::string(tensor.name)] = tensor;
    }
    for (const FileNode& node : file.graph.nodes) nodes[std::string(node.name)] = node;
  }
  std::vector<double> numbers(const std::string& name) const {
    const onnx::Tensor& tensor = tensors.at(name);
    return onnx::numbers_of({tensor.type, tensor.shape, tensor.bytes()});
  }
  int64_t integer(const std::string& node, std::string_view attribute) const {
    for (const onnx::Attribute& a : nodes.at(node).attributes) {
      if (a.name == attribute) return a.integer;
    }
    return -1000;
  }

  OnnxReport report;
  std::string bytes;
  File file;
  std::map<std::string, onnx::Tensor> tensors;
  std::map<std::string, FileNode> nodes;
};

// Two channels of 1 x 1: codes -128 and 64 of a scale of 1/64, and codes 0 of a scale of 0.
Network quantized_conv() {
  Network n;
  Graph& g = n.model.graph;
  const ValueId x = n.quantized(g.add_input("x", {kBatch, 2, 3, 3}), "x", 0.25F);
  const ValueId w = n.parameter("w", {2, 2, 1, 1}, int_scheme(8, 0, true), {-2, 1, 0, 0});
  const ValueId b = n.numbers("b", {2}, {0.5F, 3});
  g.outputs = {ops::conv(g, "conv", x, w, b, kPlain)};
  return n;
}

TEST(OnnxExport, WeightsOfConvolutionsAreInt8AndBiasesInt32) {
  const Written written(quantized_conv().model);
  EXPECT_EQ(written.report.opset, 13);
  EXPECT_TRUE(written.report.notes.empty());
  EXPECT_EQ(written.tensors.at("w.codes").type, onnx::kInt8);
  EXPECT_EQ(written.tensors.at("w.codes").shape, (Shape{2, 2, 1, 1}));
  EXPECT_THAT(written.numbers("w.codes"), ElementsAre(-128, 64, 0, 0));
  EXPECT_EQ(written.integer("w", "axis"), 0);
  EXPECT_EQ(written.numbers("w.scale")[0], 1.0 / 64);
  EXPECT_EQ(written.tensors.at("b.codes").type, onnx::kInt32);
  EXPECT_EQ(written.numbers("b.codes")[0], 0.5 * 4 * 64);  // in units of 1/4 * 1/64
  EXPECT_EQ(written.numbers("b.scale")[0], 1.0 / 256);
  // A channel without weights still has its bias.
  EXPECT_NEAR(written.numbers("b.codes")[1] * written.numbers("b.scale")[1], 3, 1e-4);
  EXPECT_THAT(written.nodes.at("conv").inputs, ElementsAre("x.dq", "w", "b"));
  EXPECT_EQ(written.file.graph.inputs.at(0).symbols.at(0), "N");
  EXPECT_EQ(written.file.graph.outputs.at(0).shape, (Shape{-1, 2, 3, 3}));
}

TEST(OnnxExport, TheSameModelGivesTheSameBytes) {
  const Model model = quantized_conv().model;
  EXPECT_EQ(Written(model).bytes, Written(model).bytes);
  const Written floats(model, true);
  EXPECT_EQ(floats.tensors.at("w").type, onnx::kFloat);
  EXPECT_THAT(floats.numbers("w"), ElementsAre(-2, 1, 0, 0));
  EXPECT_TRUE(floats.nodes.contains("x.q"));
}

// So that runtimes find DequantizeLinear before and QuantizeLinear behind them.
TEST(OnnxExport, CopiesOfCodesAreQuantizedAgainAsTheyWere) {
  Network n;
  Graph& g = n.model.graph;
  const ValueId x = n.quantized(g.add_input("x", {kBatch, 2, 4, 4}), "x", 0.25F);
  const ValueId y = n.quantized(ops::relu(g, "relu", x), "y", 0.25F);
  const ValueId z = n.quantized(ops::relu(g, "other", x), "z", 0.5F);
  const ValueId top = ops::max_pool(g, "top", x, {2, 2}, kPlain);
  const ValueId both = ops::concat(g, "both", {x, y}, 1);    // of the same scale
  const ValueId mixed = ops::concat(g, "mixed", {x, z}, 1);  // of two
  const ValueId sum = ops::add(g, "sum", both, mixed);
  const ValueId small = ops::slice(
      g, "small", sum, {.axes = {2, 3}, .begins = {0, 0}, .steps = {1, 1}, .lengths = {3, 3}});
  g.outputs = {ops::concat(g, "end", {small, top}, 1)};
  const Written written(n.model);
  EXPECT_THAT(written.nodes.at("sum").inputs, ElementsAre("both.rounded", "mixed"));
  EXPECT_THAT(written.nodes.at("end").inputs, ElementsAre("small", "top.rounded"));
  EXPECT_THAT(written.nodes.at("both.codes").inputs,
              ElementsAre("both", "x.scale", "both.zero_point"));
  EXPECT_THAT(written.numbers("both.zero_point"), ElementsAre(128));
}

TEST(OnnxExport, PreprocessingGoesWithTheNetwork) {
  Model model = quantized_conv().model;
  model.metadata = {
      {"preprocessing", {{"scale", 0.5}, {"mean", {1, 2}}}}, {"label_offset", 1}, {"recipe", 3}};
  const Written written(model);
  const nlohmann::json read = read_onnx(as_bytes(written.bytes), "net.onnx", "").metadata;
  EXPECT_EQ(read, (nlohmann::json{{"preprocessing", model.metadata["preprocessing"]},
                                  {"label_offset", 1}}));

  onnx_testing::Network small = onnx_testing::small_network();
  const std::string good = small.bytes();
  EXPECT_TRUE(read_onnx(as_bytes(good), "net.onnx", "").metadata.is_null());
  const std::string bad =
      good + ProtobufMessage()
                 .message(14, ProtobufMessage().text(1, "bitsmith.preprocessing").text(2, "{"))
                 .bytes();
  EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { read_onnx(as_bytes(bad), "net.onnx", ""); }),
              HasSubstr("'bitsmith.preprocessing'"));
}

// x [N, cols] times a weight of 3 rows.
Network matrix(int64_t cols, const Scheme& scheme, bool quantized_input = false) {
  Network n;
  Graph& g = n.model.graph;
  ValueId x = g.add_input("x", {kBatch, cols});
  if (quantized_input) x = n.quantized(x, "x", 0.25F);
  g.outputs = {
      ops::linear(g, "fc", x, n.random("w", {3, cols}, scheme), n.numbers("b", {3}, {1, 2, 3}))};
  return n;
}

TEST(OnnxExport, MatricesAreTransposedAndFourBitsLieInFour) {
  const Written written(matrix(5, int_scheme(4, 0, true)).model);
  EXPECT_EQ(written.report.opset, 21);
  EXPECT_TRUE(written.report.notes.empty());
  EXPECT_EQ(written.tensors.at("w.codes").shape, (Shape{5, 3}));
  EXPECT_EQ(written.integer("w", "axis"), 1);
  EXPECT_EQ(written.integer("fc", "transB"), 0);
  // As the file has them: two codes in a byte, the last half empty.
  const std::string packed =
      onnx::tensor_header("w.codes", onnx::kInt4, Shape{5, 3}).begin(9, 8).bytes();
  EXPECT_THAT(written.bytes, HasSubstr(packed));
  const auto at = written.bytes.find(packed) + packed.size();
  const std::vector<double> codes = written.numbers("w.codes");
  for (size_t i = 0; i < codes.size(); ++i) {
    const int byte = static_cast<unsigned char>(written.bytes[at + i / 2]);
    const int nibble = i % 2 == 0 ? byte & 15 : byte >> 4;
    EXPECT_EQ(nibble > 7 ? nibble - 16 : nibble, codes[i]) << i;
  }
  EXPECT_EQ(static_cast<unsigned char>(written.bytes[at + 7]) >> 4, 0);

  const Written eight(matrix(5, int_scheme(6, 0, false)).model);
  EXPECT_EQ(eight.report.opset, 13);
  EXPECT_EQ(eight.tensors.at("w.codes").type, onnx::kUint8);
}

TEST(OnnxExport, GroupsOfAMatrixAreBlocks) {
  const Written written(matrix(40, int_scheme(4, 16, false)).model);
  EXPECT_EQ(written.report.opset, 21);
  EXPECT_EQ(written.tensors.at("w.scale").shape, (Shape{3, 3}));  // blocks, rows
  EXPECT_EQ(written.integer("w", "axis"), 0);
  EXPECT_EQ(written.integer("w", "block_size"), 16);
}

// Every width, in groups and rows: export_onnx compares each weight with what the file holds.
TEST(OnnxExport, CodesOfEveryWidthComeBack) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const bool symmetric : {false, true}) {
      for (const int64_t group : {0, 16, 24}) {
        SCOPED_TRACE(fmt::format("{} bits, groups of {}, {}", bits, group, symmetric));
        const Written written(matrix(40, int_scheme(bits, group, symmetric)).model);
        EXPECT_TRUE(written.report.notes.empty());
      }
    }
  }
}

TEST(OnnxExport, SaysWhatDoesNotStayAsItIs) {
  const auto note = [](const Model& model) {
    const Written written(model);
    EXPECT_EQ(written.report.notes.size(), 1u);
    EXPECT_EQ(written.report.notes.at(0).tensor, "w");
    return written.report.notes.at(0).text;
  };
  EXPECT_EQ(note(matrix(32, Scheme("nf4", {{"group", 32}})).model),
            "nf4 g32 became float32: ONNX has no type for it");
  EXPECT_THAT(note(matrix(32, int_scheme(8, 16, true), true).model),
              HasSubstr("one scale for each output channel"));
  EXPECT_THAT(note(matrix(32, int_scheme(8, 0, false), true).model), HasSubstr("no zero points"));
  EXPECT_THAT(note(matrix(32, int_scheme(4, 0, true), true).model), HasSubstr("lies in int8"));
  EXPECT_TRUE(Written(matrix(32, Scheme("nf4", {{"group", 32}})).model, true).report.notes.empty());
}

TEST(OnnxExport, NarrowCodesAreClampedAndReadAsThey) {
  Network n;
  Graph& g = n.model.graph;
  const ValueId s = n.numbers("s", {}, {0.25F});
  const ValueId z = n.numbers("z", {}, {7});
  const ValueId q = ops::quantize(g, "q", g.add_input("x", {kBatch, 4}), s, z, 0, 0, 15);
  g.outputs = {ops::dequantize(g, "dq", q, s, z, 0)};
  const Written written(n.model);
  EXPECT_EQ(written.nodes.at("q").op, "Clip");
  const Model again = read_onnx(as_bytes(written.bytes), "net.onnx", "");
  ASSERT_EQ(again.graph.nodes.size(), 2u);
  EXPECT_EQ(again.graph.nodes[0].op, "quantize");
  EXPECT_EQ(again.graph.nodes[0].integer("high"), 15);
}

std::string refusal(const Model& model, ErrorCode code = ErrorCode::kUnsupported) {
  const TemporaryFolder folder;
  const std::string message = error_of(code, [&] { export_onnx(folder / "net.onnx", model); });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  return message;
}

TEST(OnnxExport, RefusesByName) {
  {
    Network n;
    Graph& g = n.model.graph;
    const ValueId x = g.add_input("tokens", {kBatch, kTime});
    g.outputs = {ops::embedding(g, "e", x, n.numbers("t", {2, 2}, {1, 2, 3, 4}))};
    EXPECT_THAT(refusal(n.model), HasSubstr("'tokens'"));
  }
  {
    Network n;
    Graph& g = n.model.graph;
    g.outputs = {ops::rope(g, "turned", g.add_input("x", {kBatch, 3, 4}), {1, 0.5})};
    EXPECT_THAT(refusal(n.model), HasSubstr("'turned'"));
    EXPECT_THAT(refusal(n.model), HasSubstr("--format gguf"));
  }
  {
    Network n;
    Graph& g = n.model.graph;
    const ValueId s = n.numbers("s", {}, {0.25F});
    g.outputs = {
        ops::quantize(g, "wide", g.add_input("x", {kBatch, 4}), s, kNoValue, 0, 0, 1 << 20)};
    EXPECT_THAT(refusal(n.model), HasSubstr("node 'wide' (quantize)"));
  }
  {
    Network n;
    Graph& g = n.model.graph;
    g.outputs = {ops::relu(g, "x", g.add_input("x", {kBatch, 4}))};
    EXPECT_THAT(refusal(n.model, ErrorCode::kCorrupt), HasSubstr("two values"));
  }
}

TEST(OnnxExport, FilesBeyondProtobufsLimitAreRefusedBeforeTheyAreMade) {
  onnx::FileWriter file;
  const std::byte one{1};
  const std::span<const std::byte> huge(&one, size_t{1} << 31);  // its size is looked at, no more
  EXPECT_THAT(error_of(ErrorCode::kUnsupported,
                       [&] { file.tensor("w", onnx::kInt8, Shape{1 << 31}, huge); }),
              HasSubstr("2 GB"));
}

TEST(OnnxExport, EveryOperatorHasARuleOrBelongsToLanguageModels) {
  for (const Operator* op : Registry<Operator>::instance().all()) {
    const std::string id = op->info().id;
    const bool language = id == "attention" || id == "rope" || id == "round_tokens";
    EXPECT_EQ(onnx::raise_rules().contains(id), !language) << id;
  }
  EXPECT_EQ(onnx::raise_rules().size() + 3, Registry<Operator>::instance().all().size());
}

TEST(OnnxExport, DamagedFilesAreErrors) {
  for (const Model& model : {quantized_conv().model, matrix(20, int_scheme(4, 16, true)).model}) {
    expect_never_crashes(Written(model).bytes, 3000, [](std::span<const std::byte> bytes) {
      read_onnx(bytes, "net.onnx", "");
    });
  }
}

}  // namespace
}  // namespace bitsmith

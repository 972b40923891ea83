// Importing ONNX files: what becomes of them, what is refused, and hostile ones.
#include "formats/onnx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/random.h"
#include "formats/onnx_file.h"
#include "formats/onnx_testing.h"
#include "graph/operators.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using namespace onnx_testing;
using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// A network that outlives the model that is read from it.
struct Imported {
  explicit Imported(const Network& network)
      : file(network.bytes()), model(read_onnx(bytes_of(file), "net.onnx", "")) {}
  std::string file;
  Model model;

  std::vector<std::string> operators() const {
    std::vector<std::string> ops;
    for (const Node& node : model.graph.nodes) ops.push_back(node.op);
    return ops;
  }
  Shape output_shape() const { return model.graph.value(model.graph.outputs[0]).shape; }
};

// One node on an input [N, 2, 3, 4], with constants.
Network one_node(const Message& n, std::vector<Message> constants = {}, int64_t opset = 13,
                 std::vector<int64_t> input = {-1, 2, 3, 4}) {
  Network network;
  network.inputs = {value_info("x", input)};
  network.outputs = {value_info("y", {})};
  network.nodes = {n};
  network.constants = std::move(constants);
  network.opset = opset;
  return network;
}

std::string refusal(const Network& network) {
  try {
    const Imported imported(network);
    return "not refused";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Onnx, ReadsANetworkWithShapeArithmetic) {
  const Imported net(small_network());
  EXPECT_THAT(net.operators(), ElementsAre("conv", "batch_norm", "relu", "add", "max_pool",
                                           "reshape", "linear", "softmax"));
  EXPECT_EQ(net.output_shape(), (Shape{kBatch, 3}));
  const Model& model = net.model;
  EXPECT_EQ(model.format, "onnx");
  EXPECT_EQ(model.config["opset"], 13);
  EXPECT_EQ(model.graph.value(model.graph.find("w")).role, "conv.weight");
  EXPECT_EQ(model.graph.value(model.graph.find("mean")).role, "norm.mean");
  EXPECT_EQ(model.graph.value(model.graph.find("fc.2")).role, "");  // the node of that name
  // Elements are used where they lie in the file.
  const CodedTensor& weight = model.parameter("w");
  EXPECT_GE(weight.bytes.data(), bytes_of(net.file).data());
  EXPECT_LT(weight.bytes.data(), bytes_of(net.file).data() + net.file.size());
  EXPECT_EQ(weight.decode_all(), std::vector<float>(18, 0.25f));
  EXPECT_EQ(model.parameters.size(), 6u);
}

TEST(Onnx, SurvivesTheCheckpointsGraph) {
  const Imported net(small_network());
  const std::string text = net.model.graph.to_json().dump();
  EXPECT_EQ(Graph::from_json(nlohmann::json::parse(text)).to_json().dump(), text);
}

TEST(Onnx, ReadsEveryElementType) {
  const auto add = node("Add", "add", {"x", "c"}, {"y"});
  const auto values = [&](const Message& constant) {
    const Imported net(one_node(add, {constant}));
    return net.model.parameter("c").decode_all();
  };
  EXPECT_THAT(values(tensor<double>("c", 11, {2, 1, 1}, {1.5, -2})), ElementsAre(1.5f, -2.0f));
  EXPECT_THAT(values(tensor<uint16_t>("c", 10, {2, 1, 1}, {0x3C00, 0xC000})),
              ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(values(tensor<uint16_t>("c", 16, {2, 1, 1}, {0x3F80, 0xC000})),
              ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(values(tensor<int8_t>("c", 3, {2, 1, 1}, {-128, 127})), ElementsAre(-128, 127));
  EXPECT_THAT(values(tensor<uint8_t>("c", 2, {2, 1, 1}, {0, 255})), ElementsAre(0, 255));
  EXPECT_THAT(values(tensor<int16_t>("c", 5, {2, 1, 1}, {-5, 6})), ElementsAre(-5, 6));
  EXPECT_THAT(values(tensor<int32_t>("c", 6, {2, 1, 1}, {-70000, 6})), ElementsAre(-70000, 6));
  EXPECT_THAT(values(tensor<int64_t>("c", 7, {2, 1, 1}, {-70000, 6})), ElementsAre(-70000, 6));
  EXPECT_THAT(values(tensor<uint8_t>("c", 9, {2, 1, 1}, {0, 1})), ElementsAre(0, 1));
  // Typed fields: packed floats, single floats, varints.
  const float packed[] = {3, 4};
  EXPECT_THAT(
      values(Message().integer(1, 2).integer(1, 1).integer(1, 1).integer(2, 1).text(8, "c").text(
          4, {reinterpret_cast<const char*>(packed), 8})),
      ElementsAre(3, 4));
  EXPECT_THAT(values(Message()
                         .integer(1, 2)
                         .integer(1, 1)
                         .integer(1, 1)
                         .integer(2, 1)
                         .text(8, "c")
                         .number(4, 3)
                         .number(4, 4)),
              ElementsAre(3, 4));
  EXPECT_THAT(values(Message()
                         .integer(1, 2)
                         .integer(1, 1)
                         .integer(1, 1)
                         .integer(2, 7)
                         .text(8, "c")
                         .integer(7, -3)
                         .integer(7, 4)),
              ElementsAre(-3, 4));
  EXPECT_THAT(values(Message()
                         .integer(1, 2)
                         .integer(1, 1)
                         .integer(1, 1)
                         .integer(2, 10)
                         .text(8, "c")
                         .integer(5, 0x3C00)
                         .integer(5, 0xC000)),
              ElementsAre(1, -2));
  EXPECT_THAT(refusal(one_node(add, {tensor<int64_t>("c", 7, {1}, {int64_t{1} << 40})})),
              HasSubstr("tensor 'c' holds 1099511627776"));
  EXPECT_THAT(refusal(one_node(add, {floats("c", {3}, {1, 2})})),
              HasSubstr("needs 12 bytes, it has 8"));
}

TEST(Onnx, LowersAttributesAndInputsOfOldAndNewOpsets) {
  const auto shape = [](const Network& network) {
    return to_string(Imported(network).output_shape());
  };
  const auto ops = [](const Network& network) { return Imported(network).operators(); };
  // Clip: attributes before 11, inputs since.
  EXPECT_THAT(ops(one_node(
                  node("Clip", "n", {"x"}, {"y"}, {attribute("min", 0.0f), attribute("max", 6.0f)}),
                  {}, 7)),
              ElementsAre("clip"));
  EXPECT_THAT(ops(one_node(node("Clip", "n", {"x", "lo", "hi"}, {"y"}),
                           {floats("lo", {}, {0}), floats("hi", {}, {6})})),
              ElementsAre("clip"));
  EXPECT_THAT(ops(one_node(node("Clip", "n", {"x", "lo"}, {"y"}), {floats("lo", {}, {0})})),
              ElementsAre("relu"));
  EXPECT_THAT(ops(one_node(node("Clip", "n", {"x", "", "hi"}, {"y"}), {floats("hi", {}, {6})})),
              ElementsAre("minimum"));
  // Pad.
  EXPECT_EQ(shape(one_node(node("Pad", "n", {"x"}, {"y"},
                                {attribute("pads", std::vector<int64_t>{0, 0, 1, 1, 0, 0, 2, -1})}),
                           {}, 10)),
            "[B, 2, 6, 4]");
  EXPECT_EQ(shape(one_node(node("Pad", "n", {"x", "p", "", "a"}, {"y"}),
                           {int64s("p", {2}, {1, 2}), int64s("a", {1}, {-1})}, 18)),
            "[B, 2, 3, 7]");
  // Slice, backwards too.
  EXPECT_EQ(shape(one_node(node("Slice", "n", {"x"}, {"y"},
                                {attribute("starts", std::vector<int64_t>{1}),
                                 attribute("ends", std::vector<int64_t>{-1}),
                                 attribute("axes", std::vector<int64_t>{3})}),
                           {}, 9)),
            "[B, 2, 3, 2]");
  EXPECT_EQ(shape(one_node(node("Slice", "n", {"x", "s", "e", "a", "t"}, {"y"}),
                           {int64s("s", {1}, {-1}), int64s("e", {1}, {INT64_MIN}),
                            int64s("a", {1}, {3}), int64s("t", {1}, {-2})})),
            "[B, 2, 3, 2]");
  // Squeeze, Unsqueeze.
  EXPECT_EQ(shape(one_node(node("Unsqueeze", "n", {"x"}, {"y"},
                                {attribute("axes", std::vector<int64_t>{1, 5})}),
                           {}, 11)),
            "[B, 1, 2, 3, 4, 1]");
  EXPECT_EQ(shape(one_node(node("Squeeze", "n", {"x", "a"}, {"y"}), {int64s("a", {1}, {1})}, 13,
                           {-1, 1, 5})),
            "[B, 5]");
  // Reductions.
  EXPECT_EQ(shape(one_node(
                node("ReduceMean", "n", {"x", "a"}, {"y"}, {attribute("keepdims", int64_t{0})}),
                {int64s("a", {2}, {-1, 2})}, 18)),
            "[B, 2]");
  // Upsample and Resize.
  EXPECT_EQ(shape(one_node(node("Upsample", "n", {"x", "s"}, {"y"}),
                           {floats("s", {4}, {1, 1, 2, 3})}, 9)),
            "[B, 2, 6, 12]");
  EXPECT_EQ(shape(one_node(node("Resize", "n", {"x", "", "s"}, {"y"}),
                           {floats("s", {4}, {1, 1, 2, 0.5})})),
            "[B, 2, 6, 2]");
  EXPECT_EQ(
      shape(one_node(node("Resize", "n", {"x", "", "", "s"}, {"y"}, {attribute("mode", "linear")}),
                     {int64s("s", {4}, {1, 2, 6, 2})}, 13, {1, 2, 3, 4})),
      "[1, 2, 6, 2]");
  // Softmax joined the axes before 13.
  EXPECT_THAT(ops(one_node(node("Softmax", "n", {"x"}, {"y"}), {}, 11)),
              ElementsAre("reshape", "softmax", "reshape"));
  // Split becomes a slice for each output that is used.
  EXPECT_THAT(ops(one_node(node("Split", "n", {"x"}, {"z", "y"}, {attribute("axis", int64_t{3})}))),
              ElementsAre("slice"));
}

TEST(Onnx, PadsAutomaticallyAndRoundsUp) {
  const auto shape = [](const Network& network) {
    return to_string(Imported(network).output_shape());
  };
  const std::vector<Message> weight = {floats("w", {1, 2, 3, 3}, std::vector<float>(18))};
  EXPECT_EQ(shape(one_node(node("Conv", "n", {"x", "w"}, {"y"},
                                {attribute("auto_pad", "SAME_UPPER"),
                                 attribute("strides", std::vector<int64_t>{2, 2})}),
                           weight)),
            "[B, 1, 2, 2]");
  const auto pool = [&](std::vector<Message> attributes) {
    attributes.push_back(attribute("kernel_shape", std::vector<int64_t>{2, 2}));
    attributes.push_back(attribute("strides", std::vector<int64_t>{2, 2}));
    return one_node(node("AveragePool", "n", {"x"}, {"y"}, attributes));
  };
  EXPECT_EQ(shape(pool({})), "[B, 2, 1, 2]");
  EXPECT_EQ(shape(pool({attribute("ceil_mode", int64_t{1})})), "[B, 2, 2, 2]");
  EXPECT_THAT(Imported(pool({attribute("count_include_pad", int64_t{1}),
                             attribute("pads", std::vector<int64_t>{1, 1, 1, 1})}))
                  .operators(),
              ElementsAre("pad", "average_pool"));
}

TEST(Onnx, MatricesBecomeLinearLayers) {
  Network n = one_node(node("MatMul", "n", {"x", "w"}, {"p"}),
                       {floats("w", {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), floats("b", {2}, {1, 2})});
  n.nodes.push_back(node("Add", "add", {"b", "p"}, {"y"}));
  const Imported net(n);
  EXPECT_THAT(net.operators(), ElementsAre("linear"));
  EXPECT_EQ(net.model.parameter("w").shape, (Shape{2, 4}));
  EXPECT_THAT(net.model.parameter("w").decode_all(), ElementsAre(1, 3, 5, 7, 2, 4, 6, 8));
  EXPECT_EQ(net.model.graph.value(net.model.graph.find("b")).role, "linear.bias");

  const Imported gemm(one_node(node("Gemm", "n", {"x", "w", "c"}, {"y"},
                                    {attribute("alpha", 0.5f), attribute("beta", 2.0f)}),
                               {floats("w", {2, 1}, {2, 4}), floats("c", {1, 1}, {3})}, 13,
                               {-1, 2}));
  EXPECT_THAT(gemm.operators(), ElementsAre("linear"));
  EXPECT_THAT(gemm.model.parameter("w").decode_all(), ElementsAre(1, 2));
  EXPECT_THAT(gemm.model.parameter("c").decode_all(), ElementsAre(6));
}

TEST(Onnx, RecognisesComposedOperators) {
  Network gelu = one_node(
      node("Div", "a", {"x", "root"}, {"a"}),
      {floats("root", {}, {1.4142135f}), floats("one", {}, {1}), floats("half", {}, {0.5f})});
  gelu.nodes.push_back(node("Erf", "b", {"a"}, {"b"}));
  gelu.nodes.push_back(node("Add", "c", {"b", "one"}, {"c"}));
  gelu.nodes.push_back(node("Mul", "d", {"x", "c"}, {"d"}));
  gelu.nodes.push_back(node("Mul", "e", {"d", "half"}, {"y"}));
  EXPECT_THAT(Imported(gelu).operators(), ElementsAre("gelu"));

  Network norm = one_node(
      node("ReduceMean", "mean", {"x"}, {"m"}, {attribute("axes", std::vector<int64_t>{-1})}),
      {floats("two", {}, {2}), floats("eps", {}, {1e-5f}), floats("w", {4}, {1, 2, 3, 4}),
       floats("b", {4}, {4, 3, 2, 1})});
  norm.nodes.push_back(node("Sub", "sub", {"x", "m"}, {"d"}));
  norm.nodes.push_back(node("Pow", "pow", {"d", "two"}, {"p"}));
  norm.nodes.push_back(
      node("ReduceMean", "var", {"p"}, {"v"}, {attribute("axes", std::vector<int64_t>{-1})}));
  norm.nodes.push_back(node("Add", "eps", {"v", "eps"}, {"ve"}));
  norm.nodes.push_back(node("Sqrt", "sqrt", {"ve"}, {"s"}));
  norm.nodes.push_back(node("Div", "div", {"d", "s"}, {"q"}));
  norm.nodes.push_back(node("Mul", "mul", {"q", "w"}, {"r"}));
  norm.nodes.push_back(node("Add", "add", {"r", "b"}, {"y"}));
  const Imported net(norm);
  EXPECT_THAT(net.operators(), ElementsAre("layer_norm"));
  EXPECT_FLOAT_EQ(static_cast<float>(net.model.graph.nodes[0].number("epsilon")), 1e-5f);
  EXPECT_EQ(net.model.graph.value(net.model.graph.find("w")).role, "norm.scale");

  // The mean is used elsewhere: the norm is recognised, the mean stays.
  norm.outputs.push_back(value_info("m", {}));
  EXPECT_THAT(Imported(norm).operators(), ElementsAre("reduce_mean", "layer_norm"));

  Network swish = one_node(node("Sigmoid", "s", {"x"}, {"s"}));
  swish.nodes.push_back(node("Mul", "m", {"x", "s"}, {"y"}));
  EXPECT_THAT(Imported(swish).operators(), ElementsAre("silu"));
}

TEST(Onnx, FoldsQuantizedWeights) {
  Network n = one_node(
      node("DequantizeLinear", "dq", {"q", "s", "z"}, {"w"}, {attribute("axis", int64_t{0})}),
      {tensor<int8_t>("q", 3, {2, 2, 1, 1}, {1, 2, 3, 4}), floats("s", {2}, {0.5f, 2}),
       tensor<int8_t>("z", 3, {2}, {0, 1})});
  n.nodes.push_back(node("Conv", "conv", {"x", "w"}, {"y"}));
  const Imported net(n);
  EXPECT_THAT(net.operators(), ElementsAre("conv"));
  EXPECT_THAT(net.model.parameter("w").decode_all(), ElementsAre(0.5f, 1, 4, 6));
}

TEST(Onnx, NamesWhatItRefuses) {
  EXPECT_THAT(
      refusal(one_node(node("NonZero", "find", {"x"}, {"y"}))),
      HasSubstr("net.onnx: node 'find' (NonZero): the operator 'NonZero' of ONNX (opset 13)"));
  Message foreign = node("FusedConv", "f", {"x"}, {"y"});
  foreign.text(7, "com.microsoft");
  EXPECT_THAT(refusal(one_node(foreign)), HasSubstr("of the domain 'com.microsoft'"));
  EXPECT_THAT(refusal(one_node(node("Relu", "r", {"x"}, {"y"}), {}, 5)), HasSubstr("opset 5"));
  EXPECT_THAT(refusal(one_node(node("Relu", "r", {"x"}, {"y"}), {}, 99)), HasSubstr("opset 99"));
  EXPECT_THAT(refusal(one_node(node("Relu", "r", {"nowhere"}, {"y"}))),
              HasSubstr("'nowhere' is used before it is made"));
  EXPECT_THAT(refusal(one_node(node("Relu", "r", {"x"}, {"y"}), {}, 13, {1, -1, 3})),
              HasSubstr("extent 1 of input 'x' ('N') is not fixed"));
  EXPECT_THAT(refusal(one_node(node("Conv", "c", {"x", "x"}, {"y"}))),
              HasSubstr("must be a constant"));
  EXPECT_THAT(refusal(one_node(node("MaxPool", "p", {"x"}, {"y", "indices"},
                                    {attribute("kernel_shape", std::vector<int64_t>{2, 2})}))),
              HasSubstr("the indices, is used"));
  EXPECT_THAT(
      refusal(one_node(node("Reshape", "r", {"x", "t"}, {"y"}), {int64s("t", {2}, {1, -1})})),
      HasSubstr("for every batch"));
  EXPECT_THAT(refusal(one_node(node("Add", "a", {"x", "c"}, {"y"}),
                               {floats("c", {7}, std::vector<float>(7))})),
              HasSubstr("net.onnx: graph: node 'a' (add)"));
}

// Constants that are made from little must not become much.
TEST(Onnx, BoundsComputedConstants) {
  Network n = one_node(node("Expand", "grow", {"c", "t"}, {"g"}),
                       {floats("c", {1}, {1}), int64s("t", {1}, {int64_t{1} << 35})});
  n.nodes.push_back(node("Add", "add", {"x", "g"}, {"y"}));
  EXPECT_THAT(refusal(n), HasSubstr("need more than"));
}

// Tensors without elements may have any other extents; nothing loops over those or adds them up.
TEST(Onnx, BoundsTheExtentsOfEmptyConstants) {
  constexpr int64_t kHuge = int64_t{1} << 57;
  Network n = one_node(node("Relu", "relu", {"x"}, {"y"}),
                       {floats("c", {kHuge, 3, 0}, {}), int64s("i", {1}, {2}),
                        int64s("none", {0}, {}), floats("d", {kHuge, 0, 3}, {})});
  n.nodes.push_back(node("Gather", "part", {"c", "i"}, {"p"}, {attribute("axis", int64_t{1})}));
  n.nodes.push_back(node("Gather", "empty", {"d", "none"}, {"e"}, {attribute("axis", int64_t{1})}));
  n.nodes.push_back(node("Concat", "join", {"c", "c"}, {"j"}, {attribute("axis", int64_t{1})}));
  EXPECT_THAT(Imported(n).operators(), ElementsAre("relu"));

  n.nodes.push_back(
      node("Concat", "sum", {"c", "c", "c", "c"}, {"s"}, {attribute("axis", int64_t{0})}));
  EXPECT_THAT(refusal(n), HasSubstr("its result is too large"));
  n.nodes.back() =
      node("Unsqueeze", "more", {"c", "i"}, {"s"});  // of the same extents: nothing is too large
  EXPECT_THAT(Imported(n).operators(), ElementsAre("relu"));
  n.nodes.back() = node("ConstantOfShape", "fill", {"t"}, {"s"});
  n.constants.push_back(int64s("t", {3}, {0, kHuge, kHuge}));
  EXPECT_THAT(refusal(n), HasSubstr("a constant of [0, "));
  n.constants = {floats("c", {0, kHuge, kHuge}, {})};
  EXPECT_THAT(refusal(n), HasSubstr("impossible shape"));
}

// What small files could have computed at great length.
TEST(Onnx, BoundsWhatIsReadOfConstants) {
  const auto grown = [](const Message& n, int64_t elements) {
    Network network = one_node(node("Expand", "grow", {"c", "t"}, {"g"}),
                               {tensor<int8_t>("c", 3, {1}, {1}), int64s("t", {1}, {elements}),
                                floats("f", {1}, {1}), int64s("q", {1}, {1})});
    network.nodes.push_back(n);
    network.nodes.push_back(node("Relu", "relu", {"x"}, {"y"}));
    return network;
  };
  constexpr int64_t kMany = 1 << 17;
  EXPECT_THAT(refusal(grown(node("Reshape", "r", {"f", "g"}, {"z"}), (1 << 24) + 1)),
              HasSubstr("numbers that count or index"));
  EXPECT_THAT(refusal(grown(node("ReduceProd", "r", {"g"}, {"z"}), kMany)),
              HasSubstr("cannot be computed on this constant"));
  EXPECT_THAT(refusal(grown(
                  node("DequantizeLinear", "d", {"q", "g"}, {"z"}, {attribute("axis", int64_t{0})}),
                  kMany)),
              HasSubstr("do not fit the tensor"));
  EXPECT_THAT(Imported(grown(node("ReduceProd", "r", {"g"}, {"z"}), 8)).operators(),
              ElementsAre("relu"));
}

class OnnxFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / "onnx-external";
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "inner");
    std::ofstream(folder_ / "inner/weights.bin", std::ios::binary)
        << "12345678" << std::string(32, '\0');
  }
  void TearDown() override { fs::remove_all(folder_); }

  Model open(const std::string& location, const std::string& offset, const std::string& length) {
    const auto entry = [](const char* key, const std::string& value) {
      return Message().text(1, key).text(2, value);
    };
    Message constant;
    constant.integer(1, 8).integer(2, 1).text(8, "c").integer(14, 1);
    constant.message(13, entry("location", location));
    constant.message(13, entry("offset", offset)).message(13, entry("length", length));
    const Network n = one_node(node("Add", "add", {"x", "c"}, {"y"}), {constant}, 13, {-1, 8});
    std::ofstream(folder_ / "net.onnx", std::ios::binary) << n.bytes();
    return open_model(folder_ / "net.onnx");
  }
  std::string refused(const std::string& location, const std::string& offset = "8",
                      const std::string& length = "32") {
    try {
      open(location, offset, length);
      return "not refused";
    } catch (const Error& error) {
      return error.what();
    }
  }

  fs::path folder_;
};

TEST_F(OnnxFolder, ReadsExternalDataInsideItOnly) {
  const Model model = open("inner/weights.bin", "8", "32");
  EXPECT_EQ(model.parameter("c").decode_all(), std::vector<float>(8, 0));
  EXPECT_EQ(model.files.size(), 2u);
  EXPECT_THAT(refused("../onnx-external/inner/weights.bin"),
              HasSubstr("inside the network's folder"));
  EXPECT_THAT(refused((folder_ / "inner/weights.bin").string()),
              HasSubstr("inside the network's folder"));
  EXPECT_THAT(refused("missing.bin"), HasSubstr("is not there"));
  EXPECT_THAT(refused("inner/weights.bin", "9"), HasSubstr("which has 40 bytes"));
  EXPECT_THAT(refused("inner/weights.bin", "8", "31"), HasSubstr("of 32 bytes should lie"));
  EXPECT_THAT(refused("inner/weights.bin", "-1"), HasSubstr("no number"));
  fs::create_symlink("/etc/passwd", folder_ / "link");
  EXPECT_THAT(refused("link"), HasSubstr("inside the network's folder"));
}

// Whatever the bytes: a model, or an Error.
void open_hostile(const std::string& file) {
  try {
    const Model model = read_onnx(bytes_of(file), "net.onnx", "");
    for (const auto& [name, tensor] : model.parameters) tensor.decode_all();
    model.graph.to_json();
  } catch (const Error&) {
  }
}

TEST(OnnxHostile, EveryPrefix) {
  const std::string file = small_network().bytes();
  for (size_t size = 0; size < file.size(); ++size) open_hostile(file.substr(0, size));
}

TEST(OnnxHostile, FlippedBytes) {
  const std::string file = small_network().bytes();
  Random random(5);
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = file;
    for (uint64_t flips = 1 + random.below(3); flips > 0; --flips) {
      damaged[random.below(file.size())] = static_cast<char>(random.below(256));
    }
    open_hostile(damaged);
  }
}

TEST(OnnxHostile, RulesCheckWhatTheyLookUp) {
  EXPECT_THAT(
      refusal(one_node(node("Pad", "p", {"x", "pads", "value"}, {"y"}),
                       {int64s("pads", {8}, {0, 0, 0, 1, 0, 0, 0, 1}), floats("value", {0}, {})})),
      HasSubstr("no single number"));
  EXPECT_THAT(refusal(one_node(node("QuantizeLinear", "q", {"x"}, {"y"}))),
              HasSubstr("its scale is missing"));
  // An attribute of other operators.
  Network n = one_node(node("Mod", "m", {"a", "b"}, {"c"}, {attribute("broadcast", int64_t{1})}),
                       {int64s("a", {1}, {7}), int64s("b", {1}, {4})}, 6);
  n.nodes.push_back(node("Relu", "relu", {"x"}, {"y"}));
  EXPECT_THAT(Imported(n).operators(), ElementsAre("relu"));
}

TEST(OnnxHostile, RepeatedAndMissingParts) {
  open_hostile(small_network().bytes() + small_network().bytes());
  Network n = small_network();
  n.nodes.push_back(n.nodes[0]);  // a value is made twice
  EXPECT_THAT(refusal(n), HasSubstr("'a' is made twice"));
  n = small_network();
  n.constants.push_back(n.constants[0]);
  EXPECT_THAT(refusal(n), HasSubstr("two tensors are named 'w'"));
  n = small_network();
  n.outputs = {value_info("w", {})};
  EXPECT_THAT(Imported(n).operators(), ElementsAre("reshape"));
  n.outputs = {value_info("x", {})};
  EXPECT_THAT(Imported(n).operators(), ElementsAre("reshape"));
  n.outputs = {};
  EXPECT_THAT(refusal(n), HasSubstr("computes nothing"));
}

}  // namespace
}  // namespace bitsmith

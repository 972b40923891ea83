// A real language model with every kind of codec that has a kernel: logits by the kernels against
// those of the same weights decoded to float32.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cmath>
#include <regex>

#include "codecs/codec_testing.h"
#include "core/testing.h"
#include "formats/model.h"
#include "runtime/executor.h"
#include "runtime/kernels/linear.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// The matrices of `model` whose names match, coded; and the same decoded to float32.
struct CodedModels {
  std::map<std::string, CodedTensor> coded;
  std::map<std::string, CodedTensor> decoded;
  std::vector<std::shared_ptr<std::vector<std::byte>>> buffers;
};

CodedModels code(const Model& model, const Scheme& scheme, const std::string& names,
                 ThreadPool& pool) {
  CodedModels result{model.parameters, model.parameters, {}};
  for (const auto& [name, tensor] : model.parameters) {
    if (tensor.shape.size() != 2 || !std::regex_search(name, std::regex(names))) continue;
    const std::vector<float> w = tensor.decode_all();
    const auto bytes = std::make_shared<std::vector<std::byte>>(
        testing::encode(scheme, tensor.matrix(), w, pool).bytes);
    CodedTensor& coded = result.coded[name];
    coded.scheme = scheme;
    coded.bytes = *bytes;
    const std::vector<float> decoded = coded.decode_all();
    const auto* first = reinterpret_cast<const std::byte*>(decoded.data());
    const auto floats =
        std::make_shared<std::vector<std::byte>>(first, first + decoded.size() * sizeof(float));
    result.decoded[name].scheme = Scheme("f32", json::object());
    result.decoded[name].bytes = *floats;
    result.buffers.push_back(bytes);
    result.buffers.push_back(floats);
  }
  EXPECT_FALSE(result.buffers.empty());
  return result;
}

std::vector<float> logits_of(const Model& model, const std::map<std::string, CodedTensor>& weights,
                             ThreadPool& pool, bool expect_kernels) {
  Executor executor(model.graph, weights, pool, 64);
  for (const std::string& kernel : executor.kernel_names()) {
    EXPECT_EQ(kernel.find("decoded"), std::string::npos) << kernel;
  }
  const std::string last = executor.kernel_names().back();  // in order of name
  EXPECT_EQ(last.find("int8") != std::string::npos, expect_kernels) << last;
  Random random(1);
  std::vector<TokenId> tokens;
  for (int i = 0; i < 64; ++i) tokens.push_back(static_cast<TokenId>(random.below(4096)));
  Sequence sequence = executor.make_sequence();
  const auto logits = executor.run(sequence, tokens, Executor::Logits::kAll);
  return {logits.begin(), logits.end()};
}

// Root mean square of the difference over that of the logits.
double deviation(const Model& model, const Scheme& scheme, const std::string& names) {
  ThreadPool pool(2);
  const CodedModels models = code(model, scheme, names, pool);
  const std::vector<float> kernel = logits_of(model, models.coded, pool, true);
  const std::vector<float> floats = logits_of(model, models.decoded, pool, false);
  double difference = 0;
  double power = 0;
  for (size_t i = 0; i < kernel.size(); ++i) {
    difference += std::pow(static_cast<double>(kernel[i]) - static_cast<double>(floats[i]), 2);
    power += std::pow(static_cast<double>(floats[i]), 2);
  }
  return std::sqrt(difference / power);
}

// What kernels change is that activations are rounded to bytes, as for the codec `int`, and little
// else: tables are rounded 64 times as finely, entries of vectors so that little is lost.
TEST(CodecKernels, ChangeLogitsOnlyByTheRoundingOfActivations) {
  const auto folder = testing::shared_data("llm/classics-7m");
  if (folder.empty()) GTEST_SKIP() << "llm/classics-7m is not there (BITSMITH_DATA)";
  const Model model = open_model(folder);
  const std::string all = "layers\\.[0-9]+\\.";
  const std::string first = "layers\\.0\\.";
  const std::string one = "layers\\.0\\.self_attn\\.k_proj";
  struct Case {
    Scheme scheme;
    std::string names;
  };
  const std::vector<Case> cases = {
      {Scheme("nf4", json::object()), all},
      {Scheme("minifloat", json::object()), all},
      {Scheme("minifloat", {{"exponent", 4}, {"mantissa", 3}, {"group", 0}}), all},
      {Scheme("mxfp", json::object()), all},
      {Scheme("mxfp", {{"element", "e3m2"}}), all},
      {Scheme("mxfp", {{"element", "e4m3"}}), all},
      {Scheme("mxint", json::object()), all},
      {Scheme("bfp", json::object()), all},
      {Scheme("nvfp4", json::object()), all},
      {Scheme("pot", json::object()), all},
      {Scheme("apot", json::object()), all},
      {Scheme("log2", json::object()), all},
      {Scheme("power", json::object()), first},
      {Scheme("codebook", {{"scope", "tensor"}}), first},
      {Scheme("codebook", {{"scope", "tensor_scaled"}, {"group", 64}}), first},
      {Scheme("codebook", {{"scope", "row"}}), first},
      {Scheme("ternary", json::object()), all},
      {Scheme("binary", json::object()), all},
      {Scheme("planes", json::object()), first},
      {Scheme("planes", {{"digit", "trit"}}), first},
      {Scheme("e8", json::object()), first},
      {Scheme("vector", json::object()), one},
      {Scheme("trellis", {{"bits", 1}}), one},
      {Scheme("trellis", {{"bits", 1}, {"code", "mul1"}}), one}};
  std::map<std::string, double> of_int;
  const Scheme int4("int", {{"bits", 4}, {"group", 64}, {"symmetric", true}});
  for (const std::string& names : {all, first, one}) of_int[names] = deviation(model, int4, names);
  for (const Case& c : cases) {
    const double relative = deviation(model, c.scheme, c.names);
    fmt::print("{:24} {:.5f} (int4 {:.5f})\n", c.scheme.label(), relative, of_int[c.names]);
    EXPECT_GT(relative, 0);
    EXPECT_LT(relative, 2 * of_int[c.names]) << c.scheme.label();
  }
}

// Options that a kernel does not know, some of which make the bytes fewer.
TEST(CodecKernels, OptionsWithoutAKernelAreDecoded) {
  ThreadPool pool(2);
  const std::vector<float> w = testing::normal_weights(40 * 64, 3);
  for (const Scheme& scheme :
       {Scheme("int", {{"group", 32}, {"scale", "e4m3"}}),
        Scheme("int", {{"group", 32}, {"symmetric", true}, {"scale", "e8m0"}}),
        Scheme("int", {{"group", 32}, {"scale", "f32"}}),
        Scheme("trellis", {{"bits", 1}, {"quarters", 2}})}) {
    const auto encoded = testing::encode(scheme, {40, 64}, w, pool);
    const auto kernel = make_linear_kernel({"w", {40, 64}, scheme, encoded.bytes});
    EXPECT_NE(kernel->name().find("decoded"), std::string_view::npos) << kernel->name();
  }
}

}  // namespace
}  // namespace bitsmith

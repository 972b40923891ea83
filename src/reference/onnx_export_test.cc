// Networks written as ONNX and read back compute what they computed: operator by operator, whole
// networks, and against ONNX Runtime.
#include "formats/onnx_export.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "core/random.h"
#include "graph/operators.h"
#include "reference/onnx_runtime_testing.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using reference_testing::OnnxRuntime;
using reference_testing::run_network;
using testing::TemporaryFolder;

// A network whose parameters are random float32, or given.
class NetworkBuilder {
 public:
  Model model;

  Graph& graph() { return model.graph; }
  // Standard normal; ids: whole numbers from 0 to 8.
  ValueId input(const Shape& shape, bool ids = false) {
    ids_ = ids;
    return graph().add_input("input", shape);
  }
  ValueId parameter(const std::string& name, const Shape& shape) {
    return filled(name, shape, [](double x) { return x; });
  }
  ValueId positive(const std::string& name, const Shape& shape) {
    return filled(name, shape, [](double x) { return 0.5 + std::abs(x); });
  }
  ValueId signs(const std::string& name, int64_t count) {
    return filled(name, {count}, [](double x) { return x < 0 ? -1 : 1; });
  }
  ValueId numbers(const std::string& name, const Shape& shape, const std::vector<double>& numbers) {
    const ValueId id = graph().add_parameter(name, shape, "test");
    const std::vector<float> floats(numbers.begin(), numbers.end());
    const auto bytes = std::as_bytes(std::span(floats));
    model.buffers.push_back(
        std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end()));
    model.parameters[name] = {name, shape, Scheme("f32", nlohmann::json::object()),
                              *model.buffers.back()};
    return id;
  }

  bool has_ids() const { return ids_; }
  at::Tensor random_input(int64_t batch) {
    Shape shape = graph().value(graph().inputs.at(0)).shape;
    shape[0] = batch;
    std::vector<float> x(static_cast<size_t>(*element_count(shape)));
    for (float& v : x) v = static_cast<float>(ids_ ? random_.below(9) : random_.normal());
    return reference_testing::float_tensor(x, shape);
  }

 private:
  template <class Map>
  ValueId filled(const std::string& name, const Shape& shape, const Map& map) {
    std::vector<double> values(static_cast<size_t>(*element_count(shape)));
    for (double& x : values) x = map(random_.normal());
    return numbers(name, shape, values);
  }

  Random random_{7};
  bool ids_ = false;
};

const ops::Window kPlain{{1, 1}, {1, 1}, {0, 0, 0, 0}};

struct Case {
  std::string what;
  std::function<ValueId(NetworkBuilder& b)> make;
  // Of a value's largest element: float32 rounding where ONNX composes what the graph has as one.
  double tolerance = 0;
};

ValueId image(NetworkBuilder& b) { return b.input({kBatch, 4, 6, 5}); }

std::vector<Case> unary_cases() {
  std::vector<Case> cases;
  for (const char* op :
       {"relu", "sigmoid", "silu", "hard_swish", "tanh", "gelu", "gelu_tanh", "softplus", "abs",
        "exp", "erf", "sin", "cos", "floor", "ceil", "truncate", "round"}) {
    cases.push_back(
        {op, [op](NetworkBuilder& b) { return ops::unary(b.graph(), op, "y", image(b)); }});
  }
  for (const char* op : {"sqrt", "log"}) {  // of what is positive
    cases.push_back({op, [op](NetworkBuilder& b) {
                       const ValueId x = ops::unary(b.graph(), "abs", "abs", image(b));
                       return ops::unary(b.graph(), op, "y", x);
                     }});
  }
  cases.push_back(
      {"scale", [](NetworkBuilder& b) { return ops::scale(b.graph(), "y", image(b), -2.5); }});
  cases.push_back(
      {"soft_cap", [](NetworkBuilder& b) { return ops::soft_cap(b.graph(), "y", image(b), 1.5); }});
  return cases;
}

std::vector<Case> elementwise_cases() {
  using Binary = ValueId (*)(Graph&, std::string, ValueId, ValueId);
  std::vector<Case> cases;
  const std::map<std::string, Binary> binary = {
      {"add", ops::add},       {"subtract", ops::subtract}, {"multiply", ops::multiply},
      {"divide", ops::divide}, {"minimum", ops::minimum},   {"maximum", ops::maximum},
      {"equal", ops::equal},   {"less", ops::less}};
  for (const auto& [op, make] : binary) {
    const Binary function = make;
    cases.push_back({op, [function](NetworkBuilder& b) {
                       return function(b.graph(), "y", image(b), b.parameter("c", {4, 1, 1}));
                     }});
  }
  cases.push_back({"power", [](NetworkBuilder& b) {
                     const ValueId x = ops::unary(b.graph(), "abs", "abs", image(b));
                     return ops::power(b.graph(), "y", x, b.parameter("c", {4, 1, 1}));
                   }});
  cases.push_back({"select by a comparison", [](NetworkBuilder& b) {
                     const ValueId x = image(b);
                     const ValueId c = ops::less(b.graph(), "c", x, b.parameter("limit", {}));
                     return ops::select(b.graph(), "y", c, x, b.parameter("other", {5}));
                   }});
  cases.push_back({"select by a number", [](NetworkBuilder& b) {
                     const ValueId x = image(b);
                     const ValueId c = ops::relu(b.graph(), "c", x);
                     return ops::select(b.graph(), "y", c, x, b.parameter("other", {5}));
                   }});
  cases.push_back({"a comparison as a number", [](NetworkBuilder& b) {
                     const ValueId x = image(b);
                     const ValueId c = ops::less(b.graph(), "c", b.parameter("limit", {}), x);
                     return ops::multiply(b.graph(), "y", c, x);
                   }});
  cases.push_back(
      {"clip", [](NetworkBuilder& b) { return ops::clip(b.graph(), "y", image(b), -0.5, 0.75); }});
  cases.push_back({"leaky_relu", [](NetworkBuilder& b) {
                     return ops::leaky_relu(b.graph(), "y", image(b), 0.125);
                   }});
  cases.push_back(
      {"elu", [](NetworkBuilder& b) { return ops::elu(b.graph(), "y", image(b), 1.5); }});
  cases.push_back({"hard_sigmoid", [](NetworkBuilder& b) {
                     return ops::hard_sigmoid(b.graph(), "y", image(b), 0.25, 0.5);
                   }});
  return cases;
}

std::vector<Case> window_cases() {
  const ops::Window strided{{2, 1}, {1, 2}, {1, 0, 2, 1}};
  const ops::Window padded{{2, 2}, {1, 1}, {1, 1, 0, 1}};
  const auto resize = [](const char* mode, const char* coordinates, const char* rounding,
                         std::vector<int64_t> sizes, std::vector<double> scales) {
    return [=](NetworkBuilder& b) {
      return ops::resize(b.graph(), "y", image(b),
                         {.sizes = sizes,
                          .scales = scales,
                          .mode = mode,
                          .coordinates = coordinates,
                          .rounding = rounding});
    };
  };
  return {
      {"conv",
       [=](NetworkBuilder& b) {
         return ops::conv(b.graph(), "y", image(b), b.parameter("w", {6, 2, 3, 2}),
                          b.parameter("b", {6}), strided, 2);
       }},
      {"conv without a bias",
       [](NetworkBuilder& b) {
         return ops::conv(b.graph(), "y", image(b), b.parameter("w", {3, 4, 1, 1}), kNoValue,
                          kPlain);
       }},
      {"conv of a signal",
       [](NetworkBuilder& b) {
         return ops::conv(b.graph(), "y", b.input({kBatch, 2, 9}), b.parameter("w", {3, 2, 3}),
                          b.parameter("b", {3}), {{2}, {1}, {1, 1}});
       }},
      {"max_pool",
       [=](NetworkBuilder& b) {
         return ops::max_pool(b.graph(), "y", image(b), {2, 2}, padded);
       }},
      {"average_pool",
       [=](NetworkBuilder& b) {
         return ops::average_pool(b.graph(), "y", image(b), {2, 2}, padded);
       }},
      {"average_pool, dilated",
       [](NetworkBuilder& b) {
         return ops::average_pool(b.graph(), "y", image(b), {2, 2}, {{1, 1}, {2, 2}, {0, 0, 0, 0}});
       }},
      {"resize, nearest", resize("nearest", "asymmetric", "floor", {12, 10}, {2, 2})},
      {"resize, half pixel",
       resize("linear", "half_pixel", "round_prefer_floor", {9, 5}, {1.5, 1})},
      {"resize, to extents",
       resize("linear", "pytorch_half_pixel", "round_prefer_floor", {7, 3}, {7.0 / 6, 3.0 / 5})},
      {"resize, aligned",
       resize("linear", "align_corners", "round_prefer_floor", {11, 9}, {11.0 / 6, 9.0 / 5})},
      {"resize, other rounding", resize("nearest", "half_pixel", "ceil", {3, 10}, {0.5, 2})},
  };
}

std::vector<Case> matrix_cases() {
  return {
      {"linear of rows",
       [](NetworkBuilder& b) {
         return ops::linear(b.graph(), "y", b.input({kBatch, 12}), b.parameter("w", {7, 12}),
                            b.parameter("b", {7}));
       }},
      {"linear of rows without a bias",
       [](NetworkBuilder& b) {
         return ops::linear(b.graph(), "y", b.input({kBatch, 12}), b.parameter("w", {7, 12}));
       }},
      {"linear of sequences",
       [](NetworkBuilder& b) {
         return ops::linear(b.graph(), "y", b.input({kBatch, 3, 12}), b.parameter("w", {7, 12}),
                            b.parameter("b", {7}));
       }},
      {"linear of sequences without a bias",
       [](NetworkBuilder& b) {
         return ops::linear(b.graph(), "y", b.input({kBatch, 3, 12}), b.parameter("w", {7, 12}));
       }},
      {"a weight of two layers",
       [](NetworkBuilder& b) {
         const ValueId w = b.parameter("w", {12, 12});
         const ValueId x = ops::linear(b.graph(), "x", b.input({kBatch, 12}), w);
         const ValueId rows = ops::reshape(b.graph(), "rows", x, {kBatch, 1, 12});
         return ops::linear(b.graph(), "y", rows, w);
       }},
      {"matmul",
       [](NetworkBuilder& b) {
         const ValueId x = b.input({kBatch, 2, 3, 4});
         return ops::matmul(b.graph(), "y", x, ops::transpose(b.graph(), "t", x, {0, 1, 3, 2}));
       }},
      {"hadamard",
       [](NetworkBuilder& b) {
         return ops::hadamard(b.graph(), "y", b.input({kBatch, 3, 24}), b.signs("s", 24));
       },
       1e-5},
      {"hadamard of runs, inverse",
       [](NetworkBuilder& b) {
         return ops::hadamard(b.graph(), "y", b.input({kBatch, 3, 24}), b.signs("s", 12), true);
       },
       1e-5},
      {"embedding",
       [](NetworkBuilder& b) {
         return ops::embedding(b.graph(), "y", b.input({kBatch, 3}, true),
                               b.parameter("t", {9, 4}));
       }},
  };
}

std::vector<Case> normalization_cases() {
  constexpr double kEpsilon = 0x1p-16;  // which float32 holds
  const auto reduce = [](const char* op, std::vector<int64_t> axes, bool keep) {
    return [=](NetworkBuilder& b) { return ops::reduce(b.graph(), op, "y", image(b), axes, keep); };
  };
  return {
      {"batch_norm",
       [=](NetworkBuilder& b) {
         const ValueId v = b.positive("v", {4});
         return ops::batch_norm(b.graph(), "y", image(b), b.parameter("s", {4}),
                                b.parameter("b", {4}), b.parameter("m", {4}), v, kEpsilon);
       }},
      {"layer_norm",
       [=](NetworkBuilder& b) {
         return ops::layer_norm(b.graph(), "y", image(b), b.parameter("w", {5}),
                                b.parameter("b", {5}), kEpsilon);
       }},
      {"layer_norm without parameters",
       [=](NetworkBuilder& b) {
         return ops::layer_norm(b.graph(), "y", image(b), kNoValue, kNoValue, kEpsilon);
       }},
      {"rms_norm",
       [=](NetworkBuilder& b) {
         return ops::rms_norm(b.graph(), "y", b.input({kBatch, 3, 8}), b.parameter("w", {8}),
                              kEpsilon);
       },
       1e-5},
      {"rms_norm of runs",
       [=](NetworkBuilder& b) {
         return ops::rms_norm(b.graph(), "y", b.input({kBatch, 3, 8}), b.parameter("w", {4}),
                              kEpsilon);
       },
       1e-5},
      {"rms_norm, newer opset",
       [=](NetworkBuilder& b) {
         const ValueId x = ops::unary(b.graph(), "gelu_tanh", "x", b.input({kBatch, 3, 8}));
         return ops::rms_norm(b.graph(), "y", x, b.parameter("w", {8}), kEpsilon);
       },
       1e-5},
      {"softmax", [](NetworkBuilder& b) { return ops::softmax(b.graph(), "y", image(b), 1); }},
      {"global average pool", reduce("reduce_mean", {2, 3}, true)},
      {"global max pool", reduce("reduce_max", {2, 3}, true)},
      {"reduce_mean", reduce("reduce_mean", {1, 3}, false)},
      {"reduce_sum", reduce("reduce_sum", {1}, true)},
      {"reduce_max", reduce("reduce_max", {3}, false)},
      {"reductions, newer opset",
       [](NetworkBuilder& b) {
         const ValueId x = ops::unary(b.graph(), "gelu_tanh", "x", image(b));
         const ValueId mean = ops::reduce(b.graph(), "reduce_mean", "mean", x, {1}, true);
         const ValueId sum = ops::reduce(b.graph(), "reduce_sum", "sum", x, {2}, true);
         const ValueId top = ops::reduce(b.graph(), "reduce_max", "top", x, {3}, true);
         return ops::add(b.graph(), "y", ops::add(b.graph(), "both", mean, sum), top);
       }},
  };
}

std::vector<Case> shape_cases() {
  return {
      {"reshape",
       [](NetworkBuilder& b) {
         return ops::reshape(b.graph(), "y", image(b), {kBatch, 2, 60});
       }},
      {"transpose",
       [](NetworkBuilder& b) {
         return ops::transpose(b.graph(), "y", image(b), {0, 2, 3, 1});
       }},
      {"concat",
       [](NetworkBuilder& b) {
         const ValueId x = image(b);
         return ops::concat(b.graph(), "y", {x, ops::relu(b.graph(), "r", x), x}, 2);
       }},
      {"slice, also backwards",
       [](NetworkBuilder& b) {
         return ops::slice(
             b.graph(), "y", image(b),
             {.axes = {1, 2, 3}, .begins = {1, 5, 3}, .steps = {1, -1, -2}, .lengths = {2, 6, 2}});
       }},
      {"pad",
       [](NetworkBuilder& b) {
         return ops::pad(b.graph(), "y", image(b), {0, 1, 0, 2, 0, 0, 1, 0}, "constant", 0.5);
       }},
      {"pad, reflected",
       [](NetworkBuilder& b) {
         return ops::pad(b.graph(), "y", image(b), {0, 0, 2, 1, 0, 0, 1, 3}, "reflect");
       }},
      {"pad, edge",
       [](NetworkBuilder& b) {
         return ops::pad(b.graph(), "y", image(b), {0, 0, 2, 1, 0, 0, 1, 3}, "edge");
       }},
      {"gather by constants",
       [](NetworkBuilder& b) {
         return ops::gather(b.graph(), "y", image(b), b.numbers("i", {2, 2}, {0, -1, 3, 1}), 1);
       }},
      {"gather by the network",
       [](NetworkBuilder& b) {
         const ValueId ids = b.input({kBatch, 3}, true);
         const ValueId first = ops::slice(
             b.graph(), "first", ids, {.axes = {1}, .begins = {0}, .steps = {1}, .lengths = {2}});
         const ValueId other = ops::relu(b.graph(), "other", ids);
         const ValueId both = ops::concat(b.graph(), "both", {first, other}, 1);
         return ops::gather(b.graph(), "y", b.parameter("t", {9}), both, 0);
       }},
      {"expand to the batch",
       [](NetworkBuilder& b) {
         const ValueId x = image(b);
         const ValueId wide =
             ops::expand(b.graph(), "wide", b.parameter("c", {1, 4, 1, 1}), x, {kBatch, 4, 6, 5});
         return ops::add(b.graph(), "y", x, wide);
       }},
      {"expand",
       [](NetworkBuilder& b) {
         const ValueId mean = ops::reduce(b.graph(), "reduce_mean", "m", image(b), {3}, true);
         return ops::add(
             b.graph(), "y", mean,
             ops::expand(b.graph(), "wide", b.parameter("c", {1, 1}), kNoValue, {6, 3}));
       }},
  };
}

std::vector<Case> quantization_cases() {
  const auto codes = [](NetworkBuilder& b, ValueId x, int64_t low, int64_t high, double zero) {
    return ops::quantize(b.graph(), "q", x, b.numbers("s", {}, {0.03125}),
                         b.numbers("z", {}, {zero}), 0, low, high);
  };
  const auto values = [](NetworkBuilder& b, ValueId q) {
    return ops::dequantize(b.graph(), "y", q, b.graph().find("s"), b.graph().find("z"), 0);
  };
  const auto there_and_back = [=](int64_t low, int64_t high, double zero) {
    return [=](NetworkBuilder& b) { return values(b, codes(b, image(b), low, high, zero)); };
  };
  return {
      {"uint8", there_and_back(0, 255, 100)},
      {"int8", there_and_back(-128, 127, -3)},
      {"int8 without -128", there_and_back(-127, 127, 0)},
      {"codes of 4 bits", there_and_back(0, 15, 7)},
      {"uint16", there_and_back(0, 65535, 30000)},
      {"int16", there_and_back(-32768, 32767, 0)},
      {"codes as the result", [=](NetworkBuilder& b) { return codes(b, image(b), 0, 255, 100); }},
      {"without a zero point",
       [](NetworkBuilder& b) {
         const ValueId s = b.numbers("s", {}, {0.0625});
         const ValueId q = ops::quantize(b.graph(), "q", image(b), s, kNoValue, 0, -128, 127);
         return ops::dequantize(b.graph(), "y", q, s, kNoValue, 0);
       }},
      {"for each channel",
       [](NetworkBuilder& b) {
         const ValueId s = b.numbers("s", {4}, {0.5, 0.25, 0.125, 0.0625});
         const ValueId z = b.numbers("z", {4}, {1, 20, 128, 250});
         const ValueId q = ops::quantize(b.graph(), "q", image(b), s, z, 1, 0, 255);
         return ops::dequantize(b.graph(), "y", q, s, z, 1);
       }},
      {"codes that move and are pooled",
       [=](NetworkBuilder& b) {
         const ValueId q = codes(b, image(b), 0, 255, 100);
         const ValueId top = ops::max_pool(b.graph(), "top", q, {2, 2}, kPlain);
         const ValueId turned = ops::transpose(b.graph(), "turned", top, {0, 2, 3, 1});
         return values(b, ops::concat(b.graph(), "twice", {turned, turned}, 1));
       }},
      {"codes that are computed with",
       [=](NetworkBuilder& b) {
         const ValueId q = codes(b, image(b), 0, 255, 100);
         const ValueId s = b.numbers("s4", {4}, {0.5, 0.25, 0.125, 0.0625});
         const ValueId z = b.numbers("z4", {4}, {1, 20, 128, 250});
         const ValueId sum = ops::add(b.graph(), "sum", q, b.parameter("c", {}));
         return ops::dequantize(b.graph(), "y", sum, s, z, 1);
       }},
  };
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto& group : {unary_cases(), elementwise_cases(), window_cases(), matrix_cases(),
                            normalization_cases(), shape_cases(), quantization_cases()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// Whether two networks compute the same, by the reference executor.
void expect_same(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& expected,
                 double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].sizes(), expected[i].sizes());
    const double bound = tolerance * expected[i].abs().max().item<double>();
    EXPECT_LE(largest_difference(got[i], expected[i]), bound);
  }
}

TEST(OnnxExport, EveryOperatorComesBack) {
  at::set_num_threads(1);
  const TemporaryFolder folder;
  std::set<std::string> seen;
  OnnxRuntime runtime(folder.path());
  std::vector<std::pair<std::string, std::vector<at::Tensor>>> runs;  // of ONNX Runtime
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(c.what);
    NetworkBuilder b;
    b.graph().outputs = {c.make(b)};
    for (const Node& node : b.graph().nodes) seen.insert(node.op);
    const at::Tensor input = b.random_input(3);
    const std::vector<at::Tensor> expected = run_network(b.model, {input});
    const fs::path file = folder / fmt::format("{}.onnx", c.what);
    export_onnx(file, b.model);
    const Model again = open_model(file);
    EXPECT_EQ(again.graph.value(again.graph.inputs[0]).shape[0], kBatch);
    expect_same(run_network(again, {input}), expected, c.tolerance);
    if (b.has_ids()) continue;
    runtime.add(file, input, expected);
    runs.emplace_back(c.what, expected);
  }
  for (const Operator* op : Registry<Operator>::instance().all()) {
    const std::string id = op->info().id;
    const bool language = id == "attention" || id == "rope" || id == "round_tokens";
    EXPECT_TRUE(language || seen.contains(id)) << id << " has no case";
  }
  if (!OnnxRuntime::is_there()) GTEST_SKIP() << OnnxRuntime::kMissing;
  const std::vector<std::vector<at::Tensor>> got = runtime.run();
  for (size_t i = 0; i < runs.size(); ++i) {
    SCOPED_TRACE("ONNX Runtime: " + runs[i].first);
    expect_same(got[i], runs[i].second, 1e-5);
  }
}

}  // namespace
}  // namespace bitsmith

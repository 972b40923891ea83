// The shapes that each operator makes, the inputs it refuses, and its way through JSON.
#include "graph/operators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "core/testing.h"

namespace bitsmith {
namespace {

using ::testing::HasSubstr;

// A graph with inputs and parameters made on demand.
struct Bench {
  Graph graph;
  int count = 0;

  std::string name() { return fmt::format("v{}", count++); }
  ValueId input(Shape shape) { return graph.add_input(name(), std::move(shape)); }
  ValueId parameter(Shape shape) { return graph.add_parameter(name(), std::move(shape), "test"); }
};

struct Case {
  std::string what;
  std::function<ValueId(Bench&)> make;
  Shape expected;            // empty with a reason: refused
  std::string refused = {};  // part of the message
};

const ops::Window kPlain{{1, 1}, {1, 1}, {0, 0, 0, 0}};

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = {
      {"embedding",
       [](Bench& b) {
         return ops::embedding(b.graph, "y", b.input({kBatch, kTime}), b.parameter({9, 4}));
       },
       {kBatch, kTime, 4}},
      {"attention with a soft cap",
       [](Bench& b) {
         const ValueId x = b.input({kBatch, kTime, 8});
         return ops::attention(b.graph, "y", x, x, x, {2, 2, 4, 0.5, 3, 30.0});
       },
       {kBatch, kTime, 8}},
      {"attention with a negative soft cap",
       [](Bench& b) {
         const ValueId x = b.input({kBatch, kTime, 8});
         return ops::attention(b.graph, "y", x, x, x, {2, 2, 4, 0.5, 3, -1.0});
       },
       {},
       "'soft_cap' must be above 0"},
      {"scale",
       [](Bench& b) {
         return ops::scale(b.graph, "y", b.input({kBatch, 4}), -2.5);
       },
       {kBatch, 4}},
      {"soft_cap",
       [](Bench& b) {
         return ops::soft_cap(b.graph, "y", b.input({kBatch, 4}), 30);
       },
       {kBatch, 4}},
      {"soft_cap of 0",
       [](Bench& b) {
         return ops::soft_cap(b.graph, "y", b.input({kBatch, 4}), 0);
       },
       {},
       "'cap' must be above 0"},
      {"linear of two extents",
       [](Bench& b) {
         return ops::linear(b.graph, "y", b.input({kBatch, 4}), b.parameter({7, 4}),
                            b.parameter({7}));
       },
       {kBatch, 7}},
      {"linear with a wrong bias",
       [](Bench& b) {
         return ops::linear(b.graph, "y", b.input({kBatch, 4}), b.parameter({7, 4}),
                            b.parameter({6}));
       },
       {},
       "must be [7], it is [6]"},
      {"matmul broadcasts",
       [](Bench& b) {
         return ops::matmul(b.graph, "y", b.input({kBatch, 3, 5, 4}), b.parameter({3, 4, 6}));
       },
       {kBatch, 3, 5, 6}},
      {"matmul of misfits",
       [](Bench& b) {
         return ops::matmul(b.graph, "y", b.input({5, 4}), b.input({5, 4}));
       },
       {},
       "no matrix product"},
      {"hadamard of runs",
       [](Bench& b) {
         return ops::hadamard(b.graph, "y", b.input({kBatch, kTime, 12}), b.parameter({6}), true);
       },
       {kBatch, kTime, 12}},
      {"hadamard of misfits",
       [](Bench& b) {
         return ops::hadamard(b.graph, "y", b.input({kBatch, 12}), b.parameter({5}));
       },
       {},
       "no multiple of the 5 signs"},
      {"hadamard of a large odd factor",
       [](Bench& b) {
         return ops::hadamard(b.graph, "y", b.input({kBatch, 2 * 4099}), b.parameter({2 * 4099}));
       },
       {},
       "odd factor above 512"},
      {"rope",
       [](Bench& b) {
         return ops::rope(b.graph, "y", b.input({kBatch, kTime, 8}), {1.0, 0.5});
       },
       {kBatch, kTime, 8}},
      {"attention",
       [](Bench& b) {
         return ops::attention(b.graph, "y", b.input({kBatch, kTime, 8}),
                               b.input({kBatch, kTime, 4}), b.input({kBatch, kTime, 4}),
                               {.heads = 4, .kv_heads = 2, .head_dim = 2, .scale = 0.5});
       },
       {kBatch, kTime, 8}},
      {"add broadcasts both ways",
       [](Bench& b) {
         return ops::add(b.graph, "y", b.input({kBatch, 1, 5}), b.input({3, 1}));
       },
       {kBatch, 3, 5}},
      {"subtract",
       [](Bench& b) {
         return ops::subtract(b.graph, "y", b.input({2, 5}), b.parameter({5}));
       },
       {2, 5}},
      {"B is not 2",
       [](Bench& b) {
         return ops::subtract(b.graph, "y", b.input({kBatch, 5}), b.input({2, 5}));
       },
       {},
       "do not broadcast"},
      {"multiply by a scalar",
       [](Bench& b) {
         return ops::multiply(b.graph, "y", b.input({kBatch, 5}), b.parameter({}));
       },
       {kBatch, 5}},
      {"divide",
       [](Bench& b) {
         return ops::divide(b.graph, "y", b.input({2, 5}), b.parameter({5}));
       },
       {2, 5}},
      {"power",
       [](Bench& b) {
         return ops::power(b.graph, "y", b.input({2, 5}), b.parameter({1}));
       },
       {2, 5}},
      {"minimum",
       [](Bench& b) { return ops::minimum(b.graph, "y", b.input({2}), b.parameter({1})); },
       {2}},
      {"maximum",
       [](Bench& b) { return ops::maximum(b.graph, "y", b.input({2}), b.parameter({1})); },
       {2}},
      {"equal",
       [](Bench& b) {
         return ops::equal(b.graph, "y", b.input({2}), b.parameter({3, 1}));
       },
       {3, 2}},
      {"less", [](Bench& b) { return ops::less(b.graph, "y", b.input({2}), b.input({2})); }, {2}},
      {"select",
       [](Bench& b) {
         return ops::select(b.graph, "y", b.input({4, 1}), b.input({3}), b.parameter({}));
       },
       {4, 3}},
      {"clip", [](Bench& b) { return ops::clip(b.graph, "y", b.input({4}), 0, 6); }, {4}},
      {"clip of nothing",
       [](Bench& b) { return ops::clip(b.graph, "y", b.input({4}), 6, 0); },
       {},
       "'low' must not be above"},
      {"leaky_relu",
       [](Bench& b) { return ops::leaky_relu(b.graph, "y", b.input({4}), 0.1); },
       {4}},
      {"leaky_relu with NaN",
       [](Bench& b) { return ops::leaky_relu(b.graph, "y", b.input({4}), std::nan("")); },
       {},
       "not finite"},
      {"elu", [](Bench& b) { return ops::elu(b.graph, "y", b.input({4}), 1); }, {4}},
      {"hard_sigmoid",
       [](Bench& b) { return ops::hard_sigmoid(b.graph, "y", b.input({4}), 0.2, 0.5); },
       {4}},
      {"conv, strided and padded",
       [](Bench& b) {
         return ops::conv(b.graph, "y", b.input({kBatch, 3, 8, 9}), b.parameter({4, 3, 3, 3}),
                          b.parameter({4}), {{2, 1}, {1, 2}, {1, 0, 0, 1}});
       },
       {kBatch, 4, 4, 6}},
      {"conv of a signal, depthwise",
       [](Bench& b) {
         return ops::conv(b.graph, "y", b.input({kBatch, 6, 8}), b.parameter({6, 1, 3}), kNoValue,
                          {{1}, {1}, {1, 1}}, 6);
       },
       {kBatch, 6, 8}},
      {"conv with wrong groups",
       [](Bench& b) {
         return ops::conv(b.graph, "y", b.input({kBatch, 6, 8, 8}), b.parameter({4, 3, 3, 3}),
                          kNoValue, kPlain, 4);
       },
       {},
       "4 groups do not divide 6"},
      {"conv larger than its input",
       [](Bench& b) {
         return ops::conv(b.graph, "y", b.input({kBatch, 3, 2, 8}), b.parameter({4, 3, 3, 3}),
                          kNoValue, kPlain);
       },
       {},
       "a window of 3 does not fit 2"},
      {"max_pool",
       [](Bench& b) {
         return ops::max_pool(b.graph, "y", b.input({kBatch, 3, 8, 8}), {3, 3},
                              {{2, 2}, {1, 1}, {1, 1, 1, 1}});
       },
       {kBatch, 3, 4, 4}},
      {"max_pool of padding only",
       [](Bench& b) {
         return ops::max_pool(b.graph, "y", b.input({kBatch, 3, 8, 8}), {2, 2},
                              {{1, 1}, {1, 1}, {2, 0, 0, 0}});
       },
       {},
       "without a cell of the input"},
      {"average_pool",
       [](Bench& b) {
         return ops::average_pool(b.graph, "y", b.input({kBatch, 3, 7, 7}), {7, 7}, kPlain);
       },
       {kBatch, 3, 1, 1}},
      {"resize",
       [](Bench& b) {
         return ops::resize(b.graph, "y", b.input({kBatch, 3, 7, 7}),
                            {.sizes = {14, 21}, .scales = {2, 3}, .mode = "linear"});
       },
       {kBatch, 3, 14, 21}},
      {"rms_norm",
       [](Bench& b) {
         return ops::rms_norm(b.graph, "y", b.input({kBatch, kTime, 8}), b.parameter({4}), 1e-5);
       },
       {kBatch, kTime, 8}},
      {"layer_norm",
       [](Bench& b) {
         return ops::layer_norm(b.graph, "y", b.input({kBatch, 5, 8}), b.parameter({8}), kNoValue,
                                1e-5);
       },
       {kBatch, 5, 8}},
      {"batch_norm",
       [](Bench& b) {
         return ops::batch_norm(b.graph, "y", b.input({kBatch, 3, 2, 2}), b.parameter({3}),
                                b.parameter({3}), b.parameter({3}), b.parameter({3}), 1e-5);
       },
       {kBatch, 3, 2, 2}},
      {"softmax",
       [](Bench& b) {
         return ops::softmax(b.graph, "y", b.input({kBatch, 3}), 1);
       },
       {kBatch, 3}},
      {"softmax of no axis",
       [](Bench& b) {
         return ops::softmax(b.graph, "y", b.input({kBatch, 3}), 2);
       },
       {},
       "'axis' is 2"},
      {"reduce_mean, kept",
       [](Bench& b) {
         return ops::reduce(b.graph, "reduce_mean", "y", b.input({kBatch, 3, 4, 5}), {2, 3}, true);
       },
       {kBatch, 3, 1, 1}},
      {"reduce_sum, gone",
       [](Bench& b) {
         return ops::reduce(b.graph, "reduce_sum", "y", b.input({kBatch, 3, 4, 5}), {1, 3}, false);
       },
       {kBatch, 4}},
      {"reduce_max",
       [](Bench& b) {
         return ops::reduce(b.graph, "reduce_max", "y", b.input({kBatch, 3}), {1}, true);
       },
       {kBatch, 1}},
      {"reduce_max over B",
       [](Bench& b) {
         return ops::reduce(b.graph, "reduce_max", "y", b.input({kBatch, 3}), {0}, false);
       },
       {},
       "axis 0 of [B, 3] is not known"},
      {"reshape",
       [](Bench& b) {
         return ops::reshape(b.graph, "y", b.input({kBatch, 3, 4}), {kBatch, 12});
       },
       {kBatch, 12}},
      {"reshape to a scalar",
       [](Bench& b) {
         return ops::reshape(b.graph, "y", b.input({1, 1}), {});
       },
       {}},
      {"reshape of B",
       [](Bench& b) {
         return ops::reshape(b.graph, "y", b.input({kBatch, 3, 4}), {12, kBatch});
       },
       {},
       "'shape' is"},
      {"reshape to another count",
       [](Bench& b) {
         return ops::reshape(b.graph, "y", b.input({3, 4}), {5});
       },
       {},
       "cannot become [5]"},
      {"transpose",
       [](Bench& b) {
         return ops::transpose(b.graph, "y", b.input({kBatch, 3, 4}), {0, 2, 1});
       },
       {kBatch, 4, 3}},
      {"transpose with a repeated axis",
       [](Bench& b) {
         return ops::transpose(b.graph, "y", b.input({2, 3}), {1, 1});
       },
       {},
       "axis 1 comes twice"},
      {"concat",
       [](Bench& b) {
         return ops::concat(b.graph, "y", {b.input({kBatch, 3, 4}), b.input({kBatch, 2, 4})}, 1);
       },
       {kBatch, 5, 4}},
      {"concat along B",
       [](Bench& b) {
         return ops::concat(b.graph, "y", {b.input({kBatch, 3})}, 0);
       },
       {},
       "input 0 is [B, 3]"},
      {"slice",
       [](Bench& b) {
         return ops::slice(b.graph, "y", b.input({kBatch, 10, 4}),
                           {{1, 2}, {9, 1}, {-3, 2}, {4, 2}});
       },
       {kBatch, 4, 2}},
      {"slice beyond the end",
       [](Bench& b) {
         return ops::slice(b.graph, "y", b.input({kBatch, 10}), {{1}, {9}, {-3}, {5}});
       },
       {},
       "leave an axis of 10"},
      {"pad that reflects more than there is",
       [](Bench& b) {
         return ops::pad(b.graph, "y", b.input({kBatch, 3, 4}), {0, 3, 0, 0, 0, 0}, "reflect");
       },
       {},
       "an axis of 3 cannot"},
      {"pad with edges",
       [](Bench& b) {
         return ops::pad(b.graph, "y", b.input({kBatch, 3, 4}), {0, 0, 3, 0, 1, 2}, "edge");
       },
       {kBatch, 4, 9}},
      {"gather",
       [](Bench& b) {
         return ops::gather(b.graph, "y", b.input({5, 6, 7}), b.input({2, 3}), 1);
       },
       {5, 2, 3, 7}},
      {"expand",
       [](Bench& b) {
         return ops::expand(b.graph, "y", b.parameter({1, 1, 7}), b.input({kBatch, 2}),
                            {kBatch, 1, 7});
       },
       {kBatch, 1, 7}},
      {"expand to B of nothing",
       [](Bench& b) {
         return ops::expand(b.graph, "y", b.parameter({1, 7}), kNoValue, {kBatch, 7});
       },
       {},
       "an activation of B elements"},
      {"quantize",
       [](Bench& b) {
         return ops::quantize(b.graph, "y", b.input({kBatch, 3}), b.parameter({}), b.parameter({}),
                              0, 0, 255);
       },
       {kBatch, 3}},
      {"dequantize per channel",
       [](Bench& b) {
         return ops::dequantize(b.graph, "y", b.input({kBatch, 3}), b.parameter({3}), kNoValue, 1);
       },
       {kBatch, 3}},
      {"dequantize per other channels",
       [](Bench& b) {
         return ops::dequantize(b.graph, "y", b.input({kBatch, 3}), b.parameter({4}), kNoValue, 1);
       },
       {},
       "the number of scales must be 3"},
      {"round_tokens",
       [](Bench& b) {
         return ops::round_tokens(b.graph, "y", b.input({kBatch, kTime, 5}), 8);
       },
       {kBatch, kTime, 5}},
      {"round_tokens to one bit",
       [](Bench& b) {
         return ops::round_tokens(b.graph, "y", b.input({kBatch, kTime, 5}), 1);
       },
       {},
       "not 2 to 8"},
  };
  return kCases;
}

TEST(Operators, MakeShapesOrRefuse) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.what);
    Bench bench;
    try {
      const ValueId y = c.make(bench);
      EXPECT_EQ(c.refused, "") << "not refused";
      EXPECT_EQ(to_string(bench.graph.value(y).shape), to_string(c.expected));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      ASSERT_NE(c.refused, "") << error.what();
      EXPECT_THAT(error.what(), HasSubstr(c.refused));
    }
  }
}

TEST(Operators, UnaryOnesKeepTheShape) {
  for (const char* op :
       {"relu", "sigmoid", "silu", "hard_swish", "tanh", "gelu", "gelu_tanh", "softplus", "abs",
        "exp", "log", "sqrt", "erf", "sin", "cos", "floor", "ceil", "truncate", "round"}) {
    Bench bench;
    const ValueId y = ops::unary(bench.graph, op, "y", bench.input({kBatch, 3, 4}));
    EXPECT_EQ(bench.graph.value(y).shape, (Shape{kBatch, 3, 4})) << op;
  }
}

// Every operator, with every kind of attribute, is the same after the way through text.
TEST(Operators, SurviveJson) {
  std::set<std::string> seen;
  for (const Case& c : cases()) {
    if (!c.refused.empty()) continue;
    SCOPED_TRACE(c.what);
    Bench bench;
    bench.graph.outputs = {c.make(bench)};
    seen.insert(bench.graph.nodes[0].op);
    const std::string text = bench.graph.to_json().dump();
    const Graph copy = Graph::from_json(nlohmann::json::parse(text));
    EXPECT_EQ(copy.to_json().dump(), text);
    EXPECT_EQ(copy.value(copy.outputs[0]).shape, bench.graph.value(bench.graph.outputs[0]).shape);
  }
  for (const Operator* op : Registry<Operator>::instance().all()) {
    const bool unary = op->infer == Registry<Operator>::instance().get("relu").infer;
    EXPECT_TRUE(unary || seen.contains(op->info().id)) << op->info().id << " has no case";
  }
}

// Every operator says which node it is that does not fit.
TEST(Operators, RefuseWrongInputsAndAttributesByName) {
  for (const Case& c : cases()) {
    if (!c.refused.empty()) continue;
    SCOPED_TRACE(c.what);
    Bench bench;
    c.make(bench);
    const Node good = bench.graph.nodes[0];
    const auto refuse = [&](const Node& node) {
      const auto infer = Registry<Operator>::instance().get(node.op).infer;
      const std::string message =
          bitsmith::testing::error_of(ErrorCode::kCorrupt, [&] { infer(bench.graph, node); });
      EXPECT_THAT(message, HasSubstr("'y' (" + node.op + ")"));
    };
    Node node = good;
    if (good.op != "concat") {  // which takes any number
      node.inputs.push_back(node.inputs.back());
      refuse(node);
      node = good;
      node.inputs.pop_back();
      refuse(node);
    }
    node.inputs.clear();
    refuse(node);
    for (size_t i = 0; i < good.inputs.size(); ++i) {
      for (const ValueId nowhere : {ValueId{-2}, ValueId{1000}}) {
        node = good;
        node.inputs[i] = nowhere;
        refuse(node);
      }
    }
    for (const auto& [name, value] : good.attributes) {
      SCOPED_TRACE(name);
      node = good;
      node.attributes.erase(name);
      // Files of older versions have none.
      if (good.op != "attention" || name != "soft_cap") refuse(node);
      node.attributes[name] = std::string("no such word");
      refuse(node);
    }
  }
}

TEST(Operators, AttentionReadsKeysAndValuesOfItsQueries) {
  for (const size_t wrong : {0, 1, 2}) {
    for (const Shape& shape : {Shape{5, 4}, Shape{kBatch, 5, 4}, Shape{5, kTime, 4}, Shape{4}}) {
      Bench b;
      ValueId ids[3];
      for (size_t i = 0; i < 3; ++i) {
        ids[i] = i == wrong ? b.parameter(shape) : b.input({kBatch, kTime, 4});
      }
      const std::string message = bitsmith::testing::error_of(ErrorCode::kCorrupt, [&] {
        ops::attention(b.graph, "y", ids[0], ids[1], ids[2],
                       {.heads = 2, .kv_heads = 2, .head_dim = 2, .scale = 0.5});
      });
      EXPECT_THAT(message, HasSubstr("'y' (attention)"));
    }
  }
}

TEST(Graph, RefusesEmptyAndHugeResultsAndInfinity) {
  Bench bench;
  EXPECT_THROW(ops::relu(bench.graph, "y", bench.input({kBatch, 0})), Error);
  EXPECT_THROW(ops::relu(bench.graph, "y", bench.input({1 << 30, 1 << 30})), Error);
  EXPECT_THROW(ops::pad(bench.graph, "y", bench.input({2}), {1, 1}, "constant", -INFINITY), Error);
}

TEST(Graph, BlocksOfAResidualNetworkEndWhereOneValueIsLive) {
  Bench b;
  const auto conv = [&](const std::string& name, ValueId x) {
    return ops::conv(b.graph, name, x, b.parameter({3, 3, 1, 1}), kNoValue, kPlain);
  };
  const ValueId x = b.input({kBatch, 3, 4, 4});
  const ValueId stem = ops::relu(b.graph, "stem.relu", conv("stem.conv", x));
  const ValueId inner = conv("body.b", ops::relu(b.graph, "body.relu", conv("body.a", stem)));
  const ValueId sum = ops::add(b.graph, "body.add", inner, stem);
  b.graph.outputs = {ops::reduce(b.graph, "reduce_mean", "pool", sum, {2, 3}, false)};
  const std::vector<Block> blocks = find_blocks(b.graph);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].begin, 0u);
  EXPECT_EQ(blocks[0].end, 1u);  // the convolution; its relu belongs to the next
  EXPECT_EQ(blocks[1].end, b.graph.nodes.size());
}

TEST(Graph, InputsThatAreReadLateKeepBlocksWhole) {
  Bench b;
  const auto project = [&](const std::string& name, ValueId x) {
    return ops::linear(b.graph, name, x, b.parameter({4, 4}));
  };
  const ValueId x = b.input({kBatch, 4});
  const ValueId mask = b.input({kBatch, 4});
  const ValueId masked = ops::multiply(b.graph, "mask", project("one", x), mask);
  b.graph.outputs = {project("two", masked)};
  const std::vector<Block> blocks = find_blocks(b.graph);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].end, 2u);
}

TEST(Graph, AnOutputInTheMiddleIsACutPointAndNotTheLastBlocksOutput) {
  Bench b;
  const auto project = [&](const std::string& name, ValueId x) {
    return ops::linear(b.graph, name, x, b.parameter({4, 4}));
  };
  const ValueId one = project("one", b.input({kBatch, 4}));
  const ValueId two = project("two", one);
  const ValueId three = project("three", two);
  b.graph.outputs = {two, three};
  const std::vector<Block> blocks = find_blocks(b.graph);
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].output, one);
  EXPECT_EQ(blocks[1].output, two);
  EXPECT_EQ(blocks[2].input, two);
  EXPECT_EQ(blocks[2].output, three);
}

TEST(Graph, DeadNodesGo) {
  Bench b;
  const ValueId x = b.input({kBatch, 4});
  const ValueId dead = ops::relu(b.graph, "dead", x);
  ops::relu(b.graph, "dead too", dead);
  b.graph.outputs = {ops::relu(b.graph, "alive", x)};
  remove_dead_nodes(b.graph);
  ASSERT_EQ(b.graph.nodes.size(), 1u);
  EXPECT_EQ(b.graph.nodes[0].name, "alive");
}

}  // namespace
}  // namespace bitsmith

// Helpers of tests: small models of every family, and a plain executor in float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "codecs/codec_testing.h"
#include "families/families_testing.h"
#include "families/family.h"
#include "graph/graph.h"
#include "text/tokenizer.h"

namespace bitsmith::testing {

// A graph with random parameters, all coded by one scheme but norms and biases (f32).
struct SmallModel {
  Graph graph;
  std::map<std::string, std::vector<std::byte>> bytes;
  std::map<std::string, CodedTensor> parameters;

  SmallModel(const nlohmann::json& config, const Scheme& scheme, uint64_t seed = 1);
  SmallModel(const SmallModel&) = delete;
};

// config.json of 2 layers, hidden 64, 4 heads of 16 channels over 2 kv heads, vocabulary 96; Gemma
// with gemma_fields().
nlohmann::json small_config(const std::string& model_type);

// Logits [tokens, V] of one sequence, each operator by its definition in graph/operators.h, in
// float64 with no cache.
std::vector<double> run_plainly(const Graph& graph,
                                const std::map<std::string, CodedTensor>& parameters,
                                std::span<const TokenId> tokens);

// `count` tokens below `vocabulary`.
std::vector<TokenId> random_tokens(int64_t count, int64_t vocabulary, uint64_t seed);

namespace plain {

using Matrix = std::vector<double>;  // [T, channels]

inline int64_t channels_of(const Graph& graph, ValueId id) { return graph.value(id).shape.back(); }

inline Matrix plain_linear(const Matrix& x, const Matrix& weight, const Matrix& bias, int64_t in,
                           int64_t out) {
  const auto tokens = static_cast<int64_t>(x.size()) / in;
  Matrix y(static_cast<size_t>(tokens * out));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<size_t>(o)];
      for (int64_t i = 0; i < in; ++i) {
        sum += x[static_cast<size_t>(t * in + i)] * weight[static_cast<size_t>(o * in + i)];
      }
      y[static_cast<size_t>(t * out + o)] = sum;
    }
  }
  return y;
}

inline Matrix plain_rms_norm(const Matrix& x, const Matrix& weight, double epsilon) {
  Matrix y(x.size());
  for (size_t begin = 0; begin < x.size(); begin += weight.size()) {
    double squares = 0;
    for (size_t c = 0; c < weight.size(); ++c) squares += x[begin + c] * x[begin + c];
    const double norm = std::sqrt(squares / static_cast<double>(weight.size()) + epsilon);
    for (size_t c = 0; c < weight.size(); ++c) y[begin + c] = x[begin + c] / norm * weight[c];
  }
  return y;
}

inline Matrix plain_rope(const Node& node, const Matrix& x, int64_t channels) {
  const std::vector<double>& frequencies = node.numbers("frequencies");
  const double magnitude = node.number("magnitude");
  const size_t half = frequencies.size();
  Matrix y(x.size());
  for (size_t begin = 0; begin < x.size(); begin += 2 * half) {
    const auto position = static_cast<double>(begin / static_cast<size_t>(channels));
    for (size_t i = 0; i < half; ++i) {
      const double cosine = magnitude * std::cos(position * frequencies[i]);
      const double sine = magnitude * std::sin(position * frequencies[i]);
      const double a = x[begin + i];
      const double b = x[begin + half + i];
      y[begin + i] = a * cosine - b * sine;
      y[begin + half + i] = b * cosine + a * sine;
    }
  }
  return y;
}

inline Matrix plain_attention(const Node& node, const Matrix& q, const Matrix& k, const Matrix& v) {
  const int64_t heads = node.integer("heads");
  const int64_t kv_heads = node.integer("kv_heads");
  const int64_t d = node.integer("head_dim");
  const int64_t window = node.integer("window");
  const double cap = node.attributes.contains("soft_cap") ? node.number("soft_cap") : 0;
  const auto tokens = static_cast<int64_t>(q.size()) / (heads * d);
  Matrix y(q.size(), 0.0);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv = h / (heads / kv_heads);
      Matrix p;
      double sum = 0;
      const int64_t first = window > 0 ? std::max<int64_t>(0, t - window + 1) : 0;
      for (int64_t s = first; s <= t; ++s) {
        double dot = 0;
        for (int64_t c = 0; c < d; ++c) {
          dot += q[static_cast<size_t>((t * heads + h) * d + c)] *
                 k[static_cast<size_t>((s * kv_heads + kv) * d + c)];
        }
        const double score = dot * node.number("scale");
        p.push_back(std::exp(cap > 0 ? cap * std::tanh(score / cap) : score));
        sum += p.back();
      }
      for (int64_t s = first; s <= t; ++s) {
        for (int64_t c = 0; c < d; ++c) {
          y[static_cast<size_t>((t * heads + h) * d + c)] +=
              p[static_cast<size_t>(s - first)] / sum *
              v[static_cast<size_t>((s * kv_heads + kv) * d + c)];
        }
      }
    }
  }
  return y;
}

inline Matrix plain_binary(const std::string& op, const Matrix& a, const Matrix& b) {
  Matrix y(a.size());
  for (size_t i = 0; i < a.size(); ++i) y[i] = op == "add" ? a[i] + b[i] : a[i] * b[i];
  return y;
}

inline Matrix plain_unary(const Node& node, const Matrix& x) {
  const double cap = node.op == "soft_cap" ? node.number("cap") : 0;
  const double factor = node.op == "scale" ? node.number("factor") : 0;
  Matrix y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    const double gelu = v / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    y[i] = node.op == "gelu_tanh"  ? gelu
           : node.op == "scale"    ? factor * v
           : node.op == "soft_cap" ? cap * std::tanh(v / cap)
                                   : v / (1 + std::exp(-v));
  }
  return y;
}

}  // namespace plain

inline SmallModel::SmallModel(const nlohmann::json& config, const Scheme& scheme, uint64_t seed)
    : graph(build_graph(config)) {
  ThreadPool pool(1);
  const Scheme plain("f32", nlohmann::json::object());
  for (const ValueId id : graph.parameters()) {
    const Value& value = graph.value(id);
    const bool vector = value.shape.size() == 1;
    Random random(seed, value.name);
    const auto count = static_cast<size_t>(element_count(value.shape).value());
    // Variance one over the inputs keeps activations near one; tables are looked up.
    const double spread = vector ? 0.2
                          : value.role == "embedding"
                              ? 1.0
                              : 1.0 / std::sqrt(static_cast<double>(value.shape[1]));
    const double mean = vector && value.role == "norm" ? 1.0 : 0.0;
    std::vector<float> weights(count);
    for (float& w : weights) w = static_cast<float>(mean + spread * random.normal());
    const Scheme& chosen = vector ? plain : scheme;
    bytes[value.name] = encode(chosen, matrix_shape(value.shape), weights, pool).bytes;
    parameters[value.name] = {value.name, value.shape, chosen, bytes[value.name]};
  }
}

inline nlohmann::json small_config(const std::string& model_type) {
  nlohmann::json config = {
      {"model_type", model_type},       {"vocab_size", 96},       {"hidden_size", 64},
      {"intermediate_size", 96},        {"num_hidden_layers", 2}, {"num_attention_heads", 4},
      {"num_key_value_heads", 2},       {"head_dim", 16},         {"hidden_act", "silu"},
      {"max_position_embeddings", 256}, {"rms_norm_eps", 1e-5},   {"rope_theta", 10000.0},
      {"tie_word_embeddings", false}};
  if (model_type.starts_with("gemma")) config.update(gemma_fields(model_type));
  return config;
}

inline std::vector<double> run_plainly(const Graph& graph,
                                       const std::map<std::string, CodedTensor>& parameters,
                                       std::span<const TokenId> tokens) {
  using namespace plain;
  std::vector<Matrix> values(graph.values.size());
  for (const ValueId id : graph.parameters()) {
    const std::vector<float> decoded = parameters.at(graph.value(id).name).decode_all();
    values[static_cast<size_t>(id)].assign(decoded.begin(), decoded.end());
  }
  for (const Node& node : graph.nodes) {
    const auto input = [&](size_t i) -> const Matrix& {
      static const Matrix kNone;
      const ValueId id = node.inputs.at(i);
      return id == kNoValue ? kNone : values[static_cast<size_t>(id)];
    };
    Matrix& y = values[static_cast<size_t>(node.outputs[0])];
    const int64_t out = channels_of(graph, node.outputs[0]);
    if (node.op == "embedding") {
      for (const TokenId token : tokens) {
        const auto row = input(1).begin() + token * out;
        y.insert(y.end(), row, row + out);
      }
    } else if (node.op == "linear") {
      y = plain_linear(input(0), input(1), input(2), channels_of(graph, node.inputs[0]), out);
    } else if (node.op == "rms_norm") {
      y = plain_rms_norm(input(0), input(1), node.number("epsilon"));
    } else if (node.op == "rope") {
      y = plain_rope(node, input(0), out);
    } else if (node.op == "attention") {
      y = plain_attention(node, input(0), input(1), input(2));
    } else if (node.op == "add" || node.op == "multiply") {
      y = plain_binary(node.op, input(0), input(1));
    } else {
      y = plain_unary(node, input(0));
    }
  }
  return values[static_cast<size_t>(graph.outputs[0])];
}

inline std::vector<TokenId> random_tokens(int64_t count, int64_t vocabulary, uint64_t seed) {
  Random random(seed, "tokens");
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<TokenId>(random.below(static_cast<uint64_t>(vocabulary))));
  }
  return tokens;
}

}  // namespace bitsmith::testing

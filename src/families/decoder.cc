#include "families/decoder.h"

#include <cmath>

#include "families/rope.h"
#include "graph/operators.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

struct Dimensions {
  int64_t vocab, hidden, ffn, layers, heads, kv_heads, head_dim;
  double epsilon;
};

Dimensions read_dimensions(const Config& config) {
  Dimensions d{};
  d.vocab = config.size("vocab_size");
  d.hidden = config.size("hidden_size", 1 << 20);
  d.ffn = config.size("intermediate_size", 1 << 22);
  d.layers = config.size("num_hidden_layers", 4096);
  d.heads = config.size("num_attention_heads", 1 << 16);
  d.kv_heads = config.size_or("num_key_value_heads", d.heads);
  constexpr int64_t kMaxHeadDim = 4096;  // each layer holds the frequencies of a head
  if (!config.has("head_dim") && d.hidden % d.heads != 0) {
    fail(ErrorCode::kCorrupt,
         "config.json: hidden_size {} is no multiple of num_attention_heads {}", d.hidden, d.heads);
  }
  d.head_dim = config.has("head_dim") ? config.size("head_dim", kMaxHeadDim) : d.hidden / d.heads;
  if (d.head_dim > kMaxHeadDim) {
    fail(ErrorCode::kCorrupt,
         "config.json: hidden_size {} over num_attention_heads {} makes heads of more than {} "
         "channels",
         d.hidden, d.heads, kMaxHeadDim);
  }
  d.epsilon = config.number_or("rms_norm_eps", 1e-6);
  if (d.epsilon < 0) {
    fail(ErrorCode::kCorrupt, "config.json: 'rms_norm_eps' must not be negative, it is {}",
         d.epsilon);
  }
  if (d.heads % d.kv_heads != 0) {
    fail(ErrorCode::kCorrupt,
         "config.json: num_attention_heads {} is no multiple of num_key_value_heads {}", d.heads,
         d.kv_heads);
  }
  return d;
}

void check_activation(const Config& config, bool gelu) {
  if (!gelu) {
    const std::string activation = config.text_or("hidden_act", "silu");
    if (activation == "silu" || activation == "swish") return;
    fail(ErrorCode::kUnsupported, "config.json: hidden_act '{}' is not supported, only silu is",
         activation);
  }
  // Gemma's first configurations have the hidden_act "gelu", for which transformers takes this.
  const std::string old = config.text_or("hidden_act", "gelu");
  const std::string usual = "gelu_pytorch_tanh";
  const std::string activation = config.text_or("hidden_activation", old == "gelu" ? usual : old);
  if (activation == usual) return;
  fail(ErrorCode::kUnsupported,
       "config.json: the activation '{}' is not supported in a '{}', only {} is", activation,
       config.text("model_type"), usual);
}

// Fields of other families that would change the result: a configuration that sets one is not of
// the network that is built here.
void refuse_foreign_fields(const nlohmann::json& json, const DecoderTraits& traits) {
  const auto known = [&](std::string_view field) {
    if (field == "query_pre_attn_scalar") return traits.query_scalar;
    return traits.soft_caps && field.ends_with("_logit_softcapping");
  };
  for (const char* field :
       {"attention_multiplier", "attn_logit_softcapping", "clip_qkv", "embedding_multiplier",
        "final_logit_softcapping", "logit_scale", "logits_scaling", "n_routed_experts",
        "num_experts", "num_local_experts", "query_pre_attn_scalar", "residual_multiplier",
        "scale_emb", "use_bidirectional_attention", "use_qk_norm"}) {
    const auto it = json.find(field);
    if (known(field) || it == json.end() || it->is_null() || *it == false || *it == 0) continue;
    fail(ErrorCode::kUnsupported, "config.json: '{}' is not supported in a '{}'", field,
         json.value("model_type", ""));
  }
}

SoftCaps read_soft_caps(const Config& config, const DecoderTraits& traits) {
  if (!traits.soft_caps) return {};
  // A field that is null says that there is none.
  const auto read = [&](const char* field, double otherwise) {
    if (!config.json().contains(field)) return otherwise;
    return config.has(field) ? config.positive(field) : 0.0;
  };
  return {read("attn_logit_softcapping", traits.soft_caps->scores),
          read("final_logit_softcapping", traits.soft_caps->logits)};
}

// √hidden_size as models of these weights have it.
double embedding_scale(const Config& config, int64_t hidden) {
  const auto root = static_cast<float>(std::sqrt(static_cast<double>(hidden)));
  const std::string dtype = config.text_or("dtype", config.text_or("torch_dtype", ""));
  if (dtype == "bfloat16") return static_cast<double>(bf16_to_float(float_to_bf16(root)));
  if (dtype == "float16") return static_cast<double>(f16_to_float(float_to_f16(root)));
  return static_cast<double>(root);
}

}  // namespace

Graph build_decoder(const nlohmann::json& json, const DecoderTraits& traits) {
  const Config config(json);
  refuse_foreign_fields(json, traits);
  const Dimensions d = read_dimensions(config);
  check_activation(config, traits.gelu);
  const SoftCaps caps = read_soft_caps(config, traits);
  const auto rope_of = [&](bool sliding) {
    if (!traits.local_rope) return read_rope(config, d.head_dim);
    return read_rope(Config(rope_config(json, sliding)), d.head_dim);
  };
  const RopeParameters rope[] = {rope_of(false), rope_of(true)};
  const double query_scalar = traits.query_scalar ? config.positive_or("query_pre_attn_scalar", 256)
                                                  : static_cast<double>(d.head_dim);
  const bool attention_bias = config.flag_or("attention_bias", false);
  const bool qkv_bias = traits.qkv_bias || attention_bias;
  const bool o_bias = !traits.qkv_bias && attention_bias;
  const bool mlp_bias = config.flag_or("mlp_bias", false);
  if (config.has("max_position_embeddings")) {
    config.size("max_position_embeddings", int64_t{1} << 40);
  }
  if (config.has("quantization_config")) {
    fail(ErrorCode::kUnsupported,
         "config.json: the model is already quantized ('quantization_config'); give the original");
  }

  Graph g;
  ValueId h = g.add_input("tokens", {kBatch, kTime});
  const ValueId table =
      g.add_parameter("model.embed_tokens.weight", {d.vocab, d.hidden}, "embedding");
  h = ops::embedding(g, "embedding", h, table);
  if (traits.scaled_embedding) {
    h = ops::scale(g, "embedding.scale", h, embedding_scale(config, d.hidden));
  }

  for (int64_t layer = 0; layer < d.layers; ++layer) {
    const std::string file = fmt::format("model.layers.{}.", layer);  // names in the file
    const std::string here = fmt::format("layers.{}.", layer);        // names of nodes
    const auto norm = [&](const std::string& node, const std::string& parameter, ValueId x,
                          int64_t size) {
      const ValueId weight = g.add_parameter(file + parameter + ".weight", {size}, "norm");
      return ops::rms_norm(g, here + node, x, weight, d.epsilon);
    };
    const auto project = [&](const std::string& node, const std::string& parameter, ValueId x,
                             int64_t in, int64_t out, bool has_bias) {
      const ValueId weight = g.add_parameter(file + parameter + ".weight", {out, in}, node);
      const ValueId bias =
          has_bias ? g.add_parameter(file + parameter + ".bias", {out}, "bias") : kNoValue;
      return ops::linear(g, here + node, x, weight, bias);
    };
    const int64_t q_size = d.heads * d.head_dim;
    const int64_t kv_size = d.kv_heads * d.head_dim;
    const int64_t window = traits.window(config, layer);
    const RopeParameters& rotary = rope[window > 0 ? 1 : 0];

    ValueId x = norm("attention.norm", "input_layernorm", h, d.hidden);
    ValueId q = project("attention.q", "self_attn.q_proj", x, d.hidden, q_size, qkv_bias);
    ValueId k = project("attention.k", "self_attn.k_proj", x, d.hidden, kv_size, qkv_bias);
    const ValueId v = project("attention.v", "self_attn.v_proj", x, d.hidden, kv_size, qkv_bias);
    if (traits.qk_norm) {
      q = norm("attention.q_norm", "self_attn.q_norm", q, d.head_dim);
      k = norm("attention.k_norm", "self_attn.k_norm", k, d.head_dim);
    }
    q = ops::rope(g, here + "attention.q_rope", q, rotary.frequencies, rotary.magnitude);
    k = ops::rope(g, here + "attention.k_rope", k, rotary.frequencies, rotary.magnitude);
    x = ops::attention(g, here + "attention.mix", q, k, v,
                       {.heads = d.heads,
                        .kv_heads = d.kv_heads,
                        .head_dim = d.head_dim,
                        .scale = 1.0 / std::sqrt(query_scalar),
                        .window = window,
                        .soft_cap = caps.scores});
    x = project("attention.o", "self_attn.o_proj", x, q_size, d.hidden, o_bias);
    if (traits.post_norms) x = norm("attention.post_norm", "post_attention_layernorm", x, d.hidden);
    h = ops::add(g, here + "attention.add", h, x);

    x = norm("mlp.norm",
             traits.post_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm", h,
             d.hidden);
    ValueId gate = project("mlp.gate", "mlp.gate_proj", x, d.hidden, d.ffn, mlp_bias);
    const ValueId up = project("mlp.up", "mlp.up_proj", x, d.hidden, d.ffn, mlp_bias);
    gate = traits.gelu ? ops::unary(g, "gelu_tanh", here + "mlp.gelu", gate)
                       : ops::silu(g, here + "mlp.silu", gate);
    x = ops::multiply(g, here + "mlp.product", gate, up);
    x = project("mlp.down", "mlp.down_proj", x, d.ffn, d.hidden, mlp_bias);
    if (traits.post_norms) x = norm("mlp.post_norm", "post_feedforward_layernorm", x, d.hidden);
    h = ops::add(g, here + "mlp.add", h, x);
  }

  h = ops::rms_norm(g, "head.norm", h, g.add_parameter("model.norm.weight", {d.hidden}, "norm"),
                    d.epsilon);
  const ValueId head = config.flag_or("tie_word_embeddings", traits.tied)
                           ? table
                           : g.add_parameter("lm_head.weight", {d.vocab, d.hidden}, "head");
  h = ops::linear(g, "head.logits", h, head);
  if (caps.logits > 0) h = ops::soft_cap(g, "head.soft_cap", h, caps.logits);
  g.outputs = {h};
  return g;
}

}  // namespace bitsmith

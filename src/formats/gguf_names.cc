#include "formats/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"

namespace bitsmith {
namespace {

struct Name {
  std::string_view hugging_face;
  std::string_view gguf;
};

constexpr std::array<Name, 3> kOutside = {
    {{"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}}};

// Gemma 2 and 3 have norms behind layers, and name the one behind attention as others name the one
// in front of the MLP.
constexpr std::array<Name, 3> kPostNorms = {{{"post_attention_layernorm", "post_attention_norm"},
                                             {"pre_feedforward_layernorm", "ffn_norm"},
                                             {"post_feedforward_layernorm", "post_ffw_norm"}}};

constexpr std::array<Name, 11> kLayer = {{{"input_layernorm", "attn_norm"},
                                          {"post_attention_layernorm", "ffn_norm"},
                                          {"self_attn.q_proj", "attn_q"},
                                          {"self_attn.k_proj", "attn_k"},
                                          {"self_attn.v_proj", "attn_v"},
                                          {"self_attn.o_proj", "attn_output"},
                                          {"self_attn.q_norm", "attn_q_norm"},
                                          {"self_attn.k_norm", "attn_k_norm"},
                                          {"mlp.gate_proj", "ffn_gate"},
                                          {"mlp.up_proj", "ffn_up"},
                                          {"mlp.down_proj", "ffn_down"}}};

template <size_t kCount>
std::string_view find(const std::array<Name, kCount>& names, std::string_view name) {
  const auto* found = std::ranges::find(names, name, &Name::hugging_face);
  return found == names.end() ? "" : found->gguf;
}

}  // namespace

std::optional<std::string> gguf_tensor_name(std::string_view name, std::string_view architecture) {
  constexpr std::string_view kLayers = "model.layers.";
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view ending = name.substr(dot);  // ".weight"
  if (ending != ".weight" && ending != ".bias") return std::nullopt;
  std::string_view stem = name.substr(0, dot);
  if (!stem.starts_with(kLayers)) {
    const std::string_view other = find(kOutside, stem);
    if (other.empty()) return std::nullopt;
    return fmt::format("{}{}", other, ending);
  }
  stem.remove_prefix(kLayers.size());
  const size_t digits = std::min(stem.find_first_not_of("0123456789"), stem.size());
  if (digits == 0 || digits == stem.size() || stem[digits] != '.') return std::nullopt;
  const std::string_view part = stem.substr(digits + 1);
  const bool post_norms = architecture == "gemma2" || architecture == "gemma3";
  std::string_view other = post_norms ? find(kPostNorms, part) : "";
  if (other.empty()) other = find(kLayer, part);
  if (other.empty()) return std::nullopt;
  return fmt::format("blk.{}.{}{}", stem.substr(0, digits), other, ending);
}

bool has_paired_rows(std::string_view name, std::string_view architecture) {
  if (architecture != "llama") return false;
  return name.find(".self_attn.q_proj.") != std::string_view::npos ||
         name.find(".self_attn.k_proj.") != std::string_view::npos;
}

std::vector<int64_t> rows_from_gguf(int64_t rows, int64_t head_dim) {
  BITSMITH_ASSERT(head_dim > 0 && head_dim % 2 == 0 && rows % head_dim == 0);
  std::vector<int64_t> order(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = row / head_dim * head_dim;
    const int64_t in_head = row % head_dim;
    const int64_t half = head_dim / 2;
    order[static_cast<size_t>(row)] = head + 2 * (in_head % half) + in_head / half;
  }
  return order;
}

std::vector<int64_t> rows_to_gguf(int64_t rows, int64_t head_dim) {
  const std::vector<int64_t> from = rows_from_gguf(rows, head_dim);
  std::vector<int64_t> to(from.size());
  for (size_t i = 0; i < from.size(); ++i)
    to[static_cast<size_t>(from[i])] = static_cast<int64_t>(i);
  return to;
}

}  // namespace bitsmith

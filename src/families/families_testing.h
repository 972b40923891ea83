// Configurations of small models for tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace bitsmith::testing {

// What sets a small Gemma apart from a small Llama: heads that are not hidden_size / heads large,
// every other layer with a window of 5, caps that scores and logits near 1 feel, another scale of
// scores, in Gemma 3 rotations of two kinds.
inline nlohmann::json gemma_fields(const std::string& model_type) {
  nlohmann::json fields = {{"head_dim", 24},
                           {"hidden_act", nullptr},
                           {"hidden_activation", "gelu_pytorch_tanh"},
                           {"tie_word_embeddings", true}};
  if (model_type == "gemma") return fields;
  fields["sliding_window"] = 5;
  fields["sliding_window_pattern"] = 2;
  fields["query_pre_attn_scalar"] = 20;
  if (model_type == "gemma2") {
    fields["attn_logit_softcapping"] = 1.5;
    fields["final_logit_softcapping"] = 2.0;
  } else {
    fields["rope_theta"] = 1e6;
    fields["rope_local_base_freq"] = 100.0;
    fields["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
  }
  return fields;
}

}  // namespace bitsmith::testing

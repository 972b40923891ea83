// What the commands that run models share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <vector>

#include "formats/model.h"

namespace bitsmith {

// The longest text the model is made for, config.json's max_position_embeddings.
std::optional<int64_t> context_limit(const Model& model);

// The tokens that end a text: the tokenizer's, and the configuration's eos_token_id (one or a
// list).
std::vector<TokenId> end_tokens(const Model& model, const Tokenizer& tokenizer);

// `--read-bits B`, and the model as it asks for: at most so many bits per weight of each tensor
// that can be read at fewer; 0: as it is.
void add_read_bits_option(CLI::App& command, double& bits);
void apply_read_bits(Model& model, double bits);

// 8 * bytes / weights; 0 if there are no weights.
double bits_per_weight(uint64_t bytes, int64_t weights);

// Path, bytes, weights and bpw.
nlohmann::json size_json(const Model& model);

}  // namespace bitsmith

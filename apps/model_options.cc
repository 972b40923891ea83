#include "model_options.h"

#include <algorithm>
#include <utility>

#include "formats/readings.h"
#include "program.h"

namespace bitsmith {

std::optional<int64_t> context_limit(const Model& model) {
  if (!model.config.is_object()) return std::nullopt;
  const auto it = model.config.find("max_position_embeddings");
  if (it == model.config.end() || !it->is_number_integer() || it->get<int64_t>() < 1) {
    return std::nullopt;
  }
  return it->get<int64_t>();
}

std::vector<TokenId> end_tokens(const Model& model, const Tokenizer& tokenizer) {
  std::vector<TokenId> tokens = tokenizer.eos();
  if (!model.config.is_object()) return tokens;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_integer() || !std::in_range<TokenId>(id.get<int64_t>())) return;
    tokens.push_back(static_cast<TokenId>(id.get<int64_t>()));
  };
  const auto found = model.config.find("eos_token_id");
  if (found == model.config.end()) return tokens;
  if (found->is_array()) {
    std::ranges::for_each(*found, add);
  } else {
    add(*found);
  }
  return tokens;
}

void add_read_bits_option(CLI::App& command, double& bits) {
  command
      .add_option("--read-bits", bits,
                  "read nested codes at no more bits per weight, scales included")
      ->check(number_from(1, 32));
}

void apply_read_bits(Model& model, double bits) {
  if (bits > 0) read_at_fewer_bits(model, bits);
}

double bits_per_weight(uint64_t bytes, int64_t weights) {
  return weights > 0 ? 8 * static_cast<double>(bytes) / static_cast<double>(weights) : 0;
}

nlohmann::json size_json(const Model& model) {
  return {{"path", model.path.string()},
          {"parameter_bytes", model.parameter_bytes()},
          {"weights", model.parameter_count()},
          {"bpw", bits_per_weight(model.parameter_bytes(), model.parameter_count())}};
}

}  // namespace bitsmith

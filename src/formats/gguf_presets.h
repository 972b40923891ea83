// llama.cpp's named mixtures of types: "Q4_K_M" and its kin.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace bitsmith {

// Which of the matrices of a role a rule is for, in order of layer i of n.
enum class GgufShare {
  kAll,
  kFirstTwo,
  kFirstFour,
  kFirstSixteenth,  // i < n / 16
  kFirstEighth,     // i < n / 8
  kSpread           // the first and the last eighth, and every third between them
};

struct GgufRule {
  std::string_view role;  // of the graph: "attention.v"
  GgufShare share = GgufShare::kAll;
  std::string_view codec;
};

struct GgufPreset {
  std::string_view name;   // "Q4_K_M"
  std::string_view codec;  // of what no rule is for
  std::span<const GgufRule> rules;

  // The codec of matrix i of the n of a role: of the first rule that holds. What multiplies the
  // last activation (the head, or the table that it is tied to) is q6_k.
  std::string_view codec_of(std::string_view role, int64_t i, int64_t n, bool head) const;
};

// In order of size.
std::span<const GgufPreset> gguf_presets();
const GgufPreset* find_gguf_preset(std::string_view name);  // in capitals or not; or nullptr

}  // namespace bitsmith

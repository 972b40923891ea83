#include "formats/gguf_presets.h"

#include <algorithm>
#include <array>

namespace bitsmith {
namespace {

using enum GgufShare;

// As in llama.cpp, llama-quant.cpp (MIT), for dense networks. Rules of the head are the same in
// all: codec_of().
constexpr std::array<GgufRule, 5> kQ3KM = {{{"attention.v", kFirstTwo, "q5_k"},
                                            {"attention.v", kAll, "q4_k"},
                                            {"attention.o", kAll, "q4_k"},
                                            {"mlp.down", kFirstSixteenth, "q5_k"},
                                            {"mlp.down", kAll, "q4_k"}}};
constexpr std::array<GgufRule, 3> kQ3KL = {
    {{"attention.v", kAll, "q5_k"}, {"attention.o", kAll, "q5_k"}, {"mlp.down", kAll, "q5_k"}}};
constexpr std::array<GgufRule, 2> kQ4KS = {
    {{"attention.v", kFirstFour, "q5_k"}, {"mlp.down", kFirstEighth, "q5_k"}}};
constexpr std::array<GgufRule, 2> kSpreadQ6K = {
    {{"attention.v", kSpread, "q6_k"}, {"mlp.down", kSpread, "q6_k"}}};

constexpr std::array<GgufPreset, 7> kPresets = {{{"Q3_K_S", "q3_k", {}},
                                                 {"Q3_K_M", "q3_k", kQ3KM},
                                                 {"Q3_K_L", "q3_k", kQ3KL},
                                                 {"Q4_K_S", "q4_k", kQ4KS},
                                                 {"Q4_K_M", "q4_k", kSpreadQ6K},
                                                 {"Q5_K_S", "q5_k", {}},
                                                 {"Q5_K_M", "q5_k", kSpreadQ6K}}};

bool holds(GgufShare share, int64_t i, int64_t n) {
  switch (share) {
    case kAll:
      return true;
    case kFirstTwo:
      return i < 2;
    case kFirstFour:
      return i < 4;
    case kFirstSixteenth:
      return i < n / 16;
    case kFirstEighth:
      return i < n / 8;
    case kSpread:
      return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
  }
  return false;
}

}  // namespace

std::string_view GgufPreset::codec_of(std::string_view role, int64_t i, int64_t n,
                                      bool head) const {
  if (head) return "q6_k";
  const auto found = std::ranges::find_if(
      rules, [&](const GgufRule& rule) { return rule.role == role && holds(rule.share, i, n); });
  return found == rules.end() ? codec : found->codec;
}

std::span<const GgufPreset> gguf_presets() { return kPresets; }

const GgufPreset* find_gguf_preset(std::string_view name) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  const auto* found = std::ranges::find_if(kPresets, [&](const GgufPreset& preset) {
    return std::ranges::equal(preset.name, name, {}, lower, lower);
  });
  return found == kPresets.end() ? nullptr : found;
}

}  // namespace bitsmith

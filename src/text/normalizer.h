// Rewrites text before it is cut into words.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace bitsmith::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Rewrites valid UTF-8 into valid UTF-8.
  virtual void apply(std::string& text) const = 0;
  // At most how many times longer, in bytes, a text of a byte or more can get. (Texts are cut at
  // added tokens, and what is put before each part counts.)
  virtual double growth() const { return 1; }
};

// Files whose replacements could make a text longer than this many times are refused: some hundred
// bytes of nested replacements would fill any memory. Real files stay below 40.
inline constexpr double kMaxGrowth = 256;

// json: the "normalizer" object of tokenizer.json; null gives null. Supported: Sequence, Prepend,
// Replace of a string, NFC, NFD, NFKC, NFKD, Strip. Others are refused by name.
std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& json);

// Every `from` in `text` becomes `to`.
void replace_all(std::string& text, std::string_view from, std::string_view to);
// The growth of replace_all.
double replacement_growth(std::string_view from, std::string_view to);

}  // namespace bitsmith::text

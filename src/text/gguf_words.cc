#include "text/gguf_words.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

namespace bitsmith::text {
namespace {

using nlohmann::json;

constexpr std::array<GgufWords, 7> kWords = {{
    {"gpt-2", kGpt2Split},
    {"llama-bpe", kLlama3Split, false, true, true},
    {"llama3", kLlama3Split, false, true, true},
    {"llama-v3", kLlama3Split, false, true, true},
    {"qwen2", kQwen2Split},
    {"deepseek-r1-qwen", kQwen2Split},
    {"smollm", kGpt2Split, true},
}};

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

// What a list of pre-tokenizers does, as far as GGUF has names for it.
struct Cut {
  std::optional<SplitRegex> split;
  bool single_digits = false;
  bool bytes = false;
  bool other = false;
};

bool flag(const json& object, const char* key, bool otherwise) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

// The text of a field; empty if there is none.
std::string text_of(const json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

void add_step(const json& step, Cut& cut) {
  const std::string type = text_of(step, "type");
  if (type == "Digits" && flag(step, "individual_digits", false) && !cut.split) {
    cut.single_digits = true;
  } else if (type == "ByteLevel" && !flag(step, "add_prefix_space", true) && !cut.bytes) {
    cut.bytes = true;
    if (flag(step, "use_regex", true)) {
      cut.other |= cut.split.has_value();
      cut.split = kGpt2Split;
    }
  } else if (type == "Split" && !cut.split && step.contains("pattern") &&
             text_of(step, "behavior") == "Isolated") {
    cut.split = find_split_regex(text_of(step["pattern"], "Regex"));
    cut.other |= !cut.split;
  } else {
    cut.other = true;
  }
}

}  // namespace

json GgufWords::pre_tokenizer() const {
  json steps = json::array();
  if (single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (split == kGpt2Split) {
    steps.push_back(byte_level(true));
  } else {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", expression_of(split)}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
    steps.push_back(byte_level(false));
  }
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

const GgufWords* find_gguf_words(std::string_view name) {
  const auto* found = std::ranges::find(kWords, name, &GgufWords::name);
  return found == kWords.end() ? nullptr : found;
}

const GgufWords* find_gguf_words(const json& pre_tokenizer, bool ignore_merges) {
  Cut cut;
  if (text_of(pre_tokenizer, "type") == "Sequence" && pre_tokenizer.contains("pretokenizers") &&
      pre_tokenizer["pretokenizers"].is_array()) {
    for (const json& step : pre_tokenizer["pretokenizers"]) add_step(step, cut);
  } else {
    add_step(pre_tokenizer, cut);
  }
  if (cut.other || !cut.bytes || !cut.split) return nullptr;
  const auto* found = std::ranges::find_if(kWords, [&](const GgufWords& words) {
    return words.split == *cut.split && words.single_digits == cut.single_digits &&
           words.ignore_merges == ignore_merges;
  });
  return found == kWords.end() ? nullptr : found;
}

}  // namespace bitsmith::text

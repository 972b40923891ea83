// The post-processors of tokenizer.json.
#include "text/post_processor.h"

#include "text/json_fields.h"
#include "text/tokenizer_config.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kWhere = "tokenizer.json: post_processor";
constexpr int kMaxDepth = 16;

TokenId checked_id(const Json& value, const char* key) {
  return static_cast<TokenId>(checked_integer(value, 0, kMaxTokenId, key, kWhere));
}

// [{"SpecialToken": {"id": name}}, {"Sequence": {"id": "A"}}, ...]; names are looked up in
// "special_tokens": {name: {"ids": [...]}}.
Affixes read_template(const Json& json) {
  Affixes affixes;
  bool text_seen = false;
  const Json& tokens = field_or_null(json, "special_tokens", kWhere);
  for (const Json& part : array_field(json, "single", kWhere)) {
    if (!field_or_null(part, "Sequence", kWhere).is_null()) {
      if (text_seen) {
        fail(ErrorCode::kUnsupported, "{}: the template repeats the text", kWhere);
      }
      text_seen = true;
      continue;
    }
    const std::string& name =
        string_field(field_or_null(part, "SpecialToken", kWhere), "id", kWhere);
    const Json& token = field_or_null(tokens, name.c_str(), kWhere);
    if (token.is_null()) {
      fail(ErrorCode::kCorrupt, "{}: the template names {}, which 'special_tokens' lacks", kWhere,
           shown_text(name));
    }
    for (const Json& id : array_field(token, "ids", kWhere)) {
      (text_seen ? affixes.suffix : affixes.prefix).push_back(checked_id(id, "ids"));
    }
  }
  if (!text_seen) fail(ErrorCode::kCorrupt, "{}: the template has no place for the text", kWhere);
  return affixes;
}

// "sep" and "cls": [name, id]
TokenId read_pair(const Json& json, const char* key) {
  const Json& pair = array_field(json, key, kWhere);
  if (pair.size() != 2) wrong_type(pair, key, kWhere, "[token, id]");
  return checked_id(pair[1], key);
}

Affixes read(const Json& json, int depth) {
  const std::string& type = string_field(json, "type", kWhere);
  if (type == "ByteLevel") return {};  // moves offsets, which bitsmith has none of
  if (type == "TemplateProcessing") return read_template(json);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    return {{read_pair(json, "cls")}, {read_pair(json, "sep")}};
  }
  if (type == "Sequence") {
    if (depth >= kMaxDepth) fail(ErrorCode::kCorrupt, "{}: nested too deep", kWhere);
    Affixes all;
    for (const Json& part : array_field(json, "processors", kWhere)) {
      const Affixes outer = read(part, depth + 1);
      all.prefix.insert(all.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
      all.suffix.insert(all.suffix.end(), outer.suffix.begin(), outer.suffix.end());
    }
    return all;
  }
  fail(ErrorCode::kUnsupported,
       "{}: {} is not supported; Sequence, TemplateProcessing, ByteLevel, RobertaProcessing and "
       "BertProcessing are",
       kWhere, shown_text(type));
}

}  // namespace

Affixes read_post_processor(const Json& json) {
  if (json.is_null()) return {};
  return read(json, 0);
}

}  // namespace bitsmith::text

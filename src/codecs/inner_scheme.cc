#include "codecs/inner_scheme.h"

#include "core/error.h"

namespace bitsmith {

Scheme parse_inner_scheme(std::string_view owner, const std::string& text) {
  // JSON of a file may nest as deep as it is long, and writing it, for a message, recurses.
  constexpr size_t kMaxBytes = 1024;
  if (text.size() > kMaxBytes) {
    fail(ErrorCode::kInvalidArgument,
         "codec '{}': the option 'inner' has {} characters, at most {} are read", owner,
         text.size(), kMaxBytes);
  }
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("codec") || !json["codec"].is_string()) {
    fail(ErrorCode::kInvalidArgument,
         "codec '{}': the option 'inner' must be {{\"codec\": name, \"options\": {{...}}}}, "
         "got {}",
         owner, text);
  }
  for (const char* nested : {"sparse", "pruned", "outliers"}) {
    if (json["codec"] != nested) continue;
    fail(ErrorCode::kInvalidArgument, "codec '{}': the inner codec cannot be '{}', which has one",
         owner, nested);
  }
  return Scheme::from_json(json);
}

void expect_single_columns(std::string_view owner, const Scheme& inner, const Encoder& encoder) {
  if (encoder.block_cols() == 1) return;
  fail(ErrorCode::kInvalidArgument,
       "codec '{}': survivors need a codec that codes single columns, '{}' codes {} jointly", owner,
       inner.label(), encoder.block_cols());
}

}  // namespace bitsmith

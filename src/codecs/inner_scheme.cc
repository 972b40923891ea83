#include "codecs/inner_scheme.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith {
namespace {

// JSON of a file may nest as deep as it is long, and writing it, for a message, recurses.
nlohmann::json parse_short(std::string_view owner, const std::string& text,
                           std::string_view option) {
  constexpr size_t kMaxBytes = 1024;
  if (text.size() > kMaxBytes) {
    fail(ErrorCode::kInvalidArgument,
         "codec '{}': the option '{}' has {} characters, at most {} are read", owner, option,
         text.size(), kMaxBytes);
  }
  return nlohmann::json::parse(text, nullptr, false);
}

bool is_scheme(const nlohmann::json& json) {
  return json.is_object() && json.contains("codec") && json["codec"].is_string();
}

}  // namespace

Scheme parse_inner_scheme(std::string_view owner, const std::string& text,
                          std::string_view option) {
  const nlohmann::json json = parse_short(owner, text, option);
  if (!is_scheme(json)) {
    fail(ErrorCode::kInvalidArgument,
         "codec '{}': the option '{}' must be {{\"codec\": name, \"options\": {{...}}}}, got {}",
         owner, option, text);
  }
  Scheme scheme = Scheme::from_json(json);
  if (has_inner_scheme(*scheme.codec)) {
    fail(ErrorCode::kInvalidArgument, "codec '{}': the codec of '{}' cannot be '{}', which has one",
         owner, option, scheme.codec->info().id);
  }
  return scheme;
}

bool has_inner_scheme(const Codec& codec) {
  return std::ranges::any_of(codec.info().options,
                             [](const OptionSpec& spec) { return spec.name == "inner"; });
}

std::vector<Scheme> parse_inner_schemes(std::string_view owner, const std::string& text) {
  const nlohmann::json json = parse_short(owner, text, "inner");
  if (!json.is_array() || json.empty() || !std::ranges::all_of(json, is_scheme)) {
    fail(ErrorCode::kInvalidArgument,
         "codec '{}': the option 'inner' must be a list of {{\"codec\": name, \"options\": "
         "{{...}}}}, got {}",
         owner, text);
  }
  std::vector<Scheme> schemes;
  for (const nlohmann::json& item : json) {
    if (item["codec"] == owner) {
      fail(ErrorCode::kInvalidArgument, "codec '{0}': the inner codecs cannot be '{0}' again",
           owner);
    }
    schemes.push_back(Scheme::from_json(item));
  }
  return schemes;
}

void expect_single_columns(std::string_view owner, const Scheme& inner, const Encoder& encoder) {
  if (encoder.block_cols() == 1) return;
  fail(ErrorCode::kInvalidArgument,
       "codec '{}' needs inner codecs that code single columns, '{}' codes {} jointly", owner,
       inner.label(), encoder.block_cols());
}

}  // namespace bitsmith

#include "formats/json_text.h"

#include <cstddef>

#include "core/error.h"

namespace bitsmith {
namespace {

constexpr int kMaxDepth = 64;

// The deepest nesting of brackets outside strings. Text that is not JSON gives any number.
int nesting_depth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > deepest) deepest = depth;
    } else if (c == ']' || c == '}') {
      --depth;
    }
    if (deepest > kMaxDepth) break;
  }
  return deepest;
}

}  // namespace

nlohmann::json parse_json_text(std::string_view text, std::string_view what, uint64_t max_bytes) {
  if (text.size() > max_bytes) {
    fail(ErrorCode::kCorrupt, "{} has {} bytes; at most {} are read", what, text.size(), max_bytes);
  }
  if (nesting_depth(text) > kMaxDepth) {
    fail(ErrorCode::kCorrupt, "{} nests deeper than {} levels", what, kMaxDepth);
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    fail(ErrorCode::kCorrupt, "{} is not valid JSON (at byte {} of {})", what, error.byte,
         text.size());
  } catch (const nlohmann::json::exception&) {
    fail(ErrorCode::kCorrupt, "{} holds a number that is out of range", what);
  }
}

nlohmann::json parse_json_object_text(std::string_view text, std::string_view what,
                                      uint64_t max_bytes) {
  nlohmann::json json = parse_json_text(text, what, max_bytes);
  if (!json.is_object()) {
    fail(ErrorCode::kCorrupt, "{} should be a JSON object, is of type {}", what, json.type_name());
  }
  return json;
}

std::string dump_json_text(const nlohmann::json& json, std::string_view what) {
  try {
    return json.dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorCode::kInvalidArgument, "{} holds a string that is not UTF-8", what);
  }
}

std::string quoted_name(std::string_view name) {
  constexpr size_t kShown = 200;
  const auto replace = nlohmann::json::error_handler_t::replace;
  // Written as a JSON string, which escapes control characters, with single quotes around it.
  std::string text =
      nlohmann::json(std::string(name.substr(0, kShown))).dump(-1, ' ', false, replace);
  text.front() = '\'';
  text.back() = '\'';
  if (name.size() > kShown) text += "...";
  return text;
}

}  // namespace bitsmith

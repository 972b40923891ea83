// Typed access to fields of a parsed JSON file, with errors that name the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"

namespace bitsmith::text {

using Json = nlohmann::json;

// Parses a JSON object; `file` names it in errors.
inline Json parse_json_object(std::string_view bytes, std::string_view file) {
  Json json;
  try {
    json = Json::parse(bytes);
  } catch (const Json::parse_error& error) {
    fail(ErrorCode::kCorrupt, "{}: not valid JSON (at byte {} of {})", file, error.byte,
         bytes.size());
  } catch (const Json::exception&) {
    fail(ErrorCode::kCorrupt, "{}: JSON with a number or string out of range", file);
  }
  if (!json.is_object()) {
    fail(ErrorCode::kCorrupt, "{}: expected a JSON object, got {}", file, json.type_name());
  }
  return json;
}

// The field, or null when it is absent. `where` names the object in errors, as "tokenizer.json:
// model".
inline const Json& field_or_null(const Json& object, const char* key, std::string_view where) {
  static const Json kNull;
  if (!object.is_object()) {
    fail(ErrorCode::kCorrupt, "{}: expected an object, got {}", where, object.type_name());
  }
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

[[noreturn]] inline void wrong_type(const Json& value, const char* key, std::string_view where,
                                    const char* expected) {
  fail(ErrorCode::kCorrupt, "{}: '{}' should be {}, got {}", where, key, expected,
       value.is_null() ? "nothing" : value.type_name());
}

inline const std::string& string_field(const Json& object, const char* key,
                                       std::string_view where) {
  const Json& value = field_or_null(object, key, where);
  if (!value.is_string()) wrong_type(value, key, where, "a string");
  return value.get_ref<const std::string&>();
}

inline bool bool_field(const Json& object, const char* key, std::string_view where,
                       bool if_absent) {
  const Json& value = field_or_null(object, key, where);
  if (value.is_null()) return if_absent;
  if (!value.is_boolean()) wrong_type(value, key, where, "true or false");
  return value.get<bool>();
}

inline const Json& array_field(const Json& object, const char* key, std::string_view where) {
  const Json& value = field_or_null(object, key, where);
  if (!value.is_array()) wrong_type(value, key, where, "an array");
  return value;
}

// An integer from `low` to `high`.
inline int64_t checked_integer(const Json& value, int64_t low, int64_t high, const char* key,
                               std::string_view where) {
  if (!value.is_number_integer()) wrong_type(value, key, where, "an integer");
  const bool too_large = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX};
  const int64_t number = too_large ? INT64_MAX : value.get<int64_t>();
  if (number < low || number > high || too_large) {
    fail(ErrorCode::kCorrupt, "{}: '{}' should be from {} to {}, got {}", where, key, low, high,
         value.dump());
  }
  return number;
}

// Shows a string from a file in an error message: one line, valid UTF-8, not too long.
inline std::string shown_text(std::string_view text) {
  constexpr size_t kShown = 300;
  std::string shown = Json(std::string(text.substr(0, kShown)))
                          .dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kShown) shown += "...";
  return shown;
}

}  // namespace bitsmith::text

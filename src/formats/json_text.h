// JSON text from files that may be hostile.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace bitsmith {

// Parses `text`; `what` names it in errors ("'config.json'"). kCorrupt if it is larger than
// `max_bytes`, nests deeper than 64 levels (copying and writing a document are recursive), is not
// JSON, or holds a number that does not fit a double.
nlohmann::json parse_json_text(std::string_view text, std::string_view what, uint64_t max_bytes);

// As parse_json_text, and kCorrupt unless the document is an object.
nlohmann::json parse_json_object_text(std::string_view text, std::string_view what,
                                      uint64_t max_bytes);

// The document as one line with sorted keys; kInvalidArgument if a string in it is not UTF-8.
std::string dump_json_text(const nlohmann::json& json, std::string_view what);

// A name from a file as it is shown in messages: in quotes, one line, at most 200 bytes of it.
std::string quoted_name(std::string_view name);

}  // namespace bitsmith

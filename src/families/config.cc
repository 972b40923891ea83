#include "families/config.h"

#include <cmath>

#include "core/error.h"

namespace bitsmith {

Config::Config(const nlohmann::json& json) : json_(json) {
  if (!json.is_object()) fail(ErrorCode::kCorrupt, "config.json: it must hold an object");
}

bool Config::has(const char* field) const {
  const auto it = json_.find(field);
  return it != json_.end() && !it->is_null();
}

const nlohmann::json& Config::require(const char* field) const {
  if (!has(field)) fail(ErrorCode::kCorrupt, "config.json: '{}' is missing", field);
  return json_[field];
}

int64_t Config::size(const char* field, int64_t max) const {
  const nlohmann::json& value = require(field);
  if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > max) {
    fail(ErrorCode::kCorrupt, "config.json: '{}' must be a whole number from 1 to {}, it is {}",
         field, max, value.dump());
  }
  return value.get<int64_t>();
}

int64_t Config::size_or(const char* field, int64_t otherwise) const {
  return has(field) ? size(field) : otherwise;
}

double Config::number(const char* field) const {
  const nlohmann::json& value = require(field);
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    fail(ErrorCode::kCorrupt, "config.json: '{}' must be a number, it is {}", field, value.dump());
  }
  return value.get<double>();
}

double Config::number_or(const char* field, double otherwise) const {
  return has(field) ? number(field) : otherwise;
}

bool Config::flag_or(const char* field, bool otherwise) const {
  if (!has(field)) return otherwise;
  const nlohmann::json& value = require(field);
  if (!value.is_boolean()) {
    fail(ErrorCode::kCorrupt, "config.json: '{}' must be true or false, it is {}", field,
         value.dump());
  }
  return value.get<bool>();
}

std::string Config::text(const char* field) const {
  const nlohmann::json& value = require(field);
  if (!value.is_string()) {
    fail(ErrorCode::kCorrupt, "config.json: '{}' must be a string, it is {}", field, value.dump());
  }
  return value.get<std::string>();
}

std::string Config::text_or(const char* field, const std::string& otherwise) const {
  return has(field) ? text(field) : otherwise;
}

}  // namespace bitsmith

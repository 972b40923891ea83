#include "families/config.h"

#include <cmath>

#include "core/error.h"

namespace bitsmith {

Config::Config(const nlohmann::json& json, std::string path) : json_(json), path_(std::move(path)) {
  if (json.is_object()) return;
  if (path_.empty()) fail(ErrorCode::kCorrupt, "config.json: it must hold an object");
  path_.pop_back();
  fail(ErrorCode::kCorrupt, "config.json: '{}' must be an object, it is {}", path_, json.dump());
}

bool Config::has(const char* field) const {
  const auto it = json_.find(field);
  return it != json_.end() && !it->is_null();
}

const nlohmann::json& Config::require(const char* field) const {
  if (!has(field)) fail(ErrorCode::kCorrupt, "config.json: '{}{}' is missing", path_, field);
  return json_[field];
}

int64_t Config::whole(const char* field, int64_t min, int64_t max) const {
  const nlohmann::json& value = require(field);
  // What JSON writes beyond int64_t is beyond every `max` too.
  const bool beyond =
      value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(max);
  if (!value.is_number_integer() || beyond || value.get<int64_t>() < min ||
      value.get<int64_t>() > max) {
    fail(ErrorCode::kCorrupt, "config.json: '{}{}' must be a whole number from {} to {}, it is {}",
         path_, field, min, max, value.dump());
  }
  return value.get<int64_t>();
}

int64_t Config::size(const char* field, int64_t max) const { return whole(field, 1, max); }

int64_t Config::size_or(const char* field, int64_t otherwise) const {
  return has(field) ? size(field) : otherwise;
}

double Config::number(const char* field) const {
  const nlohmann::json& value = require(field);
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    fail(ErrorCode::kCorrupt, "config.json: '{}{}' must be a number, it is {}", path_, field,
         value.dump());
  }
  return value.get<double>();
}

double Config::number_or(const char* field, double otherwise) const {
  return has(field) ? number(field) : otherwise;
}

double Config::positive(const char* field) const {
  const double value = number(field);
  if (!(value > 0)) {
    fail(ErrorCode::kCorrupt, "config.json: '{}{}' must be above 0, it is {}", path_, field, value);
  }
  return value;
}

double Config::positive_or(const char* field, double otherwise) const {
  return has(field) ? positive(field) : otherwise;
}

bool Config::flag_or(const char* field, bool otherwise) const {
  if (!has(field)) return otherwise;
  const nlohmann::json& value = require(field);
  if (!value.is_boolean()) {
    fail(ErrorCode::kCorrupt, "config.json: '{}{}' must be true or false, it is {}", path_, field,
         value.dump());
  }
  return value.get<bool>();
}

std::string Config::text(const char* field) const {
  const nlohmann::json& value = require(field);
  if (!value.is_string()) {
    fail(ErrorCode::kCorrupt, "config.json: '{}{}' must be a string, it is {}", path_, field,
         value.dump());
  }
  return value.get<std::string>();
}

std::string Config::text_or(const char* field, const std::string& otherwise) const {
  return has(field) ? text(field) : otherwise;
}

}  // namespace bitsmith

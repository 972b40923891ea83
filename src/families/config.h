// Checked reading of config.json.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace bitsmith {

// Fields that are null count as absent. Errors are kCorrupt and name the field.
class Config {
 public:
  // `path` stands before the names of fields in messages: "rope_scaling." for an object inside.
  explicit Config(const nlohmann::json& json, std::string path = "");

  bool has(const char* field) const;
  int64_t whole(const char* field, int64_t min, int64_t max) const;
  // Between 1 and `max`.
  int64_t size(const char* field, int64_t max = int64_t{1} << 24) const;
  int64_t size_or(const char* field, int64_t otherwise) const;
  double number(const char* field) const;  // finite
  double number_or(const char* field, double otherwise) const;
  double positive(const char* field) const;  // finite, above 0
  double positive_or(const char* field, double otherwise) const;
  bool flag_or(const char* field, bool otherwise) const;
  std::string text(const char* field) const;
  std::string text_or(const char* field, const std::string& otherwise) const;
  const nlohmann::json& json() const { return json_; }

 private:
  const nlohmann::json& require(const char* field) const;
  const nlohmann::json& json_;
  std::string path_;
};

}  // namespace bitsmith

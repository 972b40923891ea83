// Typed, documented, bounded options of a method; the same description serves checks and help.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace bitsmith {

using OptionValue = std::variant<bool, int64_t, double, std::string>;

// One option: its type is that of `default_value`.
struct OptionSpec {
  std::string name;
  OptionValue default_value;
  std::string help;     // one line, with the unit
  double min = -1e300;  // bounds of numbers, inclusive
  double max = 1e300;
  std::vector<std::string> choices = {};  // the only strings allowed, if not empty
};

// The values of a method's options. Every option is present: made from the defaults, then
// overridden.
class Options {
 public:
  Options() = default;
  explicit Options(const std::vector<OptionSpec>& specs);

  // `values` is a JSON object; an unknown name, a wrong type or a value out of bounds is
  // kInvalidArgument, naming `owner` and what is allowed.
  Options(const std::vector<OptionSpec>& specs, const nlohmann::json& values,
          std::string_view owner);

  bool flag(std::string_view name) const;
  int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;  // integers convert
  const std::string& text(std::string_view name) const;

  nlohmann::json to_json() const;
  friend bool operator==(const Options&, const Options&) = default;

 private:
  const OptionValue& at(std::string_view name) const;
  std::map<std::string, OptionValue, std::less<>> values_;
};

std::string to_string(const OptionValue& value);

}  // namespace bitsmith

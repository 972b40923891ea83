#include "core/options.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith {
namespace {

OptionValue parse(const OptionSpec& spec, const nlohmann::json& value, std::string_view owner) {
  const auto refuse = [&](const std::string& expected) {
    fail(ErrorCode::kInvalidArgument, "{}: option '{}' must be {}, got {}", owner, spec.name,
         expected, value.dump());
  };
  const auto check_bounds = [&](double x) {
    if (!(x >= spec.min && x <= spec.max)) {
      refuse(fmt::format("between {} and {}", spec.min, spec.max));
    }
  };
  if (std::holds_alternative<bool>(spec.default_value)) {
    if (!value.is_boolean()) refuse("true or false");
    return value.get<bool>();
  }
  if (std::holds_alternative<int64_t>(spec.default_value)) {
    if (!value.is_number_integer()) refuse("a whole number");
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{1} << 62) {
      refuse(fmt::format("between {} and {}", spec.min, spec.max));
    }
    check_bounds(static_cast<double>(value.get<int64_t>()));
    return value.get<int64_t>();
  }
  if (std::holds_alternative<double>(spec.default_value)) {
    if (!value.is_number()) refuse("a number");
    check_bounds(value.get<double>());
    return value.get<double>();
  }
  if (!value.is_string()) refuse("a string");
  const std::string text = value.get<std::string>();
  if (!spec.choices.empty() && std::ranges::find(spec.choices, text) == spec.choices.end()) {
    refuse(fmt::format("one of {}", fmt::join(spec.choices, ", ")));
  }
  return text;
}

}  // namespace

Options::Options(const std::vector<OptionSpec>& specs) {
  for (const OptionSpec& spec : specs) values_[spec.name] = spec.default_value;
}

Options::Options(const std::vector<OptionSpec>& specs, const nlohmann::json& values,
                 std::string_view owner)
    : Options(specs) {
  if (!values.is_object()) {
    fail(ErrorCode::kInvalidArgument, "{}: options must be an object, got {}", owner,
         values.dump());
  }
  for (const auto& [name, value] : values.items()) {
    const auto spec = std::ranges::find(specs, name, &OptionSpec::name);
    if (spec == specs.end()) {
      std::vector<std::string> names;
      for (const OptionSpec& s : specs) names.push_back(s.name);
      fail(ErrorCode::kInvalidArgument, "{}: there is no option '{}'; there are: {}", owner, name,
           names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
    }
    values_[name] = parse(*spec, value, owner);
  }
}

const OptionValue& Options::at(std::string_view name) const {
  const auto it = values_.find(name);
  BITSMITH_ASSERT(it != values_.end());
  return it->second;
}

bool Options::flag(std::string_view name) const { return std::get<bool>(at(name)); }
int64_t Options::integer(std::string_view name) const { return std::get<int64_t>(at(name)); }
const std::string& Options::text(std::string_view name) const {
  return std::get<std::string>(at(name));
}

double Options::number(std::string_view name) const {
  const OptionValue& value = at(name);
  if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  return std::get<double>(value);
}

nlohmann::json Options::to_json() const {
  nlohmann::json result = nlohmann::json::object();
  for (const auto& [name, value] : values_) {
    std::visit([&, &key = name](const auto& v) { result[key] = v; }, value);
  }
  return result;
}

std::string to_string(const OptionValue& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const auto* i = std::get_if<int64_t>(&value)) return fmt::format("{}", *i);
  if (const auto* d = std::get_if<double>(&value)) return fmt::format("{}", *d);
  return std::get<std::string>(value);
}

}  // namespace bitsmith

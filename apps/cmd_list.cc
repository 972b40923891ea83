// `bitsmith list`: everything that registered itself.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <memory>
#include <optional>

#include "commands.h"
#include "core/registry.h"
#include "report/table.h"

namespace bitsmith {
namespace {

using nlohmann::json;

std::string plural(const std::string& kind) {
  if (kind.ends_with('y')) return kind.substr(0, kind.size() - 1) + "ies";
  return kind + "s";
}

// "codec", "codecs"; "family", "families" for "model family".
bool means(const std::string& word, const std::string& kind) {
  const std::string last = kind.substr(kind.rfind(' ') + 1);
  const bool has_short_name = kind == last || kind.starts_with("model ");
  return word == kind || word == plural(kind) ||
         (has_short_name && (word == last || word == plural(last)));
}

// "2 to 8", "int8, int4", or nothing.
std::string allowed(const OptionSpec& option) {
  if (!option.choices.empty()) return fmt::format("{}", fmt::join(option.choices, ", "));
  constexpr double kNone = 1e300;
  const bool low = option.min > -kNone;
  const bool high = option.max < kNone;
  if (low && high) return fmt::format("{:g} to {:g}", option.min, option.max);
  if (low) return fmt::format("at least {:g}", option.min);
  if (high) return fmt::format("at most {:g}", option.max);
  return "";
}

json option_json(const OptionSpec& option) {
  json entry = {{"name", option.name}, {"help", option.help}};
  std::visit([&](const auto& value) { entry["default"] = value; }, option.default_value);
  if (option.min > -1e300) entry["min"] = option.min;
  if (option.max < 1e300) entry["max"] = option.max;
  if (!option.choices.empty()) entry["choices"] = option.choices;
  return entry;
}

json part_json(const PartInfo& part) {
  json entry = {{"id", part.id}, {"summary", part.summary}, {"source", part.source}};
  entry["options"] = json::array();
  for (const OptionSpec& option : part.options) entry["options"].push_back(option_json(option));
  return entry;
}

void print_overview(const std::vector<RegistryView>& registries) {
  for (const RegistryView& registry : registries) {
    Table table({left(registry.kind), left("summary")});
    for (const PartInfo* part : registry.parts()) table.add_row({part->id, part->summary});
    fmt::print("{}\n", table.text());
  }
  fmt::print("Options and sources of one kind: bitsmith list {}\n",
             registries.empty() ? "KIND" : plural(registries.front().kind));
}

void print_details(const RegistryView& registry) {
  for (const PartInfo* part : registry.parts()) {
    fmt::print("{}: {}\n", part->id, part->summary);
    if (!part->source.empty()) fmt::print("  source: {}\n", part->source);
    if (!part->options.empty()) {
      Table table({left("  option"), left("default"), left("allowed"), left("meaning")});
      for (const OptionSpec& option : part->options) {
        table.add_row(
            {"  " + option.name, to_string(option.default_value), allowed(option), option.help});
      }
      fmt::print("{}", table.text());
    }
    fmt::print("\n");
  }
}

void list(const std::string& word, bool as_json) {
  std::vector<RegistryView> chosen;
  std::vector<std::string> kinds;
  for (const RegistryView& registry : all_registries()) {
    kinds.push_back(plural(registry.kind));
    if (word.empty() || means(word, registry.kind)) chosen.push_back(registry);
  }
  if (chosen.empty()) {
    fail(ErrorCode::kNotFound, "there are no '{}' to list; there are: {}", word,
         fmt::join(kinds, ", "));
  }
  if (as_json) {
    json result;
    for (const RegistryView& registry : chosen) {
      json& parts = result[plural(registry.kind)] = json::array();
      for (const PartInfo* part : registry.parts()) parts.push_back(part_json(*part));
    }
    fmt::print("{}\n", result.dump(2));
  } else if (word.empty()) {
    print_overview(chosen);
  } else {
    for (const RegistryView& registry : chosen) print_details(registry);
  }
}

}  // namespace

void add_list(CLI::App& app) {
  struct State {
    std::string kind;
    bool json = false;
  };
  auto state = std::make_shared<State>();
  CLI::App* command =
      app.add_subcommand("list", "Every method and recipe, with its options and source.");
  command->footer(
      "Examples:\n"
      "  bitsmith list                    all kinds, one line for each method\n"
      "  bitsmith list codecs             the options, bounds and sources of the codecs\n"
      "  bitsmith list recipes            what compress --recipe can be told\n"
      "  bitsmith list solvers --json");
  command->add_option("KIND", state->kind, "codecs, solvers, allocators, recipes, families, ...");
  command->add_flag("--json", state->json, "print JSON");
  command->callback([state] { list(state->kind, state->json); });
}

}  // namespace bitsmith

// `bitsmith list`: everything that registered itself.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <memory>
#include <optional>

#include "commands.h"
#include "core/registry.h"
#include "recipes/methods_page.h"
#include "report/table.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// Parts of one kind.
struct Listed {
  std::string kind;
  std::vector<const PartInfo*> parts;
};

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

void print_overview(const std::vector<Listed>& all) {
  for (const Listed& listed : all) {
    Table table({left(listed.kind), left("summary")});
    for (const PartInfo* part : listed.parts) table.add_row({part->id, part->summary});
    fmt::print("{}\n", table.text());
  }
  fmt::print("Options and sources: bitsmith list codecs, or of one method: bitsmith list int\n");
}

void print_details(const Listed& listed) {
  for (const PartInfo* part : listed.parts) {
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

// All parts of the kind that `word` means, all of all kinds for "", else the parts with that id.
std::vector<Listed> choose(const std::string& word) {
  std::vector<Listed> kinds;
  std::vector<Listed> methods;
  for (const RegistryView& registry : all_registries()) {
    if (word.empty() || means(word, registry.kind)) {
      kinds.push_back({registry.kind, registry.parts()});
    }
    for (const PartInfo* part : registry.parts()) {
      if (part->id == word) methods.push_back({registry.kind, {part}});
    }
  }
  return kinds.empty() ? methods : kinds;
}

void list(const std::string& word, bool as_json) {
  const std::vector<Listed> chosen = choose(word);
  if (chosen.empty()) {
    std::vector<std::string> kinds;
    for (const RegistryView& registry : all_registries()) kinds.push_back(plural(registry.kind));
    fail(ErrorCode::kNotFound,
         "there is neither a kind nor a method '{}' to list; the kinds are: {}", word,
         fmt::join(kinds, ", "));
  }
  if (as_json) {
    json result;
    for (const Listed& listed : chosen) {
      json& parts = result[plural(listed.kind)] = json::array();
      for (const PartInfo* part : listed.parts) parts.push_back(part_json(*part));
    }
    fmt::print("{}\n", result.dump(2));
  } else if (word.empty()) {
    print_overview(chosen);
  } else {
    for (const Listed& listed : chosen) {
      if (chosen.size() > 1) fmt::print("As a {}:\n\n", listed.kind);
      print_details(listed);
    }
  }
}

}  // namespace

void add_list(CLI::App& app) {
  struct State {
    std::string name;
    bool json = false;
    bool markdown = false;
  };
  auto state = std::make_shared<State>();
  CLI::App* command =
      app.add_subcommand("list", "Every method and recipe, with its options and source.");
  command->footer(
      "Examples:\n"
      "  bitsmith list                    all kinds, one line for each method\n"
      "  bitsmith list codecs             the options, bounds and sources of the codecs\n"
      "  bitsmith list int                the same of one method\n"
      "  bitsmith list recipes            what compress --recipe can be told\n"
      "  bitsmith list recipes --markdown the papers' claims and what came out here\n"
      "  bitsmith list solvers --json");
  command->add_option("NAME", state->name,
                      "a kind (codecs, solvers, allocators, recipes, families, ...) or a method");
  command->add_flag("--json", state->json, "print JSON");
  command->add_flag("--markdown", state->markdown, "of recipes: a page of what their papers claim");
  command->callback([state] {
    if (!state->markdown) return list(state->name, state->json);
    if (state->json || !means(state->name, "recipe")) {
      fail(ErrorCode::kInvalidArgument, "--markdown is for: bitsmith list recipes --markdown");
    }
    fmt::print("{}", methods_page());
  });
}

}  // namespace bitsmith

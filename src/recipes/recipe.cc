#include "recipes/recipe.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>
#include <toml.hpp>

#include "core/output_file.h"

namespace bitsmith {
namespace {

using nlohmann::json;

json to_json(const toml::value& value) {
  switch (value.type()) {
    case toml::value_t::boolean:
      return value.as_boolean();
    case toml::value_t::integer:
      return value.as_integer();
    case toml::value_t::floating:
      return value.as_floating();
    case toml::value_t::string:
      return value.as_string().str;
    case toml::value_t::array: {
      json result = json::array();
      for (const toml::value& element : value.as_array()) result.push_back(to_json(element));
      return result;
    }
    case toml::value_t::table: {
      json result = json::object();
      for (const auto& [key, element] : value.as_table()) result[key] = to_json(element);
      return result;
    }
    default:
      fail(ErrorCode::kInvalidArgument, "recipe: dates are not used in recipes");
  }
}

json parse_toml(const std::string& text, const std::string& name) {
  // The parser calls itself for each level: a limit keeps it on the stack.
  constexpr int kMaxDepth = 64;
  int depth = 0;
  for (const char c : text) {
    depth = std::max(0, depth + (c == '[' || c == '{') - (c == ']' || c == '}'));
    if (depth > kMaxDepth) {
      fail(ErrorCode::kCorrupt, "recipe '{}' is nested deeper than {} levels", name, kMaxDepth);
    }
  }
  toml::value value;
  try {
    std::istringstream stream(text);
    value = toml::parse(stream, name);
  } catch (const std::exception& error) {
    std::string reason = error.what();
    std::ranges::replace(reason, '\n', ' ');
    fail(ErrorCode::kCorrupt, "recipe '{}' is not valid TOML: {}", name, reason);
  }
  return to_json(value);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

void apply_override(json& definition, const std::string& text) {
  const size_t equals = text.find('=');
  const size_t end = equals == 0 ? 0 : text.find_last_not_of(' ', equals - 1) + 1;
  const std::vector<std::string> keys = split(text.substr(0, end) + ".", '.');
  if (equals == std::string::npos || std::ranges::find(keys, "") != keys.end()) {
    fail(ErrorCode::kInvalidArgument, "--set '{}': expected key=value, for example code.bits=3",
         text);
  }
  std::string value_text = text.substr(equals + 1);
  json value;
  try {
    value = parse_toml("value = " + value_text, "--set").at("value");
  } catch (const Error&) {
    value = value_text;  // a bare word is a string
  }
  json* target = &definition;
  for (const std::string& key : keys) {
    if (!target->is_object() && !target->is_null()) {  // null: a table that was not there
      fail(ErrorCode::kInvalidArgument, "--set '{}': '{}' is below a value, not a table", text,
           key);
    }
    target = &(*target)[key];
  }
  *target = std::move(value);
}

// All combinations of the lists in `table`; scalars are lists of one.
std::vector<json> combinations(const json& table) {
  constexpr size_t kMaxCandidates = 1024;
  std::vector<json> result = {json::object()};
  for (const auto& [key, value] : table.items()) {
    const json list = value.is_array() ? value : json::array({value});
    if (list.empty()) {
      fail(ErrorCode::kInvalidArgument, "recipe: code.{} is an empty list", key);
    }
    if (list.size() > kMaxCandidates / result.size()) {
      fail(ErrorCode::kInvalidArgument, "recipe: [code] makes more than {} candidates",
           kMaxCandidates);
    }
    std::vector<json> grown;
    for (const json& base : result) {
      for (const json& element : list) {
        grown.push_back(base);
        grown.back()[key] = element;
      }
    }
    result = std::move(grown);
  }
  return result;
}

// Checks that a table only has the keys that bitsmith reads: a misspelt key must not be ignored.
void expect_keys(const json& table, const std::string& where,
                 const std::vector<std::string>& known) {
  if (!table.is_object()) {
    fail(ErrorCode::kInvalidArgument, "recipe: '{}' must be a table", where);
  }
  for (const auto& [key, value] : table.items()) {
    if (std::ranges::find(known, key) == known.end()) {
      fail(ErrorCode::kInvalidArgument, "recipe: {} has no key '{}'; it has: {}", where, key,
           fmt::join(known, ", "));
    }
  }
}

template <class Part>
Chosen<Part> choose(json table, const std::string& where) {
  if (!table.is_object() || !table.contains("id") || !table["id"].is_string()) {
    fail(ErrorCode::kInvalidArgument, "recipe: '{}' needs an id", where);
  }
  const Part& part = Registry<Part>::instance().get(table["id"].template get<std::string>());
  table.erase("id");
  return {&part, Options(part.info().options, table,
                         fmt::format("{} '{}'", Part::kind(), part.info().id))};
}

json section(const json& definition, const char* key) {
  return definition.contains(key) ? definition[key] : json::object();
}

std::string text(const json& definition, const char* key) {
  const auto it = definition.find(key);
  if (it == definition.end()) return "";
  if (!it->is_string()) {
    fail(ErrorCode::kInvalidArgument, "recipe: {} must be a string, it is {}", key, it->dump());
  }
  return it->get<std::string>();
}

int64_t whole(const json& table, const char* where, const char* key, int64_t otherwise, int64_t min,
              int64_t max) {
  if (!table.contains(key)) return otherwise;
  const json& value = table[key];
  if (!value.is_number_integer() || value.get<int64_t>() < min || value.get<int64_t>() > max) {
    fail(ErrorCode::kInvalidArgument, "recipe: {}.{} must be from {} to {}, it is {}", where, key,
         min, max, value.dump());
  }
  return value.get<int64_t>();
}

std::vector<Scheme> schemes(const json& code) {
  std::vector<Scheme> result;
  for (json combination : combinations(code)) {
    if (!combination.contains("codec") || !combination["codec"].is_string()) {
      fail(ErrorCode::kInvalidArgument, "recipe: code.codec is missing");
    }
    const std::string codec = combination["codec"];
    combination.erase("codec");
    result.emplace_back(codec, combination);
  }
  return result;
}

// Each has the keys of [code], where it has none of its own.
std::vector<CodeException> read_exceptions(const json& definition, const json& code) {
  const json tables = definition.contains("except") ? definition["except"] : json::array();
  if (!tables.is_array()) {
    fail(ErrorCode::kInvalidArgument, "recipe: exceptions are written as [[except]] tables");
  }
  std::vector<CodeException> result;
  for (const json& table : tables) {
    const std::map<std::string, bool LayerTraits::*, std::less<>> known = {
        {"ends", &LayerTraits::is_end},
        {"depthwise", &LayerTraits::is_depthwise},
        {"small", &LayerTraits::is_small}};
    const std::string layers = table.is_object() ? text(table, "layers") : "";
    if (!known.contains(layers)) {
      fail(ErrorCode::kInvalidArgument,
           "recipe: except.layers must be 'ends' (the first and the last), 'depthwise' or 'small' "
           "(less than a hundredth of the weights), it is '{}'",
           layers);
    }
    json own = code;
    if (table.contains("codec") && table["codec"].is_string()) {
      // Another codec takes over those keys that it has.
      if (const Codec* codec =
              Registry<Codec>::instance().find(table["codec"].get<std::string>())) {
        const std::vector<OptionSpec>& options = codec->info().options;
        for (const auto& [key, value] : code.items()) {
          if (std::ranges::find(options, key, &OptionSpec::name) == options.end()) own.erase(key);
        }
      }
    }
    for (const auto& [key, value] : table.items()) {
      if (key != "layers") own[key] = value;
    }
    const std::vector<Scheme> own_schemes = schemes(own);
    if (own_schemes.size() != 1) {
      fail(ErrorCode::kInvalidArgument,
           "recipe: an [[except]] table gives one code to its layers, this one {}",
           own_schemes.size());
    }
    result.push_back({known.at(layers), own_schemes[0]});
  }
  return result;
}

// Whether activations are rounded token by token; sets their bits.
bool read_token_bits(const json& table, int& bits) {
  if (!table.is_object() || !table.contains("per_token")) return false;
  expect_keys(table, "activations with per_token", {"bits", "per_token"});
  if (table["per_token"] != true) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: activations.per_token is true, or left out for ranges that an observer finds");
  }
  bits = static_cast<int>(whole(table, "activations", "bits", 8, 2, 8));
  return true;
}

ActivationCodes read_activations(const json& table) {
  expect_keys(table, "activations",
              {"bits", "observer", "sigmas", "correct_biases", "reestimate", "per_token"});
  ActivationCodes codes;
  codes.bits = static_cast<int>(whole(table, "activations", "bits", 8, 2, 8));
  if (table.contains("observer") == table.contains("sigmas")) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: [activations] needs an observer, which reads images, or sigmas, for ranges from "
         "batch norms without images; or per_token, for language models");
  }
  if (table.contains("observer")) {
    codes.observer = choose<ObserverMethod>(table["observer"], "activations.observer");
  } else {
    const json& sigmas = table["sigmas"];
    if (!sigmas.is_number() || !(sigmas.get<double>() >= 1 && sigmas.get<double>() <= 100)) {
      fail(ErrorCode::kInvalidArgument,
           "recipe: activations.sigmas must be from 1 to 100, it is {}", sigmas.dump());
    }
    codes.sigmas = sigmas.get<double>();
  }
  const auto flag = [&](const char* key) {
    if (!table.contains(key)) return false;
    if (!table[key].is_boolean()) {
      fail(ErrorCode::kInvalidArgument, "recipe: activations.{} must be true or false", key);
    }
    return table[key].get<bool>();
  };
  codes.correct_biases = flag("correct_biases");
  codes.reestimate = flag("reestimate");
  if (codes.reestimate && !codes.correct_biases) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: activations.reestimate is a way to correct biases: set correct_biases too");
  }
  return codes;
}

std::optional<Claim> read_claim(const json& definition) {
  if (!definition.contains("claim")) return std::nullopt;
  const json& table = definition["claim"];
  expect_keys(table, "claim", {"paper", "measured", "verdict"});
  const Claim claim = {text(table, "paper"), text(table, "measured"), text(table, "verdict")};
  if (std::ranges::find(verdicts(), claim.verdict) == verdicts().end()) {
    fail(ErrorCode::kInvalidArgument, "recipe: claim.verdict must be one of: {}; it is '{}'",
         fmt::join(verdicts(), ", "), claim.verdict);
  }
  return claim;
}

// What training chooses leaves nothing to choose before.
void refuse_choices(const json& definition) {
  for (const char* key : {"solve", "allocate", "transform", "residual"}) {
    if (definition.contains(key)) {
      fail(ErrorCode::kInvalidArgument, "recipe: with [[tune]] there is no '{}'", key);
    }
  }
}

// A residual is found together with the codes it stands beside: nothing tells beforehand what a
// choice among codes would cost with it.
void check_residual(const Recipe& recipe, const json& definition) {
  if (recipe.candidates.size() != 1) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: a [residual] stands beside one code for all matrices, [code] makes {} (lists are "
         "choices)",
         recipe.candidates.size());
  }
  if (definition.contains("activations")) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: [residual] and [activations] do not go together: leave out one of them");
  }
}

void check_tuned(const Recipe& recipe, const json& definition) {
  if (recipe.token_bits > 0) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: [[tune]] is for networks of images, activations.per_token for language models");
  }
  if (definition.contains("calibrate") && !recipe.activations) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: with [[tune]], [calibrate] is for [activations], and there is none");
  }
  if (!recipe.exceptions.empty() && recipe.candidates.empty()) {
    fail(ErrorCode::kInvalidArgument, "recipe: [[except]] needs a [code] to be an exception of");
  }
  if (recipe.activations && recipe.activations->observer.part == nullptr) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: with [[tune]] batch norms say nothing of what was trained: give [activations] an "
         "observer instead of sigmas");
  }
  if (recipe.activations && recipe.activations->correct_biases) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: with [[tune]] biases are trained: leave out activations.correct_biases");
  }
  if (recipe.candidates.size() > 1) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: with [[tune]] there is one code, [code] makes {} (lists are choices)",
         recipe.candidates.size());
  }
  for (const Chosen<TuningStep>& step : recipe.tuning) {
    const std::string& id = step.part->info().id;
    if (recipe.candidates.empty() && (id == "quantize" || id == "share")) {
      fail(ErrorCode::kInvalidArgument, "recipe: the tuning step '{}' needs a [code]", id);
    }
  }
}

}  // namespace

const std::vector<std::string>& verdicts() {
  static const std::vector<std::string> all = {"reproduced", "partly", "not reproduced",
                                               "not measured"};
  return all;
}

std::vector<Scheme> Recipe::candidates_for(const LayerTraits& layer) const {
  std::vector<Scheme> result = candidates;
  for (const CodeException& exception : exceptions) {
    if (layer.*exception.layers) result = {exception.scheme};
  }
  return result;
}

Recipe load_recipe(const std::string& name, const std::vector<std::string>& overrides) {
  const std::vector<BuiltInRecipe> built_in = built_in_recipes();
  const auto found = std::ranges::find(built_in, name, &BuiltInRecipe::id);
  std::string source_text;
  if (found != built_in.end()) {
    source_text = found->toml;
  } else if (name.ends_with(".toml")) {
    source_text = read_file(name, 1 << 20);
  } else {
    std::vector<std::string_view> names;
    for (const BuiltInRecipe& recipe : built_in) names.push_back(recipe.id);
    fail(ErrorCode::kNotFound,
         "there is no recipe '{}'; there are: {}, or the path of a .toml file", name,
         fmt::join(names, ", "));
  }
  json definition = parse_toml(source_text, name);
  for (const std::string& override_text : overrides) apply_override(definition, override_text);
  expect_keys(definition, "the recipe",
              {"id", "summary", "source", "claim", "transform", "tune", "code", "except", "solve",
               "residual", "allocate", "calibrate", "encode", "activations"});

  Recipe recipe;
  recipe.id = text(definition, "id").empty() ? std::filesystem::path(name).stem().string()
                                             : text(definition, "id");
  recipe.summary = text(definition, "summary");
  recipe.source = text(definition, "source");
  recipe.claim = read_claim(definition);
  definition.erase("claim");

  const json transforms =
      definition.contains("transform") ? definition["transform"] : json::array();
  if (!transforms.is_array()) {
    fail(ErrorCode::kInvalidArgument, "recipe: transforms are written as [[transform]] tables");
  }
  for (const json& transform : transforms) {
    recipe.transforms.push_back(choose<Transform>(transform, "transform"));
  }

  const json tuning = definition.contains("tune") ? definition["tune"] : json::array();
  if (!tuning.is_array()) {
    fail(ErrorCode::kInvalidArgument, "recipe: steps of tuning are written as [[tune]] tables");
  }
  for (const json& step : tuning) recipe.tuning.push_back(choose<TuningStep>(step, "tune"));

  const json code = section(definition, "code");
  if (!code.is_object()) fail(ErrorCode::kInvalidArgument, "recipe: 'code' must be a table");
  // Matrices may stay as they are if the file is at least entropy-coded, or the network is tuned.
  const bool tuned = !recipe.tuning.empty();
  if (tuned) refuse_choices(definition);
  const bool kept = !definition.contains("code") && (definition.contains("encode") || tuned);
  if (!kept) recipe.candidates = schemes(code);
  recipe.exceptions = read_exceptions(definition, code);
  json solve = section(definition, "solve");
  json allocate = section(definition, "allocate");
  expect_keys(solve, "solve", {"matrices", "tables"});
  if (kept || tuned) {  // there is nothing to solve or to allocate
    for (const char* key : {"matrices", "tables"}) {
      if (!solve.contains(key)) solve[key] = {{"id", "nearest"}};
    }
    if (allocate.empty()) allocate = {{"id", "uniform"}};
  }
  recipe.matrix_solver = choose<Solver>(section(solve, "matrices"), "solve.matrices");
  recipe.table_solver = choose<Solver>(section(solve, "tables"), "solve.tables");
  if (recipe.table_solver.part->needs_statistics()) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: solve.tables cannot be '{}', which needs the statistics "
         "of a linear layer's input",
         recipe.table_solver.part->info().id);
  }
  if (definition.contains("residual")) {
    recipe.residual = choose<Residual>(definition["residual"], "residual");
    check_residual(recipe, definition);
  }
  recipe.allocator = choose<Allocator>(allocate, "allocate");

  const json calibrate = section(definition, "calibrate");
  expect_keys(calibrate, "calibrate", {"sequences", "length"});
  recipe.sequences = definition.contains("calibrate")
                         ? whole(calibrate, "calibrate", "sequences", 128, 1, 1 << 20)
                         : 0;
  recipe.length = whole(calibrate, "calibrate", "length", 0, 0, 1 << 20);
  if (recipe.length == 1) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: calibrate.length must be 0 or at least 2: one token has nothing to predict");
  }
  if (recipe.sequences == 0 && recipe.matrix_solver.part->needs_statistics()) {
    fail(ErrorCode::kInvalidArgument,
         "recipe: the solver '{}' needs statistics of the inputs; add a [calibrate] section",
         recipe.matrix_solver.part->info().id);
  }
  for (size_t i = 0; i < recipe.transforms.size(); ++i) {
    const Transform& transform = *recipe.transforms[i].part;
    if (!transform.needs_statistics(recipe.transforms[i].options)) continue;
    const std::string& id = transform.info().id;
    if (i > 0) {
      fail(ErrorCode::kInvalidArgument,
           "recipe: the transform '{}' reads statistics of the network as it was: it must be the "
           "first, and the only one that does",
           id);
    }
    if (recipe.sequences == 0 || recipe.candidates.empty()) {
      fail(ErrorCode::kInvalidArgument,
           "recipe: the transform '{}' needs statistics of the inputs and a code to judge scales "
           "by; add [calibrate] and [code] sections",
           id);
    }
  }
  if (definition.contains("activations") &&
      !read_token_bits(definition["activations"], recipe.token_bits)) {
    recipe.activations = read_activations(definition["activations"]);
    const bool observes = recipe.activations->observer.part != nullptr;
    if ((observes || recipe.activations->correct_biases) && recipe.sequences == 0) {
      fail(ErrorCode::kInvalidArgument,
           "recipe: an observer and correct_biases need images; add a [calibrate] section");
    }
    if (!observes && !recipe.transforms.empty()) {
      fail(ErrorCode::kInvalidArgument,
           "recipe: batch norms say nothing of a transformed network; give [activations] an "
           "observer instead of sigmas");
    }
  }
  if (tuned) check_tuned(recipe, definition);
  if (definition.contains("encode") && definition["encode"] != json{{"id", "none"}}) {
    recipe.entropy_coder = choose<EntropyCoder>(definition["encode"], "encode");
  }
  recipe.definition = std::move(definition);
  return recipe;
}

}  // namespace bitsmith

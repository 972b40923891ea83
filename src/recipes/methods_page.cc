#include "recipes/methods_page.h"

#include <fmt/core.h>

#include "recipes/recipe.h"

namespace bitsmith {
namespace {

// What a verdict means, as the text below its heading.
std::string meaning(const std::string& verdict) {
  if (verdict == "reproduced") return "What the paper says was seen here too, at the size named.";
  if (verdict == "partly") return "A part of it was seen here; what was not is said.";
  if (verdict == "not reproduced") return "It was measured here and came out otherwise.";
  return "It needs models, data or machines that are not at hand, or says nothing to measure.";
}

// A cell of a table: '|' would end it.
std::string cell(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '|') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result;
}

}  // namespace

std::string methods_page() {
  std::string page =
      "# Methods, and what became of their claims\n"
      "\n"
      "One row for each recipe: the paper's claim, and what was measured here with this program, "
      "on "
      "models that a small machine can hold. Rows with numbers alone were measured as "
      "[bench/results/recipes.txt](../bench/results/recipes.txt) says: model classics-7m, KL in "
      "nats "
      "per token against the uncompressed model, bits per weight with all side information. Most "
      "papers measure models a thousand times larger: \"reproduced\" is about the direction and, "
      "where it says so, the size of an effect. How a recipe differs from its paper: `bitsmith "
      "list "
      "recipes`.\n"
      "\n"
      "Made by `bitsmith list recipes --markdown > docs/methods.md` from the `[claim]` tables of "
      "`recipes/*.toml`: edit those.\n";
  for (const std::string& verdict : verdicts()) {
    std::string rows;
    for (const BuiltInRecipe& built_in : built_in_recipes()) {
      const Recipe recipe = load_recipe(std::string(built_in.id), {});
      if (!recipe.claim || recipe.claim->verdict != verdict) continue;
      rows += fmt::format("| `{}` | {} | {} | {} |\n", recipe.id, cell(recipe.source),
                          cell(recipe.claim->paper), cell(recipe.claim->measured));
    }
    if (rows.empty()) continue;
    std::string heading = verdict;
    heading[0] = static_cast<char>(heading[0] - 'a' + 'A');
    page += fmt::format(
        "\n## {}\n\n{}\n\n| recipe | source | the paper says | here |\n|---|---|---|---|\n{}",
        heading, meaning(verdict), rows);
  }
  return page;
}

}  // namespace bitsmith

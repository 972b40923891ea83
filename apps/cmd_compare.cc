// `bitsmith compare`.
#include "pipeline/compare.h"

#include "compress_options.h"
#include "core/interrupt.h"
#include "report/table.h"
#include "report/units.h"

namespace bitsmith {
namespace {

void print_comparison(const CompareReport& report) {
  Table table({left("recipe"), right("tensor bytes"), right("bpw"), right("KL, nats"),
               right("perplexity"), right("top-1 agreement"), right("compress time"),
               right("tokens/s")});
  const Perplexity& original = *report.points.front().quality.original;
  table.add_row({"original", format_count(static_cast<int64_t>(report.original_bytes)),
                 fmt::format("{:.3f}", report.original_bpw), "0",
                 format_estimate(original.perplexity.value, original.perplexity.error), "100 %", "",
                 fmt::format("{:.0f}", report.original_tokens_per_s)});
  table.add_rule();
  for (const ComparePoint& p : report.points) {
    const Divergence& d = *p.quality.divergence;
    const Estimate& perplexity = p.quality.model.perplexity;
    table.add_row(
        {p.recipe, format_count(static_cast<int64_t>(p.tensor_bytes)), fmt::format("{:.3f}", p.bpw),
         format_estimate(d.kl_nats.value, d.kl_nats.error),
         format_estimate(perplexity.value, perplexity.error),
         format_estimate(100 * d.top1_agreement.value, 100 * d.top1_agreement.error) + " %",
         format_duration(p.seconds), fmt::format("{:.0f}", p.text_tokens_per_s)});
  }
  fmt::print("{}", table.text());
}

}  // namespace

void add_compare(CLI::App& app) {
  struct State {
    CompressOptions options;
    std::vector<std::string> recipes;
    std::string text;
    bool json = false;
    bool quiet = false;
  };
  auto state = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "compare", "Recipes side by side on one model: bytes, quality, time and speed.");
  command->footer(
      "Example:\n"
      "  bitsmith compare models/classics-7m --recipes nearest,gptq,quip-sharp --text tale.txt\n"
      "\n"
      "Nothing is written. --bits or --size is for recipes that choose among codes, --calibration\n"
      "for those that read a text. Rows are fair to each other only where their bytes are equal.");
  state->options.add_common(*command);
  command->remove_option(state->options.recipe_option);  // there are several
  state->options.recipe_option = nullptr;
  state->options.add_budget(*command);
  command->add_option("--recipes", state->recipes, "names or .toml files, separated by commas")
      ->delimiter(',')
      ->required();
  command->add_option("--text", state->text, "measure on this text, which no code was fitted to")
      ->required();
  command->add_flag("--json", state->json, "print the rows as JSON");
  command->add_flag("--quiet", state->quiet, "no progress on standard error");
  command->callback([state] {
    catch_interrupts();
    TerminalProgress bar;
    SilentProgress silent;
    Progress& progress = state->quiet ? static_cast<Progress&>(silent) : bar;
    const CompareReport report =
        compare(state->options.finish(), state->recipes, state->text, progress);
    if (state->json) {
      fmt::print("{}\n", report.to_json().dump(2));
    } else {
      print_comparison(report);
    }
  });
}

}  // namespace bitsmith

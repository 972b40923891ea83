// `bitsmith compare`.
#include "pipeline/compare.h"

#include "compress_options.h"
#include "core/interrupt.h"
#include "report/table.h"
#include "report/units.h"

namespace bitsmith {
namespace {

std::string percent(const Estimate& e) {
  return format_estimate(100 * e.value, 100 * e.error) + " %";
}

void print_images(const CompareReport& report) {
  Table table({left("recipe"), right("tensor bytes"), right("bpw"), right("of float32, 1 :"),
               right("top-1"), right("agreement"), right("KL, nats"), right("compress time"),
               right("images/s")});
  const auto row = [&](const std::string& name, uint64_t bytes, double bpw,
                       const Accuracy& accuracy, const std::string& agreement,
                       const std::string& kl, const std::string& time, double rate) {
    table.add_row({name, format_count(static_cast<int64_t>(bytes)), fmt::format("{:.3f}", bpw),
                   fmt::format("{:.2f}", 32 / bpw),
                   accuracy.images > 0 ? percent(accuracy.top1) : "-", agreement, kl, time,
                   fmt::format("{:.0f}", rate)});
  };
  row("original", report.original_bytes, report.original_bpw,
      *report.points.front().accuracy->original, "100 %", "0", "", report.original_rate);
  table.add_rule();
  for (const ComparePoint& p : report.points) {
    const AccuracyComparison& c = *p.accuracy->comparison;
    row(p.recipe, p.tensor_bytes, p.bpw, p.accuracy->model, percent(c.agreement),
        format_estimate(c.kl_nats.value, c.kl_nats.error), format_duration(p.seconds), p.rate);
  }
  fmt::print("{}", table.text());
}

void print_texts(const CompareReport& report) {
  Table table({left("recipe"), right("tensor bytes"), right("bpw"), right("KL, nats"),
               right("perplexity"), right("top-1 agreement"), right("compress time"),
               right("tokens/s")});
  const Perplexity& original = *report.points.front().quality->original;
  table.add_row({"original", format_count(static_cast<int64_t>(report.original_bytes)),
                 fmt::format("{:.3f}", report.original_bpw), "0",
                 format_estimate(original.perplexity.value, original.perplexity.error), "100 %", "",
                 fmt::format("{:.0f}", report.original_rate)});
  table.add_rule();
  for (const ComparePoint& p : report.points) {
    const Divergence& d = *p.quality->divergence;
    const Estimate& perplexity = p.quality->model.perplexity;
    table.add_row({p.recipe, format_count(static_cast<int64_t>(p.tensor_bytes)),
                   fmt::format("{:.3f}", p.bpw), format_estimate(d.kl_nats.value, d.kl_nats.error),
                   format_estimate(perplexity.value, perplexity.error), percent(d.top1_agreement),
                   format_duration(p.seconds), fmt::format("{:.0f}", p.rate)});
  }
  fmt::print("{}", table.text());
}

}  // namespace

void add_compare(CLI::App& app) {
  struct State {
    CompressOptions options;
    std::vector<std::string> recipes;
    bool json = false;
    bool quiet = false;

    MeasurementData data() const {
      MeasurementData data = options.measurement();
      if (data.text.empty() && !data.images) {
        const bool language = is_language_model(open_model(options.request.model).graph);
        fail(ErrorCode::kInvalidArgument, "'{}' is measured on {}: name some with {}",
             options.request.model.string(), language ? "a text" : "images",
             language ? "--text" : "--images");
      }
      return data;
    }
  };
  auto state = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "compare", "Recipes side by side on one model: bytes, quality, time and speed.");
  command->footer(
      "Examples:\n"
      "  bitsmith compare models/classics-7m --recipes nearest,gptq,quip-sharp --text tale.txt\n"
      "  bitsmith compare net.onnx --recipes nearest,gptq,w8a8 --calibration train.tar --images "
      "test.tar\n"
      "\n"
      "Nothing is written. --bits or --size is for recipes that choose among codes, --calibration\n"
      "for those that read a text or images; --labels and --limit are of --images, other image\n"
      "options of both. Rows are fair to each other only where their bytes are equal.");
  state->options.add_common(*command);
  command->remove_option(state->options.recipe_option);  // there are several
  state->options.recipe_option = nullptr;
  state->options.add_budget(*command);
  command->add_option("--recipes", state->recipes, "names or .toml files, separated by commas")
      ->delimiter(',')
      ->required();
  state->options.add_measurement(*command, ", which no code was fitted to");
  command->add_flag("--json", state->json, "print the rows as JSON");
  command->add_flag("--quiet", state->quiet, "no progress on standard error");
  command->callback([state] {
    catch_interrupts();
    TerminalProgress bar;
    SilentProgress silent;
    Progress& progress = state->quiet ? static_cast<Progress&>(silent) : bar;
    const CompareReport report =
        compare(state->options.finish(), state->recipes, state->data(), progress);
    if (state->json) {
      fmt::print("{}\n", report.to_json().dump(2));
    } else if (report.points.front().accuracy) {
      print_images(report);
    } else {
      print_texts(report);
    }
  });
}

}  // namespace bitsmith

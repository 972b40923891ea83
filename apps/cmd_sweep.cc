// `bitsmith sweep`.
#include "compress_options.h"
#include "core/interrupt.h"
#include "pipeline/sweep.h"
#include "report/table.h"
#include "report/units.h"
#include "size_option.h"

namespace bitsmith {
namespace {

std::string percent(const Estimate& e) {
  return format_estimate(100 * e.value, 100 * e.error) + " %";
}

void print_images(const SweepReport& report) {
  Table table({right("asked bits"), right("tensor bytes"), right("bpw"),
               right("predicted KL, nats"), right("measured KL, nats"), right("top-1"),
               right("agreement")});
  const auto top1 = [](const Accuracy& a) { return a.images > 0 ? percent(a.top1) : "-"; };
  table.add_row({"original", format_count(static_cast<int64_t>(report.original_bytes)),
                 fmt::format("{:.3f}", report.original_bpw), "0", "0",
                 top1(*report.points.front().accuracy->original), "100 %"});
  table.add_rule();
  for (const SweepPoint& p : report.points) {
    const AccuracyComparison& c = *p.accuracy->comparison;
    table.add_row({fmt::format("{:g}", p.bits), format_count(static_cast<int64_t>(p.tensor_bytes)),
                   fmt::format("{:.3f}", p.bpw), fmt::format("{:.5f}", p.predicted_kl_nats),
                   format_estimate(c.kl_nats.value, c.kl_nats.error), top1(p.accuracy->model),
                   percent(c.agreement)});
  }
  fmt::print("{}", table.text());
}

void print_texts(const SweepReport& report) {
  Table table({right("asked bits"), right("tensor bytes"), right("bpw"),
               right("predicted KL, nats"), right("measured KL, nats"), right("perplexity"),
               right("top-1 agreement")});
  const Perplexity& original = *report.points.front().quality->original;
  table.add_row({"original", format_count(static_cast<int64_t>(report.original_bytes)),
                 fmt::format("{:.3f}", report.original_bpw), "0", "0",
                 format_estimate(original.perplexity.value, original.perplexity.error), "100 %"});
  table.add_rule();
  for (const SweepPoint& p : report.points) {
    const Divergence& d = *p.quality->divergence;
    const Estimate& perplexity = p.quality->model.perplexity;
    table.add_row({fmt::format("{:g}", p.bits), format_count(static_cast<int64_t>(p.tensor_bytes)),
                   fmt::format("{:.3f}", p.bpw), fmt::format("{:.5f}", p.predicted_kl_nats),
                   format_estimate(d.kl_nats.value, d.kl_nats.error),
                   format_estimate(perplexity.value, perplexity.error), percent(d.top1_agreement)});
  }
  fmt::print("{}", table.text());
}

}  // namespace

void add_sweep(CLI::App& app) {
  struct State {
    CompressOptions options;
    std::string bits = "2..6";
    bool json = false;
    bool quiet = false;
  };
  auto state = std::make_shared<State>();
  CLI::App* command = app.add_subcommand(
      "sweep", "The curve of size against quality: compress to many budgets, measure each.");
  command->footer(
      "Examples:\n"
      "  bitsmith sweep models/classics-7m --bits 2..6:0.5 --calibration novels.txt --text "
      "other.txt\n"
      "  bitsmith sweep net.onnx --bits 3..8 --calibration train.tar --images test.tar");
  state->options.add_common(*command);
  command->add_option("--bits", state->bits, "budgets: 2..6, 2..6:0.5 or 2,2.5,3")
      ->capture_default_str();
  state->options.add_measurement(*command, " (default: held-out calibration data)");
  command->add_flag("--json", state->json, "print the points as JSON");
  command->add_flag("--quiet", state->quiet, "no progress on standard error");
  command->callback([state] {
    catch_interrupts();
    TerminalProgress bar;
    SilentProgress silent;
    Progress& progress = state->quiet ? static_cast<Progress&>(silent) : bar;
    const SweepReport report = sweep(state->options.finish(), parse_numbers(state->bits, "--bits"),
                                     state->options.measurement(), progress);
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

#include "compress_report.h"

#include <fmt/ranges.h>

#include <cstdio>
#include <map>

#include "core/progress.h"
#include "report/table.h"
#include "report/units.h"

namespace bitsmith {
namespace {

std::string kl_text(const std::optional<double>& kl) {
  return kl ? fmt::format("{:.5f}", *kl) : "-";
}

std::string percent(const Estimate& estimate) {
  return format_estimate(100 * estimate.value, 100 * estimate.error) + " %";
}

// Matrices of one role and scheme in one row.
void print_by_role(const CompressReport& report) {
  struct Sum {
    int64_t tensors = 0;
    uint64_t bytes = 0;
    double weights = 0;
    std::optional<double> kl;
  };
  std::vector<std::pair<std::string, std::string>> order;
  std::map<std::pair<std::string, std::string>, Sum> sums;
  for (const MatrixReport& m : report.matrices) {
    const std::pair key{m.role, m.scheme};
    if (!sums.contains(key)) order.push_back(key);
    Sum& sum = sums[key];
    ++sum.tensors;
    sum.bytes += m.bytes;
    sum.weights += 8 * static_cast<double>(m.bytes) / m.bpw;
    if (m.predicted_kl_nats) sum.kl = sum.kl.value_or(0) + *m.predicted_kl_nats;
  }
  std::ranges::stable_sort(order, {}, [](const auto& key) { return key.first; });
  Table table({left("role"), left("scheme"), right("tensors"), right("size"), right("bpw"),
               right("predicted KL, nats")});
  for (const auto& key : order) {
    const Sum& sum = sums[key];
    table.add_row({key.first, key.second, fmt::format("{}", sum.tensors), format_bytes(sum.bytes),
                   fmt::format("{:.3f}", 8 * static_cast<double>(sum.bytes) / sum.weights),
                   kl_text(sum.kl)});
  }
  fmt::print("{}\n", table.text());
}

void print_tensors(const CompressReport& report) {
  Table table({left("tensor"), left("shape"), left("scheme"), right("bytes"), right("bpw"),
               right("predicted KL, nats"), right("relative MSE")});
  for (const MatrixReport& m : report.matrices) {
    table.add_row({m.name, to_string(m.shape), m.scheme,
                   format_count(static_cast<int64_t>(m.bytes)), fmt::format("{:.3f}", m.bpw),
                   kl_text(m.predicted_kl_nats),
                   m.relative_mse ? fmt::format("{:.3e}", *m.relative_mse) : "-"});
  }
  fmt::print("{}\n", table.text());
}

// "41.2 s (estimated 43.0 s; survey 30.1 s, coding 10.0 s)"
std::string time_text(const CompressReport& report) {
  const std::string parts =
      fmt::format("survey {}, coding {}", format_duration(report.survey_seconds),
                  format_duration(report.encode_seconds));
  if (report.resumed) {
    return fmt::format("{} in this run ({}), after {} in earlier ones",
                       format_duration(report.total_seconds), parts,
                       format_duration(report.earlier_seconds));
  }
  if (report.estimated_seconds == 0) return format_duration(report.total_seconds);
  return fmt::format("{} (estimated {}; {})", format_duration(report.total_seconds),
                     format_duration(report.estimated_seconds), parts);
}

// Matrices whose shape does not allow all codes of the recipe, those of one reason in one line.
void print_restrictions(const CompressReport& report) {
  std::map<std::string, std::vector<std::string>> names;
  for (const MatrixReport& m : report.matrices) {
    if (!m.restriction.empty()) names[m.restriction].push_back(m.name);
  }
  for (const auto& [restriction, of] : names) {
    fmt::print("{}: {}\n", restriction, fmt::join(of, ", "));
  }
}

}  // namespace

void print_compress_report(const CompressReport& report, bool all_tensors) {
  const Plan& plan = report.plan;
  if (all_tensors) {
    print_tensors(report);
  } else {
    print_by_role(report);
  }
  Table table({left("model"), right("tensor bytes"), right("bpw"), right("predicted KL, nats"),
               right("measured KL, nats"), right("top-1 agreement")});
  table.add_row({"original", format_count(static_cast<int64_t>(plan.original_bytes)),
                 fmt::format("{:.3f}", plan.original_bpw()), "0", "0", "100 %"});
  // What was lost, of texts or of images.
  const Estimate* kl = nullptr;
  const Estimate* agreement = nullptr;
  if (report.quality && report.quality->divergence) {
    kl = &report.quality->divergence->kl_nats;
    agreement = &report.quality->divergence->top1_agreement;
  } else if (report.accuracy && report.accuracy->comparison) {
    kl = &report.accuracy->comparison->kl_nats;
    agreement = &report.accuracy->comparison->agreement;
  }
  table.add_row({report.planned ? "planned" : "compressed",
                 format_count(static_cast<int64_t>(report.tensor_bytes)),
                 fmt::format("{:.3f}", report.bpw()), kl_text(plan.predicted_kl_nats),
                 kl != nullptr ? format_estimate(kl->value, kl->error) : "-",
                 agreement != nullptr ? percent(*agreement) : "-"});
  fmt::print("{}\n", table.text());
  FactList facts;
  facts.add("recipe", report.recipe);
  if (report.tensor_bytes != plan.tensor_bytes) {
    facts.add("before entropy coding",
              fmt::format("{} bytes, {:.3f} bpw",
                          format_count(static_cast<int64_t>(plan.tensor_bytes)), plan.bpw()));
  }
  facts.add(report.planned ? "file, at most" : "file",
            fmt::format("{} bytes", format_count(static_cast<int64_t>(report.file_bytes))));
  if (report.planned) {
    facts.add("peak memory, estimated", format_bytes(report.estimated_memory_bytes));
    facts.add("time to compress, estimated", format_duration(report.estimated_seconds));
  } else {
    facts.add("time", time_text(report));
    facts.add("peak memory",
              fmt::format("{} (estimated {})", format_bytes(report.peak_memory_bytes),
                          format_bytes(report.estimated_memory_bytes)));
    if (report.quality) {
      facts.add("measured on", fmt::format("{} held-out calibration tokens, native executor",
                                           format_count(report.quality->model.tokens)));
    }
    if (report.accuracy) {
      facts.add("measured on", fmt::format("{} held-out calibration images, native executor",
                                           format_count(report.accuracy->images)));
      if (report.accuracy->model.images > 0) {
        facts.add("top-1 on them",
                  fmt::format("{}, of the original {}", percent(report.accuracy->model.top1),
                              percent(report.accuracy->original->top1)));
      }
    }
    if (report.arithmetic) {
      facts.add("activations", fmt::format("{} in codes, {} biases corrected",
                                           report.coded_activations, report.corrected_biases));
      facts.add("arithmetic", report.arithmetic->text());
    }
    facts.add("verified", "sizes, bytes, finite values and every tensor's error, read back");
  }
  fmt::print("{}", facts.text());
  print_restrictions(report);
}

}  // namespace bitsmith

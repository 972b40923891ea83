// `bitsmith inspect`: what is in a model.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <span>

#include "commands.h"
#include "core/interrupt.h"
#include "formats/checkpoint.h"
#include "graph/cost.h"
#include "model_options.h"
#include "report/table.h"
#include "report/units.h"
#include "runtime/network/arithmetic.h"

namespace bitsmith {
namespace {

using nlohmann::json;

struct InspectOptions {
  std::string model;
  bool tensors = false;
  bool quiet = false;
  bool blocks = false;
  bool verify = false;
  bool json = false;
};

// Tensors of one role.
struct RoleSum {
  int64_t tensors = 0;
  int64_t weights = 0;
  uint64_t bytes = 0;
  std::set<std::string> schemes;
};

// Parameters in the order of their first use.
std::vector<std::pair<const Value*, const CodedTensor*>> parameters_of(const Model& model) {
  std::vector<std::pair<const Value*, const CodedTensor*>> result;
  for (const ValueId id : model.graph.parameters()) {
    const Value& value = model.graph.value(id);
    result.emplace_back(&value, &model.parameter(value.name));
  }
  return result;
}

std::string label_of(const CodedTensor& tensor) {
  const std::string label = tensor.scheme.label();
  return tensor.entropy_coder.empty() ? label : label + " + " + tensor.entropy_coder;
}

// Roles in the order of their first use.
std::vector<std::pair<std::string, RoleSum>> sum_by_role(const Model& model) {
  std::vector<std::pair<std::string, RoleSum>> sums;
  for (const auto& [value, tensor] : parameters_of(model)) {
    auto it = std::ranges::find(sums, value->role, &std::pair<std::string, RoleSum>::first);
    if (it == sums.end()) it = sums.insert(sums.end(), {value->role, {}});
    RoleSum& sum = it->second;
    ++sum.tensors;
    sum.weights += element_count(tensor->shape).value_or(0);
    sum.bytes += tensor->stored_bytes().size();
    sum.schemes.insert(label_of(*tensor));
  }
  return sums;
}

std::map<std::string, int64_t> count_operators(const Graph& graph) {
  std::map<std::string, int64_t> counts;
  for (const Node& node : graph.nodes) ++counts[node.op];
  return counts;
}

// "input [B, 3, 32, 32]" for each value.
std::string describe(const Graph& graph, const std::vector<ValueId>& values) {
  std::vector<std::string> parts;
  for (const ValueId id : values) {
    parts.push_back(fmt::format("{} {}", graph.value(id).name, to_string(graph.value(id).shape)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

// Multiply-adds of nodes [begin, end); saturates.
int64_t multiply_adds(const Graph& graph, size_t begin, size_t end) {
  int64_t sum = 0;
  for (size_t i = begin; i < end; ++i) {
    const int64_t count = bitsmith::multiply_adds(graph, graph.nodes[i]);
    sum = count > std::numeric_limits<int64_t>::max() - sum ? std::numeric_limits<int64_t>::max()
                                                            : sum + count;
  }
  return sum;
}

std::string family_of(const Model& model) {
  if (!model.config.is_object()) return "";
  const auto it = model.config.find("model_type");
  return it != model.config.end() && it->is_string() ? it->get<std::string>() : "";
}

std::string bpw_text(uint64_t bytes, int64_t weights) {
  return fmt::format("{:.3f}", bits_per_weight(bytes, weights));
}

// "9 tensors: a, b, c, d, ..."
std::string unused_text(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  const std::span shown = std::span(names).first(std::min(names.size(), kShown));
  return fmt::format("{} {}: {}{}", names.size(), names.size() == 1 ? "tensor" : "tensors",
                     fmt::join(shown, ", "), names.size() > kShown ? ", ..." : "");
}

void print_summary(const Model& model) {
  FactList facts;
  facts.add("file", model.path.string());
  facts.add("format", model.format);
  if (!family_of(model).empty()) facts.add("family", family_of(model));
  if (!is_language_model(model.graph)) {
    facts.add("inputs", describe(model.graph, model.graph.inputs));
    facts.add("outputs", describe(model.graph, model.graph.outputs));
  }
  facts.add("weights", fmt::format("{} ({})", format_weights(model.parameter_count()),
                                   format_count(model.parameter_count())));
  facts.add("size",
            fmt::format("{} ({} bytes), {} bits per weight", format_bytes(model.parameter_bytes()),
                        format_count(static_cast<int64_t>(model.parameter_bytes())),
                        bpw_text(model.parameter_bytes(), model.parameter_count())));
  if (model.decoded != nullptr) {
    facts.add("entropy-coded", fmt::format("{} bytes in memory, {:.2f} % of them in the file",
                                           format_count(static_cast<int64_t>(model.packed_bytes())),
                                           100 * static_cast<double>(model.parameter_bytes()) /
                                               static_cast<double>(model.packed_bytes())));
  }
  std::vector<std::string> operators;
  for (const auto& [op, count] : count_operators(model.graph)) {
    operators.push_back(fmt::format("{} {}", count, op));
  }
  facts.add("graph", fmt::format("{} nodes in {} blocks: {}", model.graph.nodes.size(),
                                 find_blocks(model.graph).size(), fmt::join(operators, ", ")));
  facts.add("multiply-adds",
            fmt::format("{} for {}, in matrices and convolutions",
                        format_weights(multiply_adds(model.graph, 0, model.graph.nodes.size())),
                        is_language_model(model.graph) ? "a token" : "B = 1"));
  if (!is_language_model(model.graph)) {
    facts.add("arithmetic", network_arithmetic(model).text());
  }
  std::vector<std::string> files;
  for (const auto& [name, bytes] : model.tokenizer_files) files.push_back(name);
  if (!files.empty() || is_language_model(model.graph)) {
    facts.add("tokenizer", files.empty() ? "none" : fmt::format("{}", fmt::join(files, ", ")));
  }
  if (!model.unused_tensors.empty()) facts.add("unused", unused_text(model.unused_tensors));
  for (const std::string& note : model.notes) facts.add("note", note);
  if (model.metadata.is_object()) {
    for (const auto& [name, value] : model.metadata.items()) {
      facts.add(name, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  fmt::print("{}\n", facts.text());
}

void print_roles(const Model& model) {
  Table table({left("role"), left("scheme"), right("tensors"), right("weights"), right("size"),
               right("bpw")});
  for (const auto& [role, sum] : sum_by_role(model)) {
    table.add_row({role, fmt::format("{}", fmt::join(sum.schemes, ", ")), format_count(sum.tensors),
                   format_count(sum.weights), format_bytes(sum.bytes),
                   bpw_text(sum.bytes, sum.weights)});
  }
  table.add_rule();
  table.add_row({"all", "", format_count(static_cast<int64_t>(model.parameters.size())),
                 format_count(model.parameter_count()), format_bytes(model.parameter_bytes()),
                 bpw_text(model.parameter_bytes(), model.parameter_count())});
  fmt::print("{}", table.text());
}

void print_tensors(const Model& model) {
  Table table(
      {left("tensor"), left("role"), left("shape"), left("scheme"), right("bytes"), right("bpw")});
  for (const auto& [value, tensor] : parameters_of(model)) {
    const int64_t weights = element_count(tensor->shape).value_or(0);
    table.add_row({value->name, value->role, to_string(tensor->shape), label_of(*tensor),
                   format_count(static_cast<int64_t>(tensor->stored_bytes().size())),
                   bpw_text(tensor->stored_bytes().size(), weights)});
  }
  fmt::print("\n{}", table.text());
}

// Weights and bytes of the parameters that a block is the first to read.
struct BlockSum {
  int64_t weights = 0;
  uint64_t bytes = 0;
};
std::vector<BlockSum> sum_by_block(const Model& model, const std::vector<Block>& blocks) {
  std::vector<BlockSum> sums(blocks.size());
  std::set<ValueId> seen;
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (size_t i = blocks[b].begin; i < blocks[b].end; ++i) {
      for (const ValueId id : model.graph.nodes[i].inputs) {
        if (id == kNoValue || model.graph.value(id).kind != ValueKind::kParameter) continue;
        if (!seen.insert(id).second) continue;
        const CodedTensor& tensor = model.parameter(model.graph.value(id).name);
        sums[b].weights += element_count(tensor.shape).value_or(0);
        sums[b].bytes += tensor.bytes.size();
      }
    }
  }
  return sums;
}

void print_blocks(const Model& model) {
  Table table({left("block"), left("output"), right("nodes"), right("weights"), right("bytes"),
               right("multiply-adds")});
  const std::vector<Block> blocks = find_blocks(model.graph);
  const std::vector<BlockSum> sums = sum_by_block(model, blocks);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Block& block = blocks[i];
    table.add_row({block.name.empty() ? model.graph.nodes[block.begin].name : block.name,
                   to_string(model.graph.value(block.output).shape),
                   format_count(static_cast<int64_t>(block.end - block.begin)),
                   format_count(sums[i].weights), format_count(static_cast<int64_t>(sums[i].bytes)),
                   format_count(multiply_adds(model.graph, block.begin, block.end))});
  }
  fmt::print("\n{}", table.text());
}

json summary_json(const Model& model, bool tensors) {
  json result = {{"path", model.path.string()},
                 {"format", model.format},
                 {"family", family_of(model)},
                 {"weights", model.parameter_count()},
                 {"bytes", model.parameter_bytes()},
                 {"packed_bytes", model.packed_bytes()},
                 {"bpw", bits_per_weight(model.parameter_bytes(), model.parameter_count())},
                 {"nodes", model.graph.nodes.size()},
                 {"blocks", find_blocks(model.graph).size()},
                 {"operators", count_operators(model.graph)},
                 {"multiply_adds", multiply_adds(model.graph, 0, model.graph.nodes.size())},
                 {"unused_tensors", model.unused_tensors},
                 {"notes", model.notes},
                 {"metadata", model.metadata}};
  const auto values = [&](const std::vector<ValueId>& ids) {
    json list = json::array();
    for (const ValueId id : ids) {
      const Value& value = model.graph.value(id);
      list.push_back({{"name", value.name}, {"shape", value.shape}});
    }
    return list;
  };
  if (!is_language_model(model.graph)) {
    result["arithmetic"] = network_arithmetic(model).to_json();
  }
  result["inputs"] = values(model.graph.inputs);
  result["outputs"] = values(model.graph.outputs);
  result["tokenizer_files"] = json::array();
  for (const auto& [name, bytes] : model.tokenizer_files) {
    result["tokenizer_files"].push_back(name);
  }
  result["roles"] = json::array();
  for (const auto& [role, sum] : sum_by_role(model)) {
    result["roles"].push_back({{"role", role},
                               {"tensors", sum.tensors},
                               {"weights", sum.weights},
                               {"bytes", sum.bytes},
                               {"bpw", bits_per_weight(sum.bytes, sum.weights)},
                               {"schemes", sum.schemes}});
  }
  if (!tensors) return result;
  result["tensors"] = json::array();
  for (const auto& [value, tensor] : parameters_of(model)) {
    result["tensors"].push_back({{"name", value->name},
                                 {"role", value->role},
                                 {"shape", tensor->shape},
                                 {"scheme", tensor->scheme.to_json()},
                                 {"bytes", tensor->stored_bytes().size()},
                                 {"packed_bytes", tensor->bytes.size()},
                                 {"entropy_coder", tensor->entropy_coder}});
  }
  return result;
}

void inspect(const InspectOptions& options) {
  catch_interrupts();
  const Model model = open_model(options.model);
  if (options.verify) {
    if (model.format != "bitsmith") {
      fail(ErrorCode::kUnsupported, "'{}' is a {} model: it has no checksums to verify",
           model.path.string(), model.format);
    }
    TerminalProgress bar;
    SilentProgress silent;
    verify_checkpoint(model, options.quiet ? static_cast<Progress&>(silent) : bar);
  }
  if (options.json) {
    json result = summary_json(model, options.tensors);
    if (options.verify) result["verified"] = true;
    fmt::print("{}\n", result.dump(2));
    return;
  }
  print_summary(model);
  print_roles(model);
  if (options.blocks) print_blocks(model);
  if (options.tensors) print_tensors(model);
  if (options.verify) fmt::print("\nall checksums match\n");
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      app.add_subcommand("inspect", "What is in a model: graph, tensors, sizes, how it was made.");
  command->footer(
      "Examples:\n"
      "  bitsmith inspect models/classics-7m\n"
      "  bitsmith inspect small.bitsmith --tensors\n"
      "  bitsmith inspect net.onnx --blocks\n"
      "  bitsmith inspect small.bitsmith --verify      reads the file and compares checksums");
  command
      ->add_option("MODEL", options->model,
                   "a bitsmith file, a GGUF file, a Hugging Face folder or an ONNX file")
      ->required();
  command->add_flag("--tensors", options->tensors, "one row for each tensor");
  command->add_flag("--blocks", options->blocks, "one row for each block of the graph");
  command->add_flag("--verify", options->verify, "compare all tensors with their checksums");
  command->add_flag("--json", options->json, "print JSON");
  command->add_flag("--quiet", options->quiet, "no progress on standard error");
  command->callback([options] { inspect(*options); });
}

}  // namespace bitsmith

#include "formats/onnx.h"

#include <algorithm>

#include "core/error.h"
#include "formats/json_text.h"
#include "formats/onnx_external.h"
#include "formats/onnx_lowering.h"
#include "graph/recognize.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;
using namespace onnx;

constexpr int64_t kOldestOpset = 6;
constexpr int64_t kNewestOpset = 22;
// Constants may be computed up to this and a multiple of what the file holds.
constexpr uint64_t kFreeBytes = uint64_t{64} << 20;
constexpr uint64_t kGrowth = 8;

int64_t opset_of(const File& file, const std::string& name) {
  const auto it = file.opsets.find("");
  if (it == file.opsets.end()) {
    fail(ErrorCode::kUnsupported, "{}: it does not say which opset of ONNX it uses", name);
  }
  if (it->second < kOldestOpset || it->second > kNewestOpset) {
    fail(ErrorCode::kUnsupported, "{}: opset {} of ONNX; supported are {} to {}", name, it->second,
         kOldestOpset, kNewestOpset);
  }
  return it->second;
}

class Import {
 public:
  Import(Model& model, const std::string& name, const File& file, uint64_t file_bytes,
         ExternalData& external, const std::map<std::string, std::string, std::less<>>& values)
      : file_(file),
        external_(external),
        values_(values),
        state_(model, name, opset_of(file, name), kFreeBytes + kGrowth * file_bytes) {}

  void run() {
    check_operators();
    add_constants();
    add_inputs();
    for (const FileNode& node : file_.graph.nodes) lower(node);
    set_outputs();
    finish();
  }

 private:
  // Before anything else is said of the network: what it would take to import it.
  void check_operators() {
    std::set<std::string, std::less<>> others;
    const FileNode* first = nullptr;
    for (const FileNode& node : file_.graph.nodes) {
      const bool known =
          node.domain.empty() &&
          (node.op == "Constant" || rules().contains(node.op) || fold_rules().contains(node.op));
      if (known) continue;
      if (first == nullptr) first = &node;
      if (node.op != first->op) others.insert(fmt::format("'{}'", printable(node.op)));
    }
    if (first == nullptr) return;
    const std::string from = first->domain.empty()
                                 ? fmt::format("of ONNX (opset {})", state_.opset)
                                 : fmt::format("of the domain '{}'", first->domain);
    const std::string more =
        others.empty() ? "" : fmt::format("; nor are {}", fmt::join(others, ", "));
    Lowering(state_, *first)
        .unsupported(fmt::format("the operator '{}' {} is not supported{}", first->op, from, more));
  }

  void add_constant(std::string_view name, const Tensor& tensor) {
    if (!is_number(tensor.type)) {
      fail(ErrorCode::kUnsupported, "{}: tensor '{}' is of type {}", state_.file, name,
           element_type_name(tensor.type));
    }
    Constant constant{tensor.type, tensor.shape, tensor.raw};
    if (tensor.is_external) {
      constant.bytes = external_.bytes(tensor);
    } else if (!tensor.typed.empty()) {
      constant = state_.buffers.bytes(tensor.type, tensor.shape, tensor.bytes());
    }
    if (!state_.operands.emplace(name, Operand{tensor.type, constant, kNoValue}).second) {
      fail(ErrorCode::kCorrupt, "{}: two tensors are named '{}'", state_.file, name);
    }
  }

  void add_constants() {
    for (const Tensor& tensor : file_.graph.initializers) add_constant(tensor.name, tensor);
    for (const auto& [name, message] : values_) {
      add_constant(name, read_tensor(message, state_.file));
    }
  }

  // Inputs of the graph; older files list its constants among them.
  void add_inputs() {
    for (const ValueInfo& info : file_.graph.inputs) {
      if (state_.operands.contains(info.name)) continue;
      if (!info.is_tensor || !info.has_shape || !is_number(info.type) ||
          info.shape.size() > kMaxRank) {
        fail(ErrorCode::kUnsupported, "{}: input '{}' is no tensor of numbers of known shape",
             state_.file, info.name);
      }
      Shape shape = info.shape;
      for (size_t i = 0; i < shape.size(); ++i) {
        if (shape[i] > 0 && shape[i] <= (int64_t{1} << 40)) continue;
        if (i != 0) {
          fail(ErrorCode::kUnsupported,
               "{}: extent {} of input '{}' ('{}') is not fixed; only the first may be open. "
               "Export the network with fixed sizes",
               state_.file, i, info.name, info.symbols[i]);
        }
        shape[i] = kBatch;
      }
      const ValueId id =
          state_.model.graph.add_input(state_.unique_name(info.name), std::move(shape));
      state_.operands.emplace(info.name, Operand{info.type, std::nullopt, id});
      const Shape& made = state_.model.graph.value(id).shape;
      if (!made.empty() && made[0] == kBatch) state_.last_batch = id;
    }
    if (state_.model.graph.inputs.empty() && values_.empty()) {
      fail(ErrorCode::kUnsupported, "{}: the network has no inputs", state_.file);
    }
  }

  Constant value_of_constant(const Lowering& node) {
    if (const onnx::Attribute* a = node.attribute("value")) {
      const Tensor& tensor = a->tensor;
      if (!is_number(tensor.type) || tensor.is_external) {
        node.unsupported("a constant of type " + element_type_name(tensor.type));
      }
      if (tensor.typed.empty()) return {tensor.type, tensor.shape, tensor.raw};
      return state_.buffers.bytes(tensor.type, tensor.shape, tensor.bytes());
    }
    const auto count = [](const auto& list) { return static_cast<int64_t>(list.size()); };
    if (const onnx::Attribute* a = node.attribute("value_float")) {
      return state_.buffers.numbers(kFloat, {}, {static_cast<double>(a->number)});
    }
    if (const onnx::Attribute* a = node.attribute("value_int")) {
      return state_.buffers.integers(kInt64, {}, {a->integer});
    }
    if (const onnx::Attribute* a = node.attribute("value_floats")) {
      return state_.buffers.numbers(kFloat, {count(a->numbers)},
                                    {a->numbers.begin(), a->numbers.end()});
    }
    if (const onnx::Attribute* a = node.attribute("value_ints")) {
      return state_.buffers.integers(kInt64, {count(a->integers)}, a->integers);
    }
    node.unsupported("its value is of a kind that is not supported");
  }

  void apply_rule(const FileNode& node) {
    Lowering lowering(state_, node);
    if (node.op == "Constant") return lowering.set(value_of_constant(lowering));
    bool constants = !node.inputs.empty();
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      constants = constants && (!lowering.has(i) || lowering.is_constant(i));
    }
    const auto fold = constants ? fold_rules().find(node.op) : fold_rules().end();
    if (fold != fold_rules().end()) return fold->second(lowering);
    const auto rule = rules().find(node.op);
    if (rule == rules().end()) {
      lowering.unsupported(
          fmt::format("the operator '{}' is supported on constants only", node.op));
    }
    rule->second(lowering);
  }

  // What the graph does not take (an empty value, an axis joined with the batch) is unsupported,
  // whatever the graph calls it: the file may well be valid. Its errors name the node, not the
  // file.
  void lower(const FileNode& node) {
    try {
      apply_rule(node);
    } catch (const Error& error) {
      const std::string_view message = error.what();
      if (!message.starts_with("graph: ")) throw;
      fail(ErrorCode::kUnsupported, "{}: {}", state_.file, message);
    }
  }

  // An output is made by a node: constants and inputs get one that changes nothing.
  ValueId made_by_node(std::string_view name, ValueId value) {
    Graph& graph = state_.model.graph;
    if (graph.value(value).kind == ValueKind::kActivation) return value;
    return ops::reshape(graph, state_.unique_name(name), value, Shape(graph.value(value).shape));
  }

  void set_outputs() {
    Graph& graph = state_.model.graph;
    for (const ValueInfo& info : file_.graph.outputs) {
      const auto it = state_.operands.find(info.name);
      if (it == state_.operands.end()) {
        fail(ErrorCode::kCorrupt, "{}: no node makes the output '{}'", state_.file, info.name);
      }
      const auto value = it->second.constant
                             ? state_.parameter(*it->second.constant, info.name, "constant")
                             : it->second.value;
      graph.outputs.push_back(made_by_node(info.name, value));
    }
    if (graph.outputs.empty() || graph.nodes.empty()) {
      fail(ErrorCode::kUnsupported, "{}: the network computes nothing", state_.file);
    }
  }

  std::optional<double> single_number(ValueId id) const {
    const Value& value = state_.model.graph.value(id);
    const auto it = state_.model.parameters.find(value.name);
    if (value.kind != ValueKind::kParameter || it == state_.model.parameters.end()) return {};
    if (element_count(value.shape) != 1) return std::nullopt;
    return static_cast<double>(it->second.decode_all()[0]);
  }

  // Recognises composed operators, drops what nobody needs.
  void finish() {
    Model& model = state_.model;
    recognize_patterns(model.graph, [&](ValueId id) { return single_number(id); });
    remove_dead_nodes(model.graph);
    if (model.graph.nodes.empty()) {
      fail(ErrorCode::kUnsupported, "{}: the network computes nothing", state_.file);
    }
    std::set<std::string, std::less<>> kept;
    for (const ValueId id : model.graph.parameters()) kept.insert(model.graph.value(id).name);
    std::erase_if(model.parameters, [&](const auto& p) { return !kept.contains(p.first); });
    std::set<std::string_view> read;
    for (const FileNode& node : file_.graph.nodes)
      read.insert(node.inputs.begin(), node.inputs.end());
    for (const Tensor& tensor : file_.graph.initializers) {
      if (!read.contains(tensor.name)) model.unused_tensors.emplace_back(tensor.name);
    }
    for (auto& buffer : state_.buffers.take()) model.buffers.push_back(std::move(buffer));
    model.config = {{"opset", state_.opset}, {"producer", printable(file_.producer)}};
    read_metadata();
  }

  void read_metadata() {
    constexpr uint64_t kMaxBytes = 1 << 16;
    for (const std::string_view name : kMetadataNames) {
      const auto it = file_.metadata.find(fmt::format("{}{}", kMetadataPrefix, name));
      if (it == file_.metadata.end()) continue;
      const std::string what = fmt::format("{}: metadata '{}'", state_.file, it->first);
      state_.model.metadata[std::string(name)] = parse_json_text(it->second, what, kMaxBytes);
    }
  }

  static std::string printable(std::string_view text) {
    std::string result;
    for (const char c : text.substr(0, 200)) result += c >= ' ' && c < 0x7f ? c : '_';
    return result;
  }

  const File& file_;
  ExternalData& external_;
  const std::map<std::string, std::string, std::less<>>& values_;
  ImportState state_;
};

}  // namespace

Model read_onnx(std::span<const std::byte> bytes, const std::string& name, const fs::path& folder,
                const std::map<std::string, std::string, std::less<>>& values) {
  const File file = read_file(bytes, name);
  ExternalData external(name, folder);
  for (const Tensor& tensor : file.graph.initializers) {
    if (tensor.is_external) external.bytes(tensor);
  }
  Model model;
  model.path = name;
  model.format = "onnx";
  uint64_t total = bytes.size() + external.mapped_bytes();
  for (const auto& [input, message] : values) total += message.size();
  Import(model, name, file, total, external, values).run();
  model.files = external.files();
  return model;
}

Model open_onnx(const fs::path& path) {
  const auto mapped = std::make_shared<MappedFile>(path);
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  Model model = read_onnx(mapped->bytes(), path.string(), folder);
  model.path = path;
  model.files.push_back(mapped);
  return model;
}

}  // namespace bitsmith

// Transform `permute`: channels between layers in an order that lets alike ones share a group.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/error.h"
#include "transforms/edits.h"
#include "transforms/layer_inputs.h"
#include "transforms/transform.h"

namespace bitsmith {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);

// Channels that must keep the same order wherever they occur: axes of values that nodes join.
struct ChannelSet {
  int64_t channels = 0;
  // Channels stay within runs of this many (heads); 0: they go anywhere.
  int64_t run = 0;
  // They are those of another set, `base`, each run repeated this often (query heads that share a
  // value head).
  size_t base = kNone;
  int64_t repeat = 1;
  bool fixed = false;
  std::vector<double> key = {};     // [channels], the sum over what reads them
  std::vector<int64_t> order = {};  // [channels]: channel i becomes what channel order[i] was
};

// Finds which axes can be reordered. An axis is the last one of a value, or the rows of a matrix.
// Axes are joined where a node reads and makes the same channels; whatever a node does not let pass
// in any order is fixed.
class ChannelSets {
 public:
  explicit ChannelSets(const Network& network)
      : network_(network), graph_(network.graph), parents_(2 * graph_.values.size()) {
    std::iota(parents_.begin(), parents_.end(), size_t{0});
    sets_.resize(parents_.size());
    for (size_t v = 0; v < graph_.values.size(); ++v) {
      const Value& value = graph_.values[v];
      sets_[v].channels = value.shape.empty() ? 1 : value.shape.back();
      sets_[rows_axis(static_cast<ValueId>(v))].channels = value.shape.empty() ? 1 : value.shape[0];
    }
    for (const Node& node : graph_.nodes) visit(node);
    for (const ValueId id : graph_.inputs) fix(axis(id));
    for (const ValueId id : graph_.outputs) fix(axis(id));
    settle_repeats();
  }

  static size_t axis(ValueId id) { return static_cast<size_t>(id); }
  size_t rows_axis(ValueId id) const { return graph_.values.size() + static_cast<size_t>(id); }

  ChannelSet& of(size_t axis) { return sets_[root(axis)]; }
  bool is_root(size_t axis) { return root(axis) == axis; }
  size_t axes() const { return parents_.size(); }

  // Channel c of a set as a channel of the set whose order it has.
  static int64_t source(const ChannelSet& set, int64_t c) {
    if (set.base == kNone) return c;
    return c / (set.run * set.repeat) * set.run + c % set.run;
  }

 private:
  size_t root(size_t axis) {
    while (parents_[axis] != axis) axis = parents_[axis] = parents_[parents_[axis]];
    return axis;
  }

  void fix(size_t axis) { of(axis).fixed = true; }

  void join(size_t a, size_t b) {
    const size_t x = root(a);
    const size_t y = root(b);
    if (x == y) return;
    ChannelSet& kept = sets_[x];
    const ChannelSet& gone = sets_[y];
    const bool even = kept.channels == gone.channels &&
                      (kept.base == gone.base || kept.base == kNone || gone.base == kNone) &&
                      (kept.run == gone.run || kept.run == 0 || gone.run == 0);
    kept.fixed = kept.fixed || gone.fixed || !even;
    kept.run = std::max(kept.run, gone.run);
    if (kept.base == kNone) {
      kept.base = gone.base;
      kept.repeat = gone.repeat;
    }
    parents_[y] = x;
  }

  bool is_parameter(ValueId id) const {
    return id != kNoValue && graph_.value(id).kind == ValueKind::kParameter;
  }

  void visit(const Node& node) {
    static const std::set<std::string, std::less<>> kElementwise = {
        "add",  "subtract", "multiply", "divide",    "relu",       "sigmoid",      "scale",
        "silu", "tanh",     "gelu",     "gelu_tanh", "hard_swish", "round_tokens", "soft_cap"};
    const ValueId y = node.outputs.at(0);
    const int64_t channels = sets_[axis(y)].channels;
    const auto spans_channels = [&](ValueId id) {
      return id == kNoValue || sets_[axis(id)].channels == channels;
    };
    if (node.op == "linear" && is_parameter(node.inputs[1])) {
      join(axis(node.inputs[0]), axis(node.inputs[1]));
      join(rows_axis(node.inputs[1]), axis(y));
      if (node.inputs[2] != kNoValue) join(axis(node.inputs[2]), axis(y));
    } else if (node.op == "embedding" && is_parameter(node.inputs[1])) {
      fix(rows_axis(node.inputs[1]));
      join(axis(node.inputs[1]), axis(y));
    } else if (node.op == "attention") {
      fix(axis(node.inputs[0]));
      fix(axis(node.inputs[1]));
      mix(node);
    } else if ((kElementwise.contains(node.op) || node.op == "rms_norm" ||
                node.op == "layer_norm") &&
               std::ranges::all_of(node.inputs, spans_channels)) {
      for (const ValueId id : node.inputs) {
        if (id != kNoValue) join(axis(id), axis(y));
      }
    } else {
      for (const ValueId id : node.inputs) {
        if (id == kNoValue) continue;
        fix(axis(id));
        if (is_parameter(id)) fix(rows_axis(id));
      }
      fix(axis(y));
    }
  }

  // What attention mixes has the channels of the values, head by head.
  void mix(const Node& node) {
    const size_t values = axis(node.inputs[2]);
    const size_t mixed = axis(node.outputs[0]);
    const int64_t run = node.integer("head_dim");
    ChannelSet& from = of(values);
    from.fixed = from.fixed || (from.run != 0 && from.run != run);
    from.run = run;
    ChannelSet& to = of(mixed);
    to.fixed = to.fixed || to.base != kNone || to.run != 0;
    to.run = run;
    to.base = values;
    to.repeat = node.integer("heads") / node.integer("kv_heads");
  }

  void settle_repeats() {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t a = 0; a < axes(); ++a) {
        if (!is_root(a) || sets_[a].base == kNone) continue;
        sets_[a].base = root(sets_[a].base);
        ChannelSet& base = sets_[sets_[a].base];
        const bool fixed = sets_[a].fixed || base.fixed || base.base != kNone;
        changed = changed || fixed != sets_[a].fixed || fixed != base.fixed;
        sets_[a].fixed = base.fixed = fixed;
      }
    }
  }

  const Network& network_;
  const Graph& graph_;
  std::vector<size_t> parents_;  // [axes], of a union-find structure
  std::vector<ChannelSet> sets_;
};

class Permute final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics(const Options& options) const override {
    return options.text("by") == "inputs";
  }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    ChannelSets sets(network);
    add_keys(network, sets, options.text("by") == "inputs", pool);
    for (size_t a = 0; a < sets.axes(); ++a) {
      if (sets.is_root(a) && sets.of(a).base == kNone) sort(sets.of(a));
    }
    for (size_t a = 0; a < sets.axes(); ++a) {
      ChannelSet& set = sets.of(a);
      if (!sets.is_root(a) || set.base == kNone || set.fixed) continue;
      repeat(sets.of(set.base), set);
    }
    bool any = false;
    for (const ValueId id : network.graph.parameters()) {
      const ChannelSet& columns = sets.of(ChannelSets::axis(id));
      if (!columns.order.empty()) network.edit(id, edits::reorder_inputs(columns.order));
      any = any || !columns.order.empty();
      if (network.graph.value(id).shape.size() != 2) continue;
      const ChannelSet& rows = sets.of(sets.rows_axis(id));
      if (!rows.order.empty()) network.edit(id, edits::reorder_outputs(rows.order));
    }
    if (!any) {
      fail(ErrorCode::kUnsupported,
           "transform 'permute': the network has no channels between layers that could stand in "
           "another order");
    }
  }

 private:
  // Of all matrices that read a set's channels, each as much as any other: the squared norm of its
  // columns, or the mean square of what it multiplies.
  static void add_keys(const Network& network, ChannelSets& sets, bool inputs, ThreadPool& pool) {
    for (size_t n = 0; n < network.graph.nodes.size(); ++n) {
      const Node& node = network.graph.nodes[n];
      if (node.op != "linear" && (node.op != "embedding" || inputs)) continue;
      ChannelSet& set = sets.of(ChannelSets::axis(node.inputs[1]));
      if (set.fixed) continue;
      ChannelSet& base = set.base == kNone ? set : sets.of(set.base);
      base.key.resize(static_cast<size_t>(base.channels));
      if (inputs && network.layer_inputs == nullptr) continue;
      std::vector<double> squares(static_cast<size_t>(set.channels));
      const size_t cols = squares.size();
      if (inputs) {
        const std::vector<double>& moment = network.layer_inputs->second_moment(n);
        for (size_t c = 0; c < cols; ++c) squares[c] = moment[c * cols + c];
      } else {
        const std::vector<float> weights = network.values(node.inputs[1], pool);
        for (size_t i = 0; i < weights.size(); ++i) {
          squares[i % cols] += static_cast<double>(weights[i]) * static_cast<double>(weights[i]);
        }
      }
      const double sum = std::accumulate(squares.begin(), squares.end(), 0.0);
      for (size_t c = 0; c < cols && sum > 0; ++c) {
        const int64_t source = ChannelSets::source(set, static_cast<int64_t>(c));
        base.key[static_cast<size_t>(source)] += squares[c] / sum;
      }
    }
  }

  // Falling keys, within runs. Sets that no matrix reads stay as they are.
  static void sort(ChannelSet& set) {
    if (set.fixed || set.key.empty()) return;
    set.order.resize(set.key.size());
    std::iota(set.order.begin(), set.order.end(), int64_t{0});
    const int64_t run = set.run > 0 ? set.run : set.channels;
    for (auto begin = set.order.begin(); begin < set.order.end(); begin += run) {
      std::stable_sort(begin, begin + run, [&](int64_t a, int64_t b) {
        return set.key[static_cast<size_t>(a)] > set.key[static_cast<size_t>(b)];
      });
    }
  }

  static void repeat(const ChannelSet& base, ChannelSet& set) {
    if (base.order.empty()) return;
    set.order.resize(static_cast<size_t>(set.channels));
    for (int64_t c = 0; c < set.channels; ++c) {
      const int64_t within = base.order[static_cast<size_t>(ChannelSets::source(set, c))];
      set.order[static_cast<size_t>(c)] = c / set.run * set.run + within % set.run;
    }
  }

  PartInfo info_{
      .id = "permute",
      .summary = "channels between layers sorted, so that alike ones share a group of a code",
      .source =
          "Trukhanov, Soloveychik 2024 (Accurate Block Quantization in LLMs with Outliers), "
          "arXiv:2403.20137, whose order of channels is found when a model is compiled; Yuan et "
          "al. "
          "2023 (RPTQ), arXiv:2304.01089; differs: sorted, not clustered; the residual stream, "
          "products and values, not keys, whose order rotary embeddings fix",
      .options = {{"by",
                   std::string("weights"),
                   "weights: of falling norm of the columns that read a channel; inputs: of "
                   "falling mean square of the activation, which is GPTQ's activation order with "
                   "groups that follow it",
                   -1e300,
                   1e300,
                   {"weights", "inputs"}}}};
};

const Registration<Transform, Permute> registration;

}  // namespace
}  // namespace bitsmith

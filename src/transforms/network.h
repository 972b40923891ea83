// A network on its way to an equivalent one: its graph, and what becomes of its parameters.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "formats/model.h"

namespace bitsmith {

class LayerInputs;

// Changes a whole parameter in place.  weights [rows, cols] row-major; a vector is one row.
// Same bits for any number of threads.
using ParameterEdit =
    std::function<void(std::span<float> weights, const MatrixShape& shape, ThreadPool& pool)>;

// An edit, and which of the parameter's first rows and columns are kept.
struct ParameterChange {
  ParameterEdit edit;
  MatrixShape before;
  MatrixShape after;
};
// In order.  weights [rows, cols] row-major, as before the first
void apply_changes(const std::vector<ParameterChange>& changes, std::vector<float>& weights,
                   ThreadPool& pool);

// Where a value is read.
struct Use {
  size_t node = 0;   // index in Graph::nodes
  size_t input = 0;  // index in Node::inputs
};

class Network {
 public:
  // `model` must outlive the network.
  explicit Network(const Model& model) : graph(model.graph), model_(model) {}

  Graph graph;

  // For transforms that read statistics, used but not owned; nullptr while a job is planned.
  LayerInputs* layer_inputs = nullptr;
  // How matrices will be coded, by name (the first way, of several), with layer_inputs; those that
  // stay as they are are not in it.
  std::map<std::string, Scheme> codes;

  // Edits are applied in the order in which they were added, to the parameter as it is in the
  // model, or as it was given; what an edit refers to must live as long as the network. Edits of
  // rows and of columns commute.
  //   kept: the parameter's extents afterwards, its first rows and columns; empty: all of them
  void edit(ValueId parameter, ParameterEdit edit, const Shape& kept = {});

  // Gives a parameter these values, whatever it was or if it was not in the model; earlier edits
  // are forgotten. A vector may get another length.
  void set(ValueId parameter, std::vector<float> values);

  // Adds a parameter with these values of a name that is not taken. They depend on statistics: it
  // is stored as float32, whatever they are while the job is planned.
  ValueId add_computed(const std::string& name, const Shape& shape, std::vector<float> values,
                       const std::string& role);

  // A parameter's values as edited so far; for vectors.
  std::vector<float> values(ValueId parameter, ThreadPool& pool) const;

  // A new parameter [values.size()] of a name that is not taken; that name's parameter if there is
  // one with the same values.
  ValueId vector_parameter(const std::string& name, const std::vector<float>& values,
                           const std::string& role);

  // Who makes each activation, and who reads each value. Valid until nodes are added or moved.
  std::vector<size_t> producers() const;       // [values]; graph.nodes.size() if none
  std::vector<std::vector<Use>> uses() const;  // [values]; without the graph's outputs
  bool is_output(ValueId value) const;

  // Puts the nodes that were appended since there were `count` of them right after the node that
  // makes their first input.
  void place_new_nodes(size_t count);

  bool changed() const { return !edits_.empty() || !given_.empty(); }
  // Parameters whose values are not those of the model, and how to get them: given values first,
  // then edits.
  const std::map<std::string, std::vector<ParameterChange>>& edits() const { return edits_; }
  const std::map<std::string, std::vector<float>>& given() const { return given_; }
  bool is_computed(const std::string& name) const { return computed_.contains(name); }

 private:
  const Model& model_;
  std::map<std::string, std::vector<ParameterChange>> edits_;
  std::map<std::string, std::vector<float>> given_;
  std::set<std::string> computed_;
};

}  // namespace bitsmith

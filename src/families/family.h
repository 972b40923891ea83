// Model families: from a Hugging Face config.json to a graph.
#pragma once

#include <nlohmann/json.hpp>

#include "graph/graph.h"

namespace bitsmith {

// A family is one file that registers the graph of one `model_type`.
class Family {
 public:
  static const char* kind() { return "model family"; }
  virtual ~Family() = default;
  virtual const PartInfo& info() const = 0;  // id = model_type
  // Input "tokens" [B, T] -> output logits [B, T, V]. Parameters carry the names that they have in
  // the safetensors files. Throws kCorrupt for missing or senseless fields.
  virtual Graph build(const nlohmann::json& config) const = 0;
  // The graph's parameters of the role "norm" are gains. Hugging Face's files hold gains minus
  // this: 1 if the family multiplies by 1 + w.
  virtual float norm_offset() const { return 0; }
};

// Finds the family by config["model_type"]; kUnsupported with the list of families otherwise.
const Family& family_of(const nlohmann::json& config);
Graph build_graph(const nlohmann::json& config);

}  // namespace bitsmith

// Which equivalent network is easier to code: the interface of every transform.
#pragma once

#include "core/registry.h"
#include "core/thread_pool.h"

namespace bitsmith {

class Network;

// Rewrites a network into one that computes the same function, up to rounding, from weights that
// lose less when they are coded. Works on any graph: what to change is found by following values,
// never by names or roles.
class Transform {
 public:
  static const char* kind() { return "transform"; }
  virtual ~Transform() = default;
  virtual const PartInfo& info() const = 0;

  // Whether it reads network.layer_inputs: then it comes before all other transforms.
  virtual bool needs_statistics(const Options& /*options*/) const { return false; }

  // Changes the same parameters, and the graph in the same way, whether network.layer_inputs is
  // there or not (as where a job is planned). Throws kUnsupported if there is nothing in the graph
  // that it could change.
  virtual void apply(Network& network, const Options& options, ThreadPool& pool) const = 0;
};

}  // namespace bitsmith

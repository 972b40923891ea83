// A network as a classifier of images, by the native executor.
#pragma once

#include <memory>

#include "evaluation/accuracy.h"
#include "formats/model.h"
#include "runtime/network/network_executor.h"

namespace bitsmith {

// What a classifier says before a softmax over all classes, if that is what the graph ends with;
// else its output.
ValueId logits_of(const Graph& graph);

class NetworkClassifier {
 public:
  // A softmax at the end is left out: its input are the logits. Throws kUnsupported for networks of
  // more than one input or output.
  NetworkClassifier(Model model, ThreadPool& pool, Products products = Products::kAuto);

  // Logits [count, classes] of inputs [count, input elements]. Networks made for a fixed number of
  // images get the last image repeated. kInvalidArgument if the inputs do not fit.
  std::vector<float> operator()(std::span<const float> inputs, int64_t count);

  const Shape& input() const { return executor_->inputs()[0]; }  // the first extent may be kBatch
  int64_t classes() const { return classes_; }
  NetworkExecutor& executor() { return *executor_; }

 private:
  std::unique_ptr<NetworkExecutor> executor_;
  int64_t classes_ = 0;
};

}  // namespace bitsmith

// A network whose parameters are trained: the numbers the optimizer changes, and what of them is
// held.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/model.h"
#include "reference/torch.h"

namespace bitsmith {

// A parameter of the network while it is trained. The network sees value(); the optimizer changes
// `numbers`. Three mechanisms work on any weights, whatever will code them:
//   free     value = numbers
//   held     value = numbers, but where `held` is set it is `held_values`: zero for pruned weights,
//            what a codec made of them for quantized ones
//   shared   value[i] = numbers[codes[i]], or 0 where codes[i] = -1: a table of shared numbers
struct TunedParameter {
  ValueId id = kNoValue;
  std::string name;
  Shape shape;
  bool is_matrix = false;  // weights of a conv or linear layer: what is pruned and coded
  at::Tensor numbers;      // float32, of `shape`; shared: [table]

  at::Tensor held;         // bool, of `shape`; undefined: nothing is held
  at::Tensor held_values;  // float32, of `shape`
  // Held numbers go on learning what their gradient says although the network does not see them
  // (straight through), so that a pruned weight can come back (Guo et al. 2016, eq. 3).
  bool held_learn = false;

  at::Tensor codes;  // int64, of `shape`; undefined: not shared

  // Of the optimizer; zero at first and after reset().
  at::Tensor first_moment;
  at::Tensor second_moment;

  at::Tensor value() const;
  // The derivative by `numbers`, given that by value(); of a shared number: the sum over its
  // weights (Han et al. 2016, eq. 3).
  at::Tensor gradient(const at::Tensor& of_value) const;
  // Sets what is trained and forgets the optimizer's moments.
  void reset(at::Tensor new_numbers);
  int64_t held_count() const;
};

class TunedNetwork {
 public:
  // Takes the floating-point parameters of a classifier of one input and one output. Batch norms
  // are folded first, so that what is trained is what will be coded: weights and biases; the
  // statistics of the norms stay as they are (at the rates of fine-tuning they hardly move, and
  // statistics of small batches would depend on how batches are cut). A softmax at the end goes:
  // losses are of logits.
  explicit TunedNetwork(Model model);

  const Graph& graph() const { return model_.graph; }
  const Model& model() const { return model_; }
  const Shape& input() const;
  std::vector<TunedParameter>& parameters() { return parameters_; }
  const std::vector<TunedParameter>& parameters() const { return parameters_; }
  std::vector<TunedParameter*> matrices();
  // Of the batch norms that were folded, see tuning/slimming.h.
  const std::map<std::string, std::vector<float>>& norm_scales() const { return norm_scales_; }

  // The network with the present values as its parameters, float32.
  Model to_model() const;

 private:
  Model model_;
  std::vector<TunedParameter> parameters_;
  std::map<std::string, std::vector<float>> norm_scales_;
};

// Gives a parameter of `model` other numbers, float32.
void replace_parameter(Model& model, const std::string& name, const at::Tensor& values);

}  // namespace bitsmith

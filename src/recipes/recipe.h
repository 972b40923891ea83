// Recipes: a published method, or a mix of methods, as data.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "allocation/allocator.h"
#include "calibration/observer.h"
#include "codecs/codec.h"
#include "encoding/entropy_coder.h"
#include "recipes/tuning_step.h"
#include "residuals/residual.h"
#include "solvers/solver.h"
#include "transforms/transform.h"

namespace bitsmith {

// A method chosen by name, with its options.
template <class Part>
struct Chosen {
  const Part* part = nullptr;
  Options options;
};

// Activations of image networks as codes.
struct ActivationCodes {
  int bits = 8;
  Chosen<ObserverMethod> observer;  // of images; nullptr: ranges come from batch norms
  double sigmas = 0;                // then: how far they reach
  bool correct_biases = false;      // of the errors of coded weights
  bool reestimate = false;          // means layer after layer: MeanInputs::kCoded
};

// What [[except]] tables tell layers apart by.
struct LayerTraits {
  bool is_end = false;        // it has the first or the last matrix
  bool is_depthwise = false;  // a convolution of one channel each
  bool is_small = false;      // see is_small_layer()
};

// Less than a hundredth of the weights of all matrices.
inline bool is_small_layer(int64_t weights, int64_t all) { return 100 * weights < all; }

// Layers that get other codes than the rest.
struct CodeException {
  bool LayerTraits::*layers = nullptr;  // those that have this
  Scheme scheme;
};

// What the paper says that its method does, and what came out here.
struct Claim {
  std::string paper;
  std::string measured;  // model, code, numbers; or why it cannot be measured
  std::string verdict;   // one of verdicts()
};

// "reproduced", "partly", "not reproduced", "not measured".
const std::vector<std::string>& verdicts();

struct Recipe {
  std::string id;
  std::string summary;
  std::string source;  // paper
  std::optional<Claim> claim;
  std::vector<Chosen<Transform>> transforms;  // in order, before anything is coded
  std::vector<Chosen<TuningStep>> tuning;     // in order, of networks of images; none: no training
  std::vector<Scheme> candidates;  // what each matrix may be coded with; none: it is kept as it is
  std::vector<CodeException> exceptions;  // the last one that a layer belongs to counts
  Chosen<Solver> matrix_solver;           // for weights of linear layers
  Chosen<Solver> table_solver;            // for embeddings, whose input is one-hot
  Chosen<Residual> residual;              // beside each coded linear layer; nullptr: none
  Chosen<Allocator> allocator;
  std::optional<ActivationCodes> activations;
  int token_bits = 0;  // of language models' activations, rounded per token; 0: they are not
  Chosen<EntropyCoder> entropy_coder;  // of the finished file; nullptr: none
  int64_t sequences = 0;               // of calibration text; 0: none is needed
  int64_t length = 0;                  // tokens each; 0: the model's context, at most 512
  nlohmann::json definition;           // all but the claim, as it goes into the checkpoint

  // The candidates of a matrix, exceptions applied.
  std::vector<Scheme> candidates_for(const LayerTraits& layer) const;
};

// `name` is a built-in recipe or the path of a TOML file. `overrides` are "key.path=value" with a
// TOML value, applied before anything is checked: "code.bits=3", "solve.matrices.damping=0.02".
// Throws kNotFound, kCorrupt (TOML) or kInvalidArgument, naming the key.
Recipe load_recipe(const std::string& name, const std::vector<std::string>& overrides);

// The built-in recipes, in order of id.
struct BuiltInRecipe {
  std::string_view id;
  std::string_view toml;
};
std::vector<BuiltInRecipe> built_in_recipes();

}  // namespace bitsmith

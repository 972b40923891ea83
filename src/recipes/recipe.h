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
};

// Layers that get other codes than the rest.
struct CodeException {
  enum class Layers { kEnds, kDepthwise };  // the first and the last matrix; one channel each
  Layers layers = Layers::kEnds;
  Scheme scheme;
};

struct Recipe {
  std::string id;
  std::string summary;
  std::string source;                         // paper
  std::vector<Chosen<Transform>> transforms;  // in order, before anything is coded
  std::vector<Chosen<TuningStep>> tuning;     // in order, of networks of images; none: no training
  std::vector<Scheme> candidates;  // what each matrix may be coded with; none: it is kept as it is
  std::vector<CodeException> exceptions;  // the last one that a layer belongs to counts
  Chosen<Solver> matrix_solver;           // for weights of linear layers
  Chosen<Solver> table_solver;            // for embeddings, whose input is one-hot
  Chosen<Allocator> allocator;
  std::optional<ActivationCodes> activations;
  Chosen<EntropyCoder> entropy_coder;  // of the finished file; nullptr: none
  int64_t sequences = 0;               // of calibration text; 0: none is needed
  int64_t length = 0;                  // tokens each; 0: the model's context, at most 512
  nlohmann::json definition;           // all of it, as it goes into the checkpoint

  // The candidates of a matrix, exceptions applied.
  //   is_end: it is the first or the last;  is_depthwise: of a convolution of one channel each
  std::vector<Scheme> candidates_for(bool is_end, bool is_depthwise) const;
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

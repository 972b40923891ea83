// Measures a model on a text, alone or side by side with the original.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "core/progress.h"
#include "evaluation/divergence.h"
#include "evaluation/perplexity.h"
#include "evaluation/windows.h"
#include "runtime/executor.h"

namespace bitsmith {

struct Evaluation {
  int64_t windows = 0;
  int64_t context = 0;  // tokens of the longest window
  Perplexity model;
  std::optional<Perplexity> original;
  std::optional<Divergence> divergence;  // if there is an original

  nlohmann::json to_json() const;
};

// Several windows run in one batch as far as max_batch_tokens() allows; longer windows run in
// pieces. Both models see a batch before the next is made, so that memory does not grow with the
// text. The same figures for any number of threads. Throws kInvalidArgument if the vocabularies
// differ, kCorrupt if a model's logits are not finite.
//   original: nullptr measures the perplexity of `model` only
Evaluation evaluate(Executor& model, Executor* original, const Windows& windows,
                    Progress& progress);

// The context to measure in if nobody says otherwise: max_position_embeddings of the model's
// config.json, at most 2048; 2048 if it is not there.
int64_t default_context(const Model& model);

// A batch size that keeps a batch's logits below some 128 MB and is worth the kernels' while.
int64_t evaluation_batch_tokens(const Model& model, int64_t context);

}  // namespace bitsmith

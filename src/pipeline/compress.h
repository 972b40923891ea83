// From a model and a budget to a checked checkpoint: the order of all steps.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "evaluation/accuracy.h"
#include "evaluation/evaluate.h"
#include "pipeline/encode.h"
#include "pipeline/plan.h"
#include "runtime/network/arithmetic.h"

namespace bitsmith {

struct CompressRequest {
  std::filesystem::path model;
  std::filesystem::path output;     // empty for plan(): nothing is written
  std::string format = "bitsmith";  // or "gguf": the kind of file
  // A type or a mixture of types of the format, for all matrices ("Q4_K_M"), instead of the
  // recipe's candidates; empty: those.
  std::string type;
  Budget budget;
  std::string recipe = "gptq-mix";
  std::vector<std::string> overrides;  // of the recipe: "code.bits=3"
  std::filesystem::path calibration;   // a text, or images; empty: sampled from a language model
  std::optional<CalibrationImages> images;  // opened, if `calibration` holds images
  std::filesystem::path imatrix;  // an importance matrix of llama.cpp instead of a calibration text
  uint64_t ram_bytes = uint64_t{4} << 30;
  int threads = 0;  // 0: all processors
  uint64_t seed = 1;
  std::string device = "cpu";  // or "cuda"
  bool restart = false;        // forget what an earlier run left
};

// One row per matrix of a plan or a result.
struct MatrixReport {
  std::string name;
  std::string role;
  Shape shape;
  std::string scheme;
  uint64_t bytes = 0;
  double bpw = 0;
  std::string restriction;  // which of the recipe's codes its shape does not allow, or empty
  std::optional<double> predicted_kl_nats;
  std::optional<double> relative_mse;  // sum (w - q)² / sum w², measured on the written file
};

struct CompressReport {
  Plan plan;
  std::vector<MatrixReport> matrices;
  std::string recipe;
  bool planned = false;       // nothing was written
  uint64_t tensor_bytes = 0;  // as the file holds them; for plans before entropy coding
  uint64_t file_bytes = 0;    // of the written file; for plans an upper estimate
  // By the native executor, on probes that no code was fitted to: of a language model, or of a
  // classifier of images.
  std::optional<Evaluation> quality;
  std::optional<ClassifierEvaluation> accuracy;
  // With the recipe's [activations]: how many values became codes, and what that makes of the
  // network.
  int coded_activations = 0;
  int corrected_biases = 0;
  std::optional<NetworkArithmetic> arithmetic;
  // Of this run; the survey takes next to nothing if an earlier run finished it.
  double survey_seconds = 0;
  double encode_seconds = 0;
  double total_seconds = 0;
  // How long compressing takes without a stop, known before coding begins: what came before it as
  // measured, the rest from WorkTimes. 0 for recipes that train: their progress bar says it as they
  // go.
  double estimated_seconds = 0;
  uint64_t estimated_memory_bytes = 0;
  uint64_t peak_memory_bytes = 0;  // measured
  bool resumed = false;
  double earlier_seconds = 0;  // of earlier runs, until their last finished steps
  double bpw() const;          // of all parameters, as the file holds them
  nlohmann::json to_json() const;
};

CompressReport plan_only(const CompressRequest& request, Progress& progress);

// Writes request.output. While it works, `<output>.partial/` holds finished steps; the same request
// again goes on from there. The written file is reopened and compared with the plan and with what
// was encoded, sizes, checksums, finite values, each tensor's error, before it gets its name.
CompressReport compress(const CompressRequest& request, Progress& progress);

}  // namespace bitsmith

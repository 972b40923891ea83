// A request that has been looked at: everything that is decided before work starts, and the steps
// that compress, plan and sweep share.
#pragma once

#include <map>
#include <optional>

#include "evaluation/evaluate.h"
#include "pipeline/code_activations.h"
#include "pipeline/compress.h"
#include "pipeline/memory.h"
#include "pipeline/output_format.h"
#include "pipeline/residual_branches.h"
#include "transforms/network.h"

namespace bitsmith {

struct Job {
  explicit Job(const CompressRequest& request);

  const CompressRequest& request;
  const OutputFormat& format;
  Recipe recipe;
  Model original;                        // as it was opened
  Model folded;                          // the same with batch norms in the layers before them
  Network network;                       // what the recipe's transforms make of that
  std::vector<ResidualBranch> branches;  // beside layers of the model, in order
  // The equivalent network that is coded; the original if there are no transforms and no residual.
  // Bytes of parameters that transforms change are there after transform().
  Model model;
  std::vector<Block> blocks;
  std::vector<MatrixTask> tasks;
  at::Device device;
  uint64_t overhead_bytes;  // of the file beside parameters; of some formats an upper estimate
  uint64_t activation_bytes = 0;  // of the parameters that code_activations() will add
  std::vector<std::vector<float>> input_squares;  // of the request's importance matrix, see Context

  bool has_choice() const { return recipe.candidates.size() > 1; }
  // Whether the outputs are those of a language model or a classifier, so that there is a KL.
  bool has_logits() const;
  // The recipe's codes for a task, exceptions applied.
  std::vector<Scheme> candidates_of(size_t task) const;
  // What a budget leaves for parameters that are in the model already; nullopt if there is none.
  std::optional<uint64_t> matrix_budget(const Budget& budget) const;

  // What identifies the job: with the same key the same bytes come out, so its records can be used.
  nlohmann::json key() const;

  // What the job takes at one time. `calibration`: its sizes, nullptr if the recipe needs none.
  // surveyed: as plan and sweep always do, compress if there is a choice
  MemoryEstimate memory(const CalibrationSet* calibration, bool surveyed) const;
  // Throws kImpossibleBudget, before any work, if --ram is too little.
  void check_ram(bool surveyed) const;

  void check_output() const;  // check_output_of() the original

  CalibrationRequest calibration_request() const;
  // The calibration text; nullopt if the recipe needs none. Checks the model's weights on the way,
  // before any work: kCorrupt if one is not finite.
  std::optional<CalibrationSet> calibrate(ThreadPool& pool, Progress& progress) const;

  // Computes the parameters that transforms change into a file in the workspace, if it is not there
  // from an earlier run. To be called before the first step, when weights have been checked.
  //   calibration: nullptr if the recipe needs none
  void transform(Workspace& workspace, const CalibrationSet* calibration, ThreadPool& pool,
                 Progress& progress);

  // What the steps work with; `workspace` holds what spills.
  Context context(ThreadPool& pool, Progress& progress, Workspace& workspace,
                  const CalibrationSet* calibration, bool surveyed) const;

  // Throws kImpossibleBudget, before any work, if the smallest candidates exceed the budget.
  void check_budget(const Budget& budget) const;
  Survey survey(const Context& context, const CalibrationSet& calibration, double bits) const;
  // `survey` may be nullptr if there is no choice.
  Plan plan(const Context& context, const Budget& budget, const CalibrationSet* calibration,
            const Survey* survey) const;

  // The parameters of the compressed model: coded matrices, and the rest as it was.
  std::map<std::string, CodedTensor> parameters(const std::vector<EncodedMatrix>& encoded) const;

  // A report that says what the plan says.
  CompressReport report(const Plan& plan) const;
};

// Throws, before any work: kEnvironment if the output cannot be written, kInvalidArgument if it is
// one of the model's own files.
void check_output_of(const Model& model, const std::filesystem::path& output);

// A file's name, size and time, for keys of jobs: other contents have others. kNotFound.
nlohmann::json file_identity(const std::filesystem::path& path);

// The bits per weight that a budget amounts to; 4 if there is none.
double target_bits(const Job& job, const Budget& budget);

// A model that was compressed, not yet written: its codes lie in a workspace.
struct Compressed {
  Plan plan;
  std::vector<EncodedMatrix> matrices;
};

// Survey (if there is a choice), plan and codes. `job` is transformed; `calibration` is nullptr if
// the recipe needs none.
Compressed compress_into(const Job& job, const Budget& budget, const CalibrationSet* calibration,
                         Workspace& workspace, ThreadPool& pool, Progress& progress);

// The probes of a calibration set to evaluate on: as windows of a text, as images.
Windows probe_windows(const CalibrationSet& calibration);
CalibrationImages probe_images(const CalibrationSet& calibration, const CalibrationImages& all);

// The network as it will be written: coded matrices in place and, if the recipe says so,
// activations as codes.
//   calibration: nullptr if the recipe needs none
CodedActivations coded_network(const Job& job, const std::vector<EncodedMatrix>& matrices,
                               const CalibrationSet* calibration, ThreadPool& pool);

// The native executor's quality with `parameters` against the original model.
Evaluation measure_quality(const Job& job, const std::map<std::string, CodedTensor>& parameters,
                           const Windows& windows, ThreadPool& pool, Progress& progress);

// The same on images. Labels count if they are classes of the network and not all the same.
ClassifierEvaluation measure_accuracy(const Model& compressed, const Model& original,
                                      const CalibrationImages& images, ThreadPool& pool,
                                      Progress& progress);

}  // namespace bitsmith

#include "tuning/steps.h"

#include <cmath>

#include "codecs/mask.h"
#include "core/error.h"
#include "reference/executor.h"
#include "tuning/slimming.h"

namespace bitsmith {
namespace {

TuneOptions training_of(const Options& options) {
  TuneOptions result;
  result.epochs = options.number("epochs");
  result.batch = options.integer("batch");
  result.optimizer =
      options.text("optimizer") == "adam" ? OptimizerKind::kAdam : OptimizerKind::kSgd;
  result.rate = options.number("rate");
  result.final_rate = options.number("final_rate");
  result.warmup = options.number("warmup");
  result.weight_decay = options.number("weight_decay");
  result.distillation = options.number("distillation");
  result.temperature = options.number("temperature");
  result.bfloat16 = options.text("precision") == "bfloat16";
  return result;
}

// Trains with the images and options of a step.
TuneResult train(TuningState& state, const Options& options, const TuneOptions& training,
                 const Tuner::BeforeStep& before_step, const std::string& phase) {
  if (training.epochs == 0) return {};
  const TrainingImages images(state.images, state.preprocessing, state.network.input(),
                              state.label_offset, {options.flag("flip"), options.integer("shift")},
                              state.seed);
  Tuner tuner(state.network, &state.teacher, images, state.pool);
  return tuner.train(training, state.first_epoch, before_step, phase, state.progress);
}

TuningResult run_train(TuningState& state, const Options& options) {
  TuningResult result;
  result.training = train(state, options, training_of(options), {}, "train");
  return result;
}

TuningResult run_prune(TuningState& state, const Options& options) {
  PruneOptions pruning;
  pruning.sparsity = options.number("sparsity");
  const std::string& scope = options.text("scope");
  pruning.scope = scope == "layer"    ? PruneScope::kLayer
                  : scope == "global" ? PruneScope::kGlobal
                                      : PruneScope::kLamp;
  pruning.block = options.integer("block");
  pruning.begin = options.number("begin");
  pruning.end = options.number("end");
  pruning.every = options.integer("every");
  pruning.regrow = options.flag("regrow");
  const auto before_step = [&](int64_t done, int64_t total) {
    // Once more after the end, when the last weights have settled; then the mask stays.
    const double end = pruning.end * static_cast<double>(total);
    if (done % pruning.every != 0 || static_cast<double>(done) >= end + 2.0 * pruning.every) return;
    prune(state.network, sparsity_at(pruning, done, total), pruning);
  };
  TuningResult result;
  result.training = train(state, options, training_of(options), before_step, "prune");
  // A schedule of few steps may not have come to its end.
  const Density density = density_of(state.network);
  const double kept = (1 - pruning.sparsity) * static_cast<double>(density.weights);
  if (pruning.block > 0 || std::abs(static_cast<double>(density.kept) - kept) > 1) {
    prune(state.network, pruning.sparsity, pruning);
  }
  return result;
}

void hold_zeros(TunedNetwork& network) {
  for (TunedParameter* parameter : network.matrices()) {
    const at::Tensor zeros = parameter->numbers.eq(0);
    if (!zeros.any().item<bool>()) continue;
    parameter->held = zeros;
    parameter->held_values = at::zeros(parameter->shape);
    parameter->held_learn = false;
  }
}

TuningResult run_slim(TuningState& state, const Options& options) {
  SlimOptions slimming;
  slimming.share = options.number("share");
  slimming.global = options.text("scope") == "global";
  slimming.keep = options.number("keep");
  const Model model = state.network.to_model();
  std::vector<SlimSite> sites = find_slim_sites(model.graph);
  choose_channels(sites, model, state.network.norm_scales(), slimming);
  state.network = TunedNetwork(slimmed(model, sites));
  hold_zeros(state.network);
  TuningResult result;
  result.training = train(state, options, training_of(options), {}, "slim");
  return result;
}

std::map<std::string, Scheme> schemes_of(TuningState& state) {
  std::map<std::string, Scheme> schemes;
  for (const TunedParameter* matrix : state.network.matrices()) {
    schemes[matrix->name] =
        scheme_for(matrix->value(), state.codes.at(matrix->name), state.entropy_coded);
  }
  return schemes;
}

TuneResult train_incrementally(TuningState& state, const Options& options,
                               WeightQuantizer& quantizer) {
  const int64_t halvings = options.integer("halvings");
  TuneOptions training = training_of(options);
  training.epochs /= static_cast<double>(halvings);
  TuneResult result;
  const int64_t first_epoch = state.first_epoch;
  for (int64_t i = 1; i <= halvings; ++i) {
    const double share = 1 - std::exp2(-static_cast<double>(i));
    quantizer.hold_share(share, state.pool);
    result = train(state, options, training, {}, fmt::format("quantize {:.0f} %", 100 * share));
    state.first_epoch += static_cast<int64_t>(std::ceil(training.epochs));
  }
  state.first_epoch = first_epoch;
  return result;
}

TuningResult run_quantize(TuningState& state, const Options& options) {
  WeightQuantizer quantizer(state.network, schemes_of(state),
                            static_cast<int>(options.integer("search")), state.pool);
  TuningResult result;
  if (options.integer("halvings") > 0) {
    result.training = train_incrementally(state, options, quantizer);
    quantizer.hold_share(1, state.pool);
  } else {
    const auto before_step = [&](int64_t, int64_t) { quantizer.hold_straight_through(state.pool); };
    result.training = train(state, options, training_of(options), before_step, "quantize");
    quantizer.hold_straight_through(state.pool);
  }
  for (const auto& [name, matrix] : quantizer.matrices()) {
    result.codes[name] = {matrix.scheme(), matrix.bytes()};
  }
  return result;
}

TuningResult run_share(TuningState& state, const Options& options) {
  for (TunedParameter* parameter : state.network.matrices()) {
    const at::Tensor value = parameter->value();
    const Scheme scheme = scheme_for(value, state.codes.at(parameter->name), state.entropy_coded);
    CodedMatrix matrix(scheme, parameter->shape, value, 0, state.pool);
    parameter->numbers = matrix.quantize(value, state.pool);
    parameter->held = at::Tensor();
    const int64_t numbers = share_values(*parameter);
    constexpr int64_t kMostNumbers = 256;
    if (numbers > kMostNumbers) {
      fail(ErrorCode::kInvalidArgument,
           "the tuning step 'share' needs a code whose values a whole matrix shares (codebook with "
           "scope = \"tensor\"); under {} '{}' has {} values",
           scheme.label(), parameter->name, numbers);
    }
  }
  TuningResult result;
  result.training = train(state, options, training_of(options), {}, "share");
  return result;
}

struct Methods {
  Methods() {
    add("train", run_train);
    add("prune", run_prune);
    add("slim", run_slim);
    add("quantize", run_quantize);
    add("share", run_share);
  }
  static void add(const char* id, TuningResult (*run)(TuningState&, const Options&)) {
    auto method = std::make_unique<TuningMethod>();
    method->part = {id, "", "", {}};
    method->run = run;
    Registry<TuningMethod>::instance().add(std::move(method));
  }
};

const Methods kMethods;

void release(TunedNetwork& network) {
  for (TunedParameter& parameter : network.parameters()) {
    const at::Tensor value = parameter.value().clone();
    parameter.held = at::Tensor();
    parameter.held_values = at::Tensor();
    parameter.held_learn = false;
    parameter.codes = at::Tensor();
    parameter.reset(value);
  }
}

}  // namespace

TuningResult run_tuning_step(const Chosen<TuningStep>& step, TuningState& state) {
  const std::string& id = step.part->info().id;
  use_one_torch_thread();
  if (id != "train") hold_zeros(state.network);
  TuningResult result = Registry<TuningMethod>::instance().get(id).run(state, step.options);
  release(state.network);
  result.density = density_of(state.network);
  return result;
}

int64_t epochs_of(const Chosen<TuningStep>& step) {
  // Parts of a step each begin a new epoch.
  constexpr int64_t kParts = 10;
  return static_cast<int64_t>(std::ceil(step.options.number("epochs"))) + kParts;
}

Scheme scheme_for(const at::Tensor& value, const Scheme& code, bool entropy_coded) {
  const at::Tensor plain = value.contiguous();
  const int64_t n = plain.numel();
  std::vector<uint64_t> mask(static_cast<size_t>(ceil_div(n, 64)));
  int64_t kept = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (plain.data_ptr<float>()[i] == 0) continue;
    mask[static_cast<size_t>(i / 64)] |= uint64_t{1} << (i % 64);
    ++kept;
  }
  const MaskForm form =
      entropy_coded ? MaskForm{0, 0, bitmap_bytes(n)} : smallest_mask_form(mask, n);
  const Scheme pruned("pruned", {{"density", static_cast<double>(kept) / static_cast<double>(n)},
                                 {"gap_bits", form.gap_bits},
                                 {"gaps", form.gaps},
                                 {"inner", code.to_json().dump()}});
  if (kept == n) return code;
  const MatrixShape shape = matrix_shape(plain.sizes().vec());
  const bool smaller = pruned.codec->encoded_bytes(shape, pruned.options) <
                       code.codec->encoded_bytes(shape, code.options);
  return smaller || entropy_coded ? pruned : code;
}

std::map<std::string, TunedCodes> code_matrices(TunedNetwork& network,
                                                const std::map<std::string, Scheme>& codes,
                                                bool entropy_coded, ThreadPool& pool) {
  std::map<std::string, TunedCodes> result;
  for (TunedParameter* parameter : network.matrices()) {
    const at::Tensor value = parameter->value();
    const Scheme scheme = scheme_for(value, codes.at(parameter->name), entropy_coded);
    CodedMatrix matrix(scheme, parameter->shape, value, 0, pool);
    parameter->reset(matrix.quantize(value, pool));
    result[parameter->name] = {matrix.scheme(), matrix.bytes()};
  }
  return result;
}

}  // namespace bitsmith

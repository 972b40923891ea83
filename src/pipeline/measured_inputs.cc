#include "pipeline/measured_inputs.h"

#include "core/error.h"

namespace bitsmith {

MeasuredInputs::MeasuredInputs(const Context& context, const CalibrationSet& calibration,
                               bool products)
    : context_(context),
      calibration_(calibration),
      part_(products ? SecondMoment::Part::kAll : SecondMoment::Part::kDiagonal),
      blocks_(find_blocks_to_logits(context.model.graph)),
      activations_(context.workspace.folder(), context.activation_bytes) {
  for (const MatrixTask& task : find_matrices(context.model, blocks_, {})) {
    for (const MatrixUse& use : task.uses) {
      if (use.table) continue;
      places_[use.node] = {use.block, use.operand};
      sizes_[use.operand] = task.shape().cols;
    }
  }
}

const MeasuredInputs::Measured& MeasuredInputs::at(size_t node) {
  const auto [block, operand] = places_.at(node);
  BITSMITH_ASSERT(block + 1 >= next_);
  while (next_ <= block) measure(next_++);
  return measured_.at(operand);
}

void MeasuredInputs::measure(size_t b) {
  const Graph& graph = context_.model.graph;
  const Block& block = blocks_[b];
  context_.progress.begin(fmt::format("inputs of {}", block.name), 1);
  measured_.clear();
  std::map<size_t, std::unique_ptr<SecondMoment>> sums;
  BlockRun run{&graph, block.begin, block.end, block.input, {}, block.output};
  for (const auto& [node, place] : places_) {
    const auto [of, operand] = place;
    if (of != b || sums.contains(operand)) continue;
    auto& sum = sums[operand] = std::make_unique<SecondMoment>(sizes_.at(operand), part_);
    run.captures.emplace_back(operand, sum.get());
  }
  const SampleInput input = [&](int64_t i) {
    return b > 0 ? activations_.load(i) : sample_tensor(calibration_, i);
  };
  const BlockParameters parameters(context_, block.begin, block.end);
  if (b + 1 == blocks_.size()) {
    run.output = kNoValue;
    run_block(context_, run, parameters, 0, calibration_.count, input);
  } else {
    NextActivations next(activations_, calibration_.count,
                         sample_shape(graph, block.output, calibration_));
    run_block(context_, run, parameters, 0, calibration_.count, input,
              [&](int64_t i, const at::Tensor& value) { next.save(i, value); });
    next.finish();
  }
  for (auto& [operand, sum] : sums) {
    Measured& measured = measured_[operand];
    if (part_ == SecondMoment::Part::kAll) measured.moment = sum->mean();
    for (int64_t i = 0; i < sum->size(); ++i) measured.squares.push_back(sum->mean_diagonal(i));
    measured.spread = sum->spread();
    sum.reset();  // as large as the mean
  }
  context_.progress.end();
}

}  // namespace bitsmith

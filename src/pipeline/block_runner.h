// Runs one block of the graph over all calibration samples with the reference executor.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "calibration/second_moment.h"
#include "pipeline/activations.h"
#include "pipeline/calibration_set.h"
#include "pipeline/context.h"
#include "reference/executor.h"

namespace bitsmith {

// The parameters that nodes [begin, end) use, decoded once to float32 on the device.
class BlockParameters {
 public:
  BlockParameters(const Context& context, size_t begin, size_t end);

  const at::Tensor& get(ValueId id) const { return values_.at(id); }
  // Replaces a parameter by `values` [rows * cols], row-major.
  void set(const Context& context, ValueId id, const std::vector<float>& values);
  ParameterSource source() const;

 private:
  std::map<ValueId, at::Tensor> values_;
};

// Decodes a whole tensor, rows in parallel, into out [rows * cols]; releases the file's pages.
// Throws kCorrupt, naming the tensor, if a weight is not finite.
void decode_tensor(const CodedTensor& tensor, ThreadPool& pool, float* out);
// The same without the values.
void check_finite(const CodedTensor& tensor, ThreadPool& pool);

// What flows into a block for one sample: token ids [1, T] int64 or an image [1, ...] for the
// first, activations [1, ...] for others.
using SampleInput = std::function<at::Tensor(int64_t sample)>;

// One calibration sample as the first block's input.
at::Tensor sample_tensor(const CalibrationSet& calibration, int64_t sample);

struct BlockRun {
  const Graph* graph = nullptr;
  size_t begin = 0;
  size_t end = 0;
  ValueId input = kNoValue;
  // Nodes (MatrixUse::operand) of whose inputs second moments are wanted, with where to add them.
  std::vector<std::pair<size_t, SecondMoment*>> captures = {};
  // The activation to hand to `store`; kNoValue: none.
  ValueId output = kNoValue;
};

// Runs samples [first, first + count) side by side, one torch thread each; second moments are
// added in order of sample, so the result does not depend on the number of threads.
//   store(sample, value) is called from worker threads, once per sample, after its input was
//   read.
void run_block(const Context& context, const BlockRun& run, const BlockParameters& parameters,
               int64_t first, int64_t count, const SampleInput& input,
               const std::function<void(int64_t, const at::Tensor&)>& store = {});

}  // namespace bitsmith

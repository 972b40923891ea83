// Runs one block of the graph over all calibration sequences with the reference executor.
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

// What flows into a block: token ids [1, T] int64 for the first, activations [1, T, C] for others.
using SequenceInput = std::function<at::Tensor(int64_t sequence)>;

// One calibration sequence as the first block's input: [1, length] int64.
at::Tensor token_tensor(const CalibrationSet& calibration, int64_t sequence);

struct BlockRun {
  const Graph* graph = nullptr;
  size_t begin = 0;
  size_t end = 0;
  ValueId input = kNoValue;
  // Values whose second moments are wanted, with where to add them.
  std::vector<std::pair<ValueId, SecondMoment*>> captures = {};
  // The activation to hand to `store`; kNoValue: none.
  ValueId output = kNoValue;
};

// Runs sequences [first, first + count) side by side, one torch thread each; second moments are
// added in order of sequence, so the result does not depend on the number of threads.
//   store(sequence, value) is called from worker threads, once per sequence, after its input was
//   read.
void run_block(const Context& context, const BlockRun& run, const BlockParameters& parameters,
               int64_t first, int64_t count, const SequenceInput& input,
               const std::function<void(int64_t, const at::Tensor&)>& store = {});

}  // namespace bitsmith

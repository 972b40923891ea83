#include "pipeline/block_runner.h"

#include <algorithm>
#include <cmath>

#include "reference/matrix_inputs.h"

namespace bitsmith {
namespace {

// Samples whose captured activations are held at the same time; a constant, so that nothing
// depends on the number of threads.
constexpr int64_t kGroup = 4;

constexpr int64_t kRows = 64;  // decoded by one task

// Decodes rows in parallel, each part to where `place(first row, rows)` says, and refuses the first
// weight that is not finite.
template <class Place>
void decode_checked(const CodedTensor& tensor, ThreadPool& pool, const Place& place) {
  struct Bad {
    int64_t index = -1;
    float weight = 0;
  };
  const MatrixShape shape = tensor.matrix();
  std::vector<Bad> bad(static_cast<size_t>(ceil_div(shape.rows, kRows)));
  pool.run(static_cast<int64_t>(bad.size()), [&](int64_t part, int) {
    const int64_t begin = part * kRows;
    const int64_t count = std::min(kRows, shape.rows - begin);
    float* const out = place(begin, count);
    tensor.decode(begin, count, out);
    float* const end = out + count * shape.cols;
    float* const found = std::find_if_not(out, end, [](float w) { return std::isfinite(w); });
    if (found != end) bad[static_cast<size_t>(part)] = {begin * shape.cols + (found - out), *found};
  });
  release_pages(tensor.bytes);
  for (const Bad& b : bad) {
    if (b.index < 0) continue;
    fail(ErrorCode::kCorrupt,
         "tensor '{}': the weight at row {}, column {} is {}; only finite weights can be "
         "compressed",
         tensor.name, b.index / shape.cols, b.index % shape.cols, b.weight);
  }
}

}  // namespace

void decode_tensor(const CodedTensor& tensor, ThreadPool& pool, float* out) {
  const int64_t cols = tensor.matrix().cols;
  decode_checked(tensor, pool, [&](int64_t begin, int64_t) { return out + begin * cols; });
}

void check_finite(const CodedTensor& tensor, ThreadPool& pool) {
  const int64_t cols = tensor.matrix().cols;
  decode_checked(tensor, pool, [&](int64_t, int64_t count) {
    thread_local std::vector<float> rows;
    rows.resize(static_cast<size_t>(count * cols));
    return rows.data();
  });
}

BlockParameters::BlockParameters(const Context& context, size_t begin, size_t end) {
  const Graph& graph = context.model.graph;
  for (size_t i = begin; i < end; ++i) {
    for (const ValueId id : graph.nodes[i].inputs) {
      if (id == kNoValue || values_.contains(id)) continue;
      const Value& value = graph.value(id);
      if (value.kind != ValueKind::kParameter) continue;
      at::Tensor tensor = at::empty(value.shape, at::kFloat);
      decode_tensor(context.model.parameter(value.name), context.pool, tensor.data_ptr<float>());
      values_[id] = tensor.to(context.device);
    }
  }
}

void BlockParameters::set(const Context& context, ValueId id, const std::vector<float>& values) {
  at::Tensor& old = values_.at(id);
  at::Tensor tensor = at::empty(old.sizes(), at::kFloat);
  BITSMITH_ASSERT(static_cast<size_t>(tensor.numel()) == values.size());
  std::ranges::copy(values, tensor.data_ptr<float>());
  old = tensor.to(context.device);
}

ParameterSource BlockParameters::source() const {
  return [this](ValueId id) { return values_.at(id); };
}

at::Tensor sample_tensor(const CalibrationSet& calibration, int64_t sample) {
  if (calibration.sequences.empty()) {
    const int64_t elements = *element_count(calibration.input);
    // Read only.
    float* image = const_cast<float*>(calibration.images.data()) + sample * elements;
    return at::from_blob(image, calibration.input, at::kFloat).clone();
  }
  const std::vector<TokenId>& tokens = calibration.sequences[static_cast<size_t>(sample)];
  return at::tensor(at::ArrayRef<TokenId>(tokens), at::TensorOptions().dtype(at::kInt))
      .to(at::kLong)
      .unsqueeze(0);
}

void run_block(const Context& context, const BlockRun& run, const BlockParameters& parameters,
               int64_t first, int64_t count, const SampleInput& input,
               const std::function<void(int64_t, const at::Tensor&)>& store) {
  const Graph& graph = *run.graph;
  const ParameterSource source = parameters.source();
  std::vector<ValueId> keep;
  for (const auto& [node, moment] : run.captures) keep.push_back(graph.nodes[node].inputs[0]);
  if (run.output != kNoValue) keep.push_back(run.output);

  std::vector<Environment> environments(kGroup);
  std::vector<std::vector<at::Tensor>> rows(kGroup);  // [samples][captures]
  for (int64_t base = first; base < first + count; base += kGroup) {
    const int64_t in_group = std::min(kGroup, first + count - base);
    context.pool.run(in_group, [&](int64_t i, int) {
      use_one_torch_thread();
      const at::NoGradGuard no_grad;
      Environment& values = environments[static_cast<size_t>(i)];
      values.assign(graph.values.size(), at::Tensor());
      values[static_cast<size_t>(run.input)] = input(base + i).to(context.device);
      run_reference(graph, run.begin, run.end, source, values, keep);
      if (store) store(base + i, values[static_cast<size_t>(run.output)].cpu().contiguous());
      for (const auto& [n, moment] : run.captures) {
        const Node& node = graph.nodes[n];
        const at::Tensor x = matrix_inputs(node, graph.value(node.inputs[1]).shape,
                                           values[static_cast<size_t>(node.inputs[0])]);
        rows[static_cast<size_t>(i)].push_back(x.cpu().contiguous());
      }
      values.clear();
    });
    for (int64_t i = 0; i < in_group; ++i) {
      for (size_t c = 0; c < run.captures.size(); ++c) {
        const at::Tensor& x = rows[static_cast<size_t>(i)][c];
        run.captures[c].second->add({x.data_ptr<float>(), static_cast<size_t>(x.numel())},
                                    context.pool);
      }
      rows[static_cast<size_t>(i)].clear();
    }
  }
}

}  // namespace bitsmith

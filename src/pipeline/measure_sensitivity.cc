// Step 2 of the survey: the Fisher information of every matrix's outputs, block by block from the
// end.
#include <algorithm>
#include <numeric>
#include <optional>

#include "core/random.h"
#include "pipeline/survey.h"
#include "reference/matrix_inputs.h"

namespace bitsmith {
namespace {

// One label per row of probs [N, V], by inversion of the cumulative distribution.
at::Tensor sample_labels(const at::Tensor& probs, Random random) {
  const at::Tensor host = probs.cpu().contiguous();
  const int64_t rows = host.size(0);
  const int64_t vocab = host.size(1);
  at::Tensor labels = at::empty({rows}, at::kLong);
  for (int64_t r = 0; r < rows; ++r) {
    const float* p = host.data_ptr<float>() + r * vocab;
    double rest = random.uniform();
    int64_t label = 0;
    while (label + 1 < vocab && rest >= p[label]) rest -= p[label++];
    labels.data_ptr<int64_t>()[r] = label;
  }
  return labels.to(probs.device());
}

// The sum over positions of the squares, for each of `labels`: [channels] float64.
at::Tensor squares_of(const Node& node, const at::Tensor& gradient, int64_t labels) {
  return output_rows(node, gradient).to(at::kDouble).square().sum(0).cpu() /
         static_cast<double>(labels);
}

// The mean over positions of p (1 - p), the variance of "this token is next": probs [N, V] -> [V]
// float64. Some rows at a time, because float64 copies of all logits would be large.
at::Tensor mean_variance(const at::Tensor& probs) {
  constexpr int64_t kRows = 64;
  at::Tensor sum = at::zeros({probs.size(1)}, at::kDouble);
  for (int64_t begin = 0; begin < probs.size(0); begin += kRows) {
    const at::Tensor p = probs.narrow(0, begin, std::min(kRows, probs.size(0) - begin));
    sum += (p * (1 - p)).to(at::kDouble).sum(0).cpu();
  }
  return sum / static_cast<double>(probs.size(0));
}

}  // namespace

std::vector<std::vector<double>> measure_sensitivity(const Context& context,
                                                     const SurveyState& state) {
  const Graph& graph = context.model.graph;
  const int64_t probes = state.calibration.probes;
  const int64_t length = state.calibration.length;
  const size_t last = state.blocks.size() - 1;
  std::vector<std::vector<double>> result(graph.nodes.size());
  // The derivative of the summed log-likelihood by the output of the block at hand.
  ActivationStore gradients(context.workspace.folder(), context.activation_bytes);
  const std::vector<double> work = forward_work(state.blocks, state.tasks);
  context.progress.begin("sensitivity", std::accumulate(work.begin(), work.end(), 0.0));
  double done = 0;

  for (size_t b = state.blocks.size(); b-- > 0;) {
    const Block& block = state.blocks[b];
    context.progress.update(done, block.name);
    done += work[b];
    const BlockParameters parameters(context, block.begin, block.end);
    const SampleInput input = state.probe_input(b);
    std::vector<size_t> nodes;
    std::vector<ValueId> outputs;
    for (const MatrixTask& task : state.tasks) {
      for (const MatrixUse& use : task.uses) {
        if (use.block != b) continue;
        nodes.push_back(use.node);
        outputs.push_back(graph.nodes[use.node].outputs[0]);
      }
    }
    std::optional<NextActivations> next_gradients;
    if (b > 0) {
      next_gradients.emplace(gradients, probes,
                             sample_shape(graph, block.input, state.calibration));
    }
    std::vector<std::vector<at::Tensor>> squares(static_cast<size_t>(probes));  // [probe][nodes]
    context.pool.run(probes, [&](int64_t i, int) {
      use_one_torch_thread();
      at::Tensor x = input(i).to(context.device);
      if (b > 0) x.set_requires_grad(true);
      Environment values(graph.values.size());
      values[static_cast<size_t>(block.input)] = x;
      std::vector<ValueId> keep = outputs;
      keep.push_back(block.output);
      run_reference(graph, block.begin, block.end, parameters.source(), values, keep);
      const at::Tensor out = values[static_cast<size_t>(block.output)];

      at::Tensor gradient;
      at::Tensor head_square;
      if (b == last) {
        const at::Tensor probs = at::softmax(out.detach().flatten(0, -2), -1);
        const at::Tensor labels =
            sample_labels(probs, Random(context.seed, fmt::format("labels/{}", i)));
        head_square = mean_variance(probs);  // exact, no sampling
        gradient = probs.neg_();
        gradient.scatter_add_(1, labels.unsqueeze(1),
                              at::ones({labels.size(0), 1}).to(probs.device()));
        gradient = gradient.view_as(out);
      } else {
        gradient = gradients.load(i).to(context.device);
      }

      std::vector<at::Tensor> wanted;
      for (const ValueId id : outputs) {
        if (id != block.output) wanted.push_back(values[static_cast<size_t>(id)]);
      }
      if (b > 0) wanted.push_back(x);
      std::vector<at::Tensor> derived;
      if (!wanted.empty()) {
        derived = torch::autograd::grad({out}, wanted, {gradient});
      }
      size_t next = 0;
      for (size_t n = 0; n < nodes.size(); ++n) {
        const bool direct = outputs[n] == block.output;
        const at::Tensor square =
            direct && b == last
                ? head_square
                : squares_of(graph.nodes[nodes[n]], direct ? gradient : derived[next++], length);
        squares[static_cast<size_t>(i)].push_back(square);
      }
      if (next_gradients) next_gradients->save(i, derived.back());
    });
    if (next_gradients) next_gradients->finish();
    for (size_t n = 0; n < nodes.size(); ++n) {
      at::Tensor mean = at::zeros_like(squares[0][n]);
      for (int64_t i = 0; i < probes; ++i) mean += squares[static_cast<size_t>(i)][n];
      mean /= static_cast<double>(probes);
      const double* data = mean.data_ptr<double>();
      result[nodes[n]].assign(data, data + mean.numel());
    }
  }
  context.progress.end();
  return result;
}

}  // namespace bitsmith

// Step 3 of the survey: the measured KL of rounding single blocks.
#include <algorithm>
#include <cmath>

#include "pipeline/survey.h"

namespace bitsmith {
namespace {

// Tokens on which the KL is measured.
constexpr int64_t kTokens = 2048;

// The scheme of `task` that is closest to `bits` bits per weight.
const Scheme& scheme_near(const MatrixTask& task, double bits) {
  const double weights = static_cast<double>(task.shape().rows * task.shape().cols);
  size_t best = 0;
  for (size_t s = 0; s + 1 < task.schemes.size(); ++s) {
    const auto distance = [&](size_t i) {
      return std::abs(8 * static_cast<double>(task.bytes[i]) / weights - bits);
    };
    if (distance(s) < distance(best)) best = s;
  }
  return task.schemes[best];
}

// Mean over positions of KL(original || other), nats, in float64.
double mean_kl(const at::Tensor& original, const at::Tensor& other) {
  const at::Tensor p = at::log_softmax(original.flatten(0, -2).to(at::kDouble), -1);
  const at::Tensor q = at::log_softmax(other.flatten(0, -2).to(at::kDouble), -1);
  return (p.exp() * (p - q)).sum(-1).mean().item<double>();
}

// Activations of the anchor sequences after one block was rounded.
struct Stream {
  size_t block = 0;
  double predicted = 0;
  std::unique_ptr<ActivationStore> activations;
  std::vector<double> kl;  // [sequences]
};

}  // namespace

double BlockAnchor::factor() const {
  // Far from 1 the second-order picture is wrong, or the KL is below the noise: trust it less.
  if (!(predicted_kl_nats > 0) || !(measured_kl_nats > 1e-9)) return 1;
  return std::clamp(measured_kl_nats / predicted_kl_nats, 0.1, 10.0);
}

std::vector<BlockAnchor> measure_anchors(const Context& context, const SurveyState& state,
                                         const std::vector<std::vector<double>>& sensitivity,
                                         double bits) {
  const Graph& graph = context.model.graph;
  const CalibrationSet& calibration = state.calibration;
  const size_t blocks = state.blocks.size();
  const int64_t sequences =
      std::clamp<int64_t>(kTokens / calibration.length, 1, calibration.probes);
  // As many anchors as cost no more than one forward pass over the calibration text; each runs half
  // of the network on average.
  const size_t affordable = static_cast<size_t>(2 * calibration.count / sequences);
  const size_t count = std::clamp<size_t>(affordable, std::min<size_t>(4, blocks), blocks);
  std::vector<bool> anchored(blocks, false);
  for (size_t i = 0; i < count; ++i)
    anchored[count == 1 ? 0 : i * (blocks - 1) / (count - 1)] = true;

  std::vector<Stream> streams;
  context.progress.begin("anchors", static_cast<double>(blocks));
  for (size_t b = 0; b < blocks; ++b) {
    const Block& block = state.blocks[b];
    const bool last = b + 1 == blocks;
    context.progress.update(static_cast<double>(b), block.name);
    BlockParameters parameters(context, block.begin, block.end);
    BlockRun run{&graph, block.begin, block.end, block.input, {}, block.output};

    // The original's logits, against which the streams are compared.
    std::vector<at::Tensor> logits(static_cast<size_t>(last ? sequences : 0));
    if (last) {
      run_block(
          context, run, parameters, 0, sequences, state.probe_input(b),
          [&](int64_t i, const at::Tensor& value) { logits[static_cast<size_t>(i)] = value; });
    }
    const auto advance = [&](Stream& stream, const SequenceInput& input) {
      if (!last) {
        stream.activations->resize(sequences, calibration.length,
                                   graph.value(block.output).shape.back());
      }
      run_block(
          context, run, parameters, 0, sequences, input, [&](int64_t i, const at::Tensor& value) {
            if (last) {
              stream.kl[static_cast<size_t>(i)] = mean_kl(logits[static_cast<size_t>(i)], value);
            } else {
              stream.activations->sequence(i).copy_(value);
              stream.activations->release(i);
            }
          });
    };
    for (Stream& stream : streams) {
      advance(stream, [&](int64_t i) { return stream.activations->sequence(i).clone(); });
    }
    if (!anchored[b]) continue;

    // Round the block; predict from the error that this makes on these very sequences.
    Stream stream{b, 0,
                  std::make_unique<ActivationStore>(context.workspace.folder(),
                                                    context.activation_memory() / blocks),
                  std::vector<double>(static_cast<size_t>(sequences), 0.0)};
    const Solver& nearest = Registry<Solver>::instance().get("nearest");
    const Options defaults(nearest.info().options);
    std::map<size_t, at::Tensor> differences;  // by node
    std::vector<ValueId> inputs;
    for (const MatrixTask& task : state.tasks) {
      for (const MatrixUse& use : task.uses) {
        if (use.block != b) continue;
        const at::Tensor weights = parameters.get(task.id);
        const at::Tensor host = weights.cpu().contiguous();
        const Problem problem{{host.data_ptr<float>(), static_cast<size_t>(host.numel())},
                              task.shape(),
                              nullptr,
                              scheme_near(task, bits)};
        parameters.set(context, task.id, nearest.solve(problem, defaults, context.pool).values);
        differences[use.node] = parameters.get(task.id) - weights;
        inputs.push_back(use.input);
      }
    }
    std::vector<double> predicted(static_cast<size_t>(sequences), 0.0);
    {
      // Inputs of the matrices under the original weights, from a run with the original parameters.
      const BlockParameters original(context, block.begin, block.end);
      const SequenceInput input = state.probe_input(b);
      context.pool.run(sequences, [&](int64_t i, int) {
        use_one_torch_thread();
        const at::NoGradGuard no_grad;
        Environment values(graph.values.size());
        values[static_cast<size_t>(block.input)] = input(i).to(context.device);
        run_reference(graph, block.begin, block.end, original.source(), values, inputs);
        for (const auto& [node, difference] : differences) {
          const at::Tensor x = values[static_cast<size_t>(graph.nodes[node].inputs[0])];
          const at::Tensor change = graph.nodes[node].op == "embedding"
                                        ? at::embedding(difference, x)
                                        : at::matmul(x, difference.t());
          const at::Tensor square = change.flatten(0, -2).to(at::kDouble).square().mean(0).cpu();
          const double* e = square.data_ptr<double>();
          for (int64_t r = 0; r < square.numel(); ++r) {
            predicted[static_cast<size_t>(i)] +=
                0.5 * sensitivity[node][static_cast<size_t>(r)] * e[r];
          }
        }
      });
    }
    for (const double p : predicted) stream.predicted += p / static_cast<double>(sequences);
    advance(stream, state.probe_input(b));
    streams.push_back(std::move(stream));
  }
  context.progress.end();

  std::vector<BlockAnchor> anchors;
  for (const Stream& stream : streams) {
    BlockAnchor anchor{stream.block, stream.predicted, 0};
    for (const double kl : stream.kl)
      anchor.measured_kl_nats += kl / static_cast<double>(sequences);
    anchors.push_back(anchor);
  }
  return anchors;
}

}  // namespace bitsmith

// Step 3 of the survey: the measured KL of coding single blocks, and all of them.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "pipeline/survey.h"
#include "reference/matrix_inputs.h"

namespace bitsmith {
namespace {

// Tokens, or images, on which the KL is measured.
constexpr int64_t kTokens = 2048;

// Mean over positions of KL(original || other), nats, in float64.
// Some rows at a time, because float64 copies of all logits would be large.
double mean_kl(const at::Tensor& original, const at::Tensor& other) {
  constexpr int64_t kRows = 64;
  const at::Tensor a = original.flatten(0, -2);
  const at::Tensor b = other.flatten(0, -2);
  double sum = 0;
  for (int64_t begin = 0; begin < a.size(0); begin += kRows) {
    const int64_t rows = std::min(kRows, a.size(0) - begin);
    const at::Tensor p = at::log_softmax(a.narrow(0, begin, rows).to(at::kDouble), -1);
    const at::Tensor q = at::log_softmax(b.narrow(0, begin, rows).to(at::kDouble), -1);
    sum += (p.exp() * (p - q)).sum().item<double>();
  }
  return sum / static_cast<double>(a.size(0));
}

// The anchor samples in a network of which some blocks are rounded.
struct Stream {
  size_t block = 0;
  std::unique_ptr<ActivationStore> activations;
  std::vector<double> kl;  // [sequences], known after the last block

  double mean() const {
    double sum = 0;
    for (const double k : kl) sum += k;
    return sum / static_cast<double>(kl.size());
  }
};

class AnchorMeasurement {
 public:
  AnchorMeasurement(const Context& context, const SurveyState& state,
                    const std::vector<std::vector<double>>& sensitivity, double bits)
      : context_(context),
        state_(state),
        graph_(context.model.graph),
        sensitivity_(sensitivity),
        bits_(bits),
        sequences_(
            std::clamp<int64_t>(kTokens / state.calibration.length, 1, state.calibration.probes)) {}

  Anchors run() {
    const size_t blocks = state_.blocks.size();
    const std::vector<bool> anchored = choose_blocks();
    Stream joint = make_stream(0);
    std::vector<Stream> streams;
    std::vector<double> predicted;  // [blocks]
    const std::vector<double> work = anchor_work(anchored);
    context_.progress.begin("anchors", std::accumulate(work.begin(), work.end(), 0.0));
    double done = 0;
    for (size_t b = 0; b < blocks; ++b) {
      context_.progress.update(done, state_.blocks[b].name);
      done += work[b];
      const Block& block = state_.blocks[b];
      const BlockParameters original(context_, block.begin, block.end);
      BlockParameters rounded = original;
      predicted.push_back(round_block(b, original, rounded));
      if (b + 1 == blocks) measure_original_logits(original);
      for (Stream& stream : streams) advance(b, stream, original, stream_input(stream));
      advance(b, joint, rounded, b > 0 ? stream_input(joint) : state_.probe_input(0));
      if (!anchored[b]) continue;
      streams.push_back(make_stream(b));
      advance(b, streams.back(), rounded, state_.probe_input(b));
    }
    context_.progress.end();

    Anchors anchors;
    for (const Stream& s : streams)
      anchors.blocks.push_back({s.block, predicted[s.block], s.mean()});
    anchors.joint.measured_kl_nats = joint.mean();
    for (size_t b = 0; b < blocks; ++b) {
      anchors.joint.predicted_kl_nats += predicted[b] * anchors.block_factor(b);
    }
    return anchors;
  }

 private:
  // As many anchors as cost no more than one forward pass over the calibration text; each runs half
  // of the network on average.
  std::vector<bool> choose_blocks() const {
    const size_t blocks = state_.blocks.size();
    const size_t affordable = static_cast<size_t>(2 * state_.calibration.count / sequences_);
    // Errors of neighbouring pixels go together: in networks of images much depends on the anchors.
    const size_t least = state_.calibration.sequences.empty() ? 16 : 4;
    const size_t count = std::clamp<size_t>(affordable, std::min(least, blocks), blocks);
    std::vector<bool> anchored(blocks, false);
    for (size_t i = 0; i < count; ++i) {
      anchored[count == 1 ? 0 : i * (blocks - 1) / (count - 1)] = true;
    }
    return anchored;
  }

  // Later blocks are run by more streams.
  std::vector<double> anchor_work(const std::vector<bool>& anchored) const {
    std::vector<double> work = forward_work(state_.blocks, state_.tasks);
    double streams = 2;
    for (size_t b = 0; b < work.size(); ++b) {
      if (anchored[b]) ++streams;
      work[b] *= streams;
    }
    return work;
  }

  Stream make_stream(size_t block) const {
    return {block,
            std::make_unique<ActivationStore>(context_.workspace.folder(),
                                              context_.activation_bytes / state_.blocks.size()),
            std::vector<double>(static_cast<size_t>(sequences_), 0.0)};
  }

  static SampleInput stream_input(const Stream& stream) {
    return [store = stream.activations.get()](int64_t i) { return store->load(i); };
  }

  BlockRun whole_block(size_t b) const {
    const Block& block = state_.blocks[b];
    return {&graph_, block.begin, block.end, block.input, {}, block.output};
  }

  void measure_original_logits(const BlockParameters& original) {
    logits_.resize(static_cast<size_t>(sequences_));
    const size_t last = state_.blocks.size() - 1;
    run_block(context_, whole_block(last), original, 0, sequences_, state_.probe_input(last),
              [&](int64_t i, const at::Tensor& value) { logits_[static_cast<size_t>(i)] = value; });
  }

  // Runs a stream through block b; after the last block its KL is known.
  void advance(size_t b, Stream& stream, const BlockParameters& parameters,
               const SampleInput& input) const {
    const bool last = b + 1 == state_.blocks.size();
    std::optional<NextActivations> next;
    if (!last) {
      next.emplace(*stream.activations, sequences_,
                   sample_shape(graph_, state_.blocks[b].output, state_.calibration));
    }
    run_block(context_, whole_block(b), parameters, 0, sequences_, input,
              [&](int64_t i, const at::Tensor& value) {
                if (last) {
                  stream.kl[static_cast<size_t>(i)] =
                      mean_kl(logits_[static_cast<size_t>(i)], value);
                } else {
                  next->save(i, value);
                }
              });
    if (next) next->finish();
  }

  // Puts the codes that step 1 left into block b and predicts the loss from the change of their
  // outputs on the anchor sequences themselves.
  double round_block(size_t b, const BlockParameters& original, BlockParameters& rounded) const {
    const Block& block = state_.blocks[b];
    std::map<size_t, at::Tensor> differences;  // by node
    std::vector<ValueId> inputs;
    for (const MatrixTask& task : state_.tasks) {
      for (const MatrixUse& use : task.uses) {
        if (use.block != b) continue;
        const MappedFile codes(context_.workspace.folder() / (anchor_record(task, b) + ".bin"));
        const CodedTensor coded{task.tensor->name, task.tensor->shape, anchor_scheme(task, bits_),
                                codes.bytes()};
        std::vector<float> values(static_cast<size_t>(task.shape().rows * task.shape().cols));
        decode_tensor(coded, context_.pool, values.data());
        rounded.set(context_, task.id, values);
        differences[use.node] = rounded.get(task.id) - original.get(task.id);
        inputs.push_back(use.input);
      }
    }
    std::vector<double> predicted(static_cast<size_t>(sequences_), 0.0);
    const SampleInput input = state_.probe_input(b);
    context_.pool.run(sequences_, [&](int64_t i, int) {
      use_one_torch_thread();
      const at::NoGradGuard no_grad;
      Environment values(graph_.values.size());
      values[static_cast<size_t>(block.input)] = input(i).to(context_.device);
      run_reference(graph_, block.begin, block.end, original.source(), values, inputs);
      for (const auto& [node, difference] : differences) {
        const Node& user = graph_.nodes[node];
        const at::Tensor x = values[static_cast<size_t>(user.inputs[0])];
        const at::Tensor change =
            user.op == "embedding"
                ? at::embedding(difference, x).flatten(0, -2)
                : matrix_products(matrix_inputs(user, graph_.value(user.inputs[1]).shape, x),
                                  difference);
        const at::Tensor square = change.to(at::kDouble).square().mean(0).cpu();
        const double* e = square.data_ptr<double>();
        for (int64_t r = 0; r < square.numel(); ++r) {
          predicted[static_cast<size_t>(i)] +=
              0.5 * sensitivity_[node][static_cast<size_t>(r)] * e[r];
        }
      }
    });
    double sum = 0;
    for (const double p : predicted) sum += p;
    return sum / static_cast<double>(sequences_);
  }

  const Context& context_;
  const SurveyState& state_;
  const Graph& graph_;
  const std::vector<std::vector<double>>& sensitivity_;
  double bits_;
  int64_t sequences_;
  std::vector<at::Tensor> logits_;  // of the original, [sequences]
};

}  // namespace

double Anchor::factor() const {
  // Far from 1 the second-order picture is wrong, or the KL is below the noise: trust it less.
  if (!(predicted_kl_nats > 0) || !(measured_kl_nats > 1e-9)) return 1;
  return std::clamp(measured_kl_nats / predicted_kl_nats, 0.1, 10.0);
}

double Anchors::block_factor(size_t block) const {
  const Anchor* before = nullptr;
  const Anchor* after = nullptr;
  for (const Anchor& anchor : blocks) {
    if (anchor.block <= block) before = &anchor;
    if (anchor.block >= block && after == nullptr) after = &anchor;
  }
  if (before == nullptr) return after == nullptr ? 1 : after->factor();
  if (after == nullptr || after == before) return before->factor();
  const double share = static_cast<double>(block - before->block) /
                       static_cast<double>(after->block - before->block);
  return std::exp((1 - share) * std::log(before->factor()) + share * std::log(after->factor()));
}

const Scheme& anchor_scheme(const MatrixTask& task, double bits) {
  // Of a large matrix: in a small one padding may take more than the codes.
  constexpr MatrixShape kLarge{1024, 8192};
  const auto distance = [&](size_t s) {
    const Scheme& scheme = task.schemes[s];
    const auto bytes = static_cast<double>(scheme.codec->encoded_bytes(kLarge, scheme.options));
    return std::abs(8 * bytes / static_cast<double>(kLarge.rows * kLarge.cols) - bits);
  };
  size_t best = 0;
  for (size_t s = 1; s + 1 < task.schemes.size(); ++s) {
    if (distance(s) < distance(best)) best = s;
  }
  return task.schemes[best];
}

std::string anchor_record(const MatrixTask& task, size_t block) {
  return fmt::format("anchor-{}-{}", task.id, block);
}

Anchors measure_anchors(const Context& context, const SurveyState& state,
                        const std::vector<std::vector<double>>& sensitivity, double bits) {
  return AnchorMeasurement(context, state, sensitivity, bits).run();
}

}  // namespace bitsmith

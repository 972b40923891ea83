#include "evaluation/evaluate.h"

#include <algorithm>
#include <cmath>

#include "evaluation/log_softmax.h"

namespace bitsmith {
namespace {

// Tokens [begin, begin + count) of a window; rows [row, row + count) of the logits.
struct Piece {
  size_t window = 0;
  size_t slot = 0;  // which sequence reads it
  size_t begin = 0;
  size_t count = 0;
  size_t row = 0;
};

// Whole windows while they fit; a window longer than a batch comes piece by piece.
std::vector<std::vector<Piece>> make_batches(const Windows& windows, size_t max_tokens) {
  std::vector<std::vector<Piece>> batches;
  size_t used = max_tokens;
  for (size_t w = 0; w < windows.windows.size(); ++w) {
    const size_t size = windows.windows[w].size();
    for (size_t begin = 0; begin < size; begin += max_tokens) {
      const size_t count = std::min(size - begin, max_tokens);
      if (used + count > max_tokens || begin > 0) {
        batches.emplace_back();
        used = 0;
      }
      batches.back().push_back({w, batches.back().size(), begin, count, used});
      used += count;
    }
  }
  return batches;
}

// What is measured of one row of logits.
struct RowResult {
  double loss = 0;
  double original_loss = 0;
  double kl_nats = 0;
  bool agreed = false;
};

// One model and the sequences that it reads a batch with.
class Side {
 public:
  explicit Side(Executor& executor) : executor_(executor) {}

  void run(const Windows& windows, const std::vector<Piece>& batch) {
    std::vector<Executor::Segment> segments;
    while (sequences_.size() < batch.size()) sequences_.push_back(executor_.make_sequence());
    for (const Piece& piece : batch) {
      Sequence& sequence = sequences_[piece.slot];
      if (piece.begin == 0) sequence.reset();
      const std::span<const TokenId> tokens = windows.windows[piece.window];
      segments.push_back({&sequence, tokens.subspan(piece.begin, piece.count)});
    }
    logits_ = executor_.run(segments, Executor::Logits::kAll);
  }

  std::span<const float> row(size_t i) const {
    const auto width = static_cast<size_t>(executor_.output_channels());
    return logits_.subspan(i * width, width);
  }

 private:
  Executor& executor_;
  std::vector<Sequence> sequences_;
  std::span<const float> logits_;
};

//   scratch [V] if there is an original
RowResult measure(std::span<const float> model, const Side* original, size_t row, TokenId next,
                  std::span<float> scratch) {
  RowResult result;
  result.loss = negative_log_likelihood(model, next);
  if (original == nullptr) return result;
  const std::span<const float> reference = original->row(row);
  result.original_loss = negative_log_likelihood(reference, next);
  result.kl_nats = kl_divergence(reference, model, scratch);
  result.agreed = arg_max(reference) == arg_max(model);
  return result;
}

// The sums of the window in work: a window may span several batches.
struct WindowSums {
  double loss = 0;
  double original_loss = 0;
  std::vector<float> kl_nats;
  int64_t agreed = 0;
};

void check_executors(const Executor& model, const Executor* original, const Windows& windows) {
  if (original != nullptr && original->output_channels() != model.output_channels()) {
    fail(ErrorCode::kInvalidArgument,
         "the models cannot be compared: one has a vocabulary of {} tokens, the other of {}",
         model.output_channels(), original->output_channels());
  }
  for (const auto& window : windows.windows) {
    for (const TokenId token : window) {
      if (token >= 0 && token < model.output_channels()) continue;
      fail(ErrorCode::kInvalidArgument,
           "token {} of the text is outside the model's vocabulary of {} tokens", token,
           model.output_channels());
    }
  }
}

nlohmann::json estimate_json(const Estimate& estimate) {
  return {{"value", estimate.value}, {"standard_error", estimate.error}};
}

nlohmann::json perplexity_json(const Perplexity& perplexity) {
  return {{"nats_per_token", estimate_json(perplexity.nats)},
          {"perplexity", estimate_json(perplexity.perplexity)},
          {"bits_per_byte", perplexity.bits_per_byte}};
}

}  // namespace

Evaluation evaluate(Executor& model, Executor* original, const Windows& windows,
                    Progress& progress) {
  check_executors(model, original, windows);
  int64_t batch_tokens = model.max_batch_tokens();
  if (original != nullptr) batch_tokens = std::min(batch_tokens, original->max_batch_tokens());

  Side model_side(model);
  std::optional<Side> original_side;
  if (original != nullptr) original_side.emplace(*original);
  const Side* reference = original_side ? &*original_side : nullptr;

  WindowMean losses;
  WindowMean original_losses;
  DivergenceCollector divergence;
  std::vector<RowResult> results;
  std::vector<std::vector<float>> scratch(static_cast<size_t>(model.pool().threads()));
  if (original != nullptr) {
    for (auto& buffer : scratch) buffer.resize(static_cast<size_t>(model.output_channels()));
  }
  WindowSums sums;
  int64_t done = 0;
  progress.begin("evaluate", static_cast<double>(windows.tokens()));
  for (const auto& batch : make_batches(windows, static_cast<size_t>(batch_tokens))) {
    model_side.run(windows, batch);
    if (original_side) original_side->run(windows, batch);
    for (const Piece& piece : batch) {
      const std::vector<TokenId>& tokens = windows.windows[piece.window];
      const bool last = piece.begin + piece.count == tokens.size();
      // The window's last token predicts nothing that is known.
      const size_t scored = piece.count - (last ? 1 : 0);
      results.resize(scored);
      model.pool().run(static_cast<int64_t>(scored), [&](int64_t i, int thread) {
        const auto r = static_cast<size_t>(i);
        results[r] = measure(model_side.row(piece.row + r), reference, piece.row + r,
                             tokens[piece.begin + r + 1], scratch[static_cast<size_t>(thread)]);
      });
      for (const RowResult& result : results) {
        if (!std::isfinite(result.loss) || !std::isfinite(result.original_loss)) {
          fail(ErrorCode::kCorrupt, "the {} model's logits are not finite in window {}",
               std::isfinite(result.loss) ? "original" : "measured", piece.window);
        }
        sums.loss += result.loss;
        sums.original_loss += result.original_loss;
        sums.kl_nats.push_back(static_cast<float>(result.kl_nats));
        sums.agreed += result.agreed ? 1 : 0;
      }
      done += static_cast<int64_t>(piece.count);
      if (!last) continue;
      const auto count = static_cast<int64_t>(sums.kl_nats.size());
      losses.add(sums.loss, count);
      original_losses.add(sums.original_loss, count);
      divergence.add(sums.kl_nats, sums.agreed, sums.loss - sums.original_loss);
      sums = {};
    }
    const double nats = losses.estimate().value;
    progress.update(static_cast<double>(done), fmt::format("perplexity {:.3f}", std::exp(nats)));
  }
  progress.end();

  Evaluation result;
  result.windows = static_cast<int64_t>(windows.windows.size());
  for (const auto& window : windows.windows) {
    result.context = std::max(result.context, static_cast<int64_t>(window.size()));
  }
  result.model = make_perplexity(losses, windows.bytes);
  if (original != nullptr) {
    result.original = make_perplexity(original_losses, windows.bytes);
    result.divergence = divergence.finish();
  }
  return result;
}

int64_t default_context(const Model& model) {
  constexpr int64_t kLongest = 2048;
  const auto& config = model.config;
  const auto it = config.is_object() ? config.find("max_position_embeddings") : config.end();
  if (it == config.end() || !it->is_number_integer()) return kLongest;
  return std::clamp<int64_t>(it->get<int64_t>(), 2, kLongest);
}

int64_t evaluation_batch_tokens(const Model& model, int64_t context) {
  constexpr int64_t kLogitsBytes = 128 << 20;
  const int64_t vocabulary = model.graph.value(model.graph.outputs.at(0)).shape.back();
  const int64_t most = std::max<int64_t>(64, kLogitsBytes / (4 * std::max<int64_t>(1, vocabulary)));
  const int64_t wanted = std::max<int64_t>(1024 / context, 1) * context;
  return std::clamp<int64_t>(wanted, 1, most);
}

nlohmann::json Evaluation::to_json() const {
  nlohmann::json json = {{"windows", windows},
                         {"context", context},
                         {"scored_tokens", model.tokens},
                         {"model", perplexity_json(model)}};
  if (original) json["original"] = perplexity_json(*original);
  if (divergence) {
    json["divergence"] = {{"kl_nats", estimate_json(divergence->kl_nats)},
                          {"kl_median_nats", divergence->kl_median_nats},
                          {"kl_p99_nats", divergence->kl_p99_nats},
                          {"kl_max_nats", divergence->kl_max_nats},
                          {"top1_agreement", estimate_json(divergence->top1_agreement)},
                          {"nats_lost", estimate_json(divergence->nats_lost)}};
  }
  return json;
}

}  // namespace bitsmith

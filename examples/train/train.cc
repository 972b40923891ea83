// Trains a small Llama-architecture model from text through the reference executor.
#include <torch/optim/adamw.h>
#include <torch/serialize.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "core/interrupt.h"
#include "core/output_file.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "families/family.h"
#include "formats/safetensors.h"
#include "reference/executor.h"
#include "text/tokenizer.h"

namespace bitsmith {
namespace {

struct TrainOptions {
  std::filesystem::path text;
  std::filesystem::path tokenizer;
  std::filesystem::path output;
  int64_t hidden = 128;
  int64_t ffn = 384;
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t context = 128;
  int64_t batch = 16;
  int64_t steps = 400;
  int64_t warmup = 20;
  int64_t save_every = 100;
  double rate = 2e-3;
  double weight_decay = 0.1;
  uint64_t seed = 1;
  int threads = 0;
};

nlohmann::json make_config(const TrainOptions& options, int64_t vocab) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", vocab},
          {"hidden_size", options.hidden},
          {"intermediate_size", options.ffn},
          {"num_hidden_layers", options.layers},
          {"num_attention_heads", options.heads},
          {"num_key_value_heads", options.kv_heads},
          {"head_dim", options.hidden / options.heads},
          {"hidden_act", "silu"},
          {"max_position_embeddings", options.context},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", false},
          {"torch_dtype", "float32"}};
}

// Normal weights of standard deviation 0.02, those that write to the residual stream smaller by
// sqrt(2 * layers) (GPT-2); norms are 1.
std::vector<at::Tensor> make_parameters(const Graph& graph, const TrainOptions& options) {
  at::manual_seed(options.seed);
  std::vector<at::Tensor> parameters;
  for (const ValueId id : graph.parameters()) {
    const Value& value = graph.value(id);
    at::Tensor tensor = at::ones(value.shape);
    if (value.shape.size() > 1) {
      const bool residual = value.role == "attention.o" || value.role == "mlp.down";
      tensor.normal_(0,
                     residual ? 0.02 / std::sqrt(2.0 * static_cast<double>(options.layers)) : 0.02);
    }
    parameters.push_back(tensor.set_requires_grad(true));
  }
  return parameters;
}

// Windows of context + 1 tokens at positions drawn for this step alone, so that a resumed run sees
// what an uninterrupted one would.
at::Tensor make_batch(const std::vector<TokenId>& tokens, const TrainOptions& options,
                      int64_t step) {
  Random random(options.seed, fmt::format("batch/{}", step));
  at::Tensor batch = at::empty({options.batch, options.context + 1}, at::kLong);
  int64_t* out = batch.data_ptr<int64_t>();
  for (int64_t b = 0; b < options.batch; ++b) {
    const uint64_t start = random.below(tokens.size() - static_cast<uint64_t>(options.context));
    for (int64_t t = 0; t <= options.context; ++t) {
      *out++ = tokens[start + static_cast<uint64_t>(t)];
    }
  }
  return batch;
}

double rate_at(const TrainOptions& options, int64_t step) {
  const double t = static_cast<double>(step);
  if (step < options.warmup) return options.rate * (t + 1) / static_cast<double>(options.warmup);
  const double share = (t - static_cast<double>(options.warmup)) /
                       std::max(1.0, static_cast<double>(options.steps - options.warmup));
  return options.rate * (0.1 + 0.9 * 0.5 * (1 + std::cos(std::numbers::pi * share)));
}

// Mean cross-entropy in nats per token.
at::Tensor loss_of(const Graph& graph, const std::map<ValueId, at::Tensor>& parameters,
                   const at::Tensor& batch) {
  const int64_t length = batch.size(1) - 1;
  Environment values(graph.values.size());
  values[static_cast<size_t>(graph.inputs[0])] = batch.narrow(1, 0, length);
  run_reference(
      graph, 0, graph.nodes.size(), [&](ValueId id) { return parameters.at(id); }, values);
  const at::Tensor logits = values[static_cast<size_t>(graph.outputs[0])];
  return at::cross_entropy_loss(logits.flatten(0, 1), batch.narrow(1, 1, length).flatten());
}

void write_model(const TrainOptions& options, const nlohmann::json& config, const Graph& graph,
                 const std::vector<at::Tensor>& parameters) {
  std::filesystem::create_directories(options.output);
  std::vector<SafetensorsWriter::Entry> entries;
  for (const ValueId id : graph.parameters()) {
    entries.push_back({graph.value(id).name, DType::kF32, graph.value(id).shape});
  }
  SafetensorsWriter writer(options.output / "model.safetensors", entries, {{"format", "pt"}});
  for (size_t i = 0; i < entries.size(); ++i) {
    const at::Tensor host = parameters[i].detach().contiguous();
    writer.append(entries[i].name, std::as_bytes(std::span(host.data_ptr<float>(),
                                                           static_cast<size_t>(host.numel()))));
  }
  writer.commit();
  const auto write_text = [&](const std::string& name, const std::string& content) {
    OutputFile file(options.output / name);
    file.write(content);
    file.commit();
  };
  write_text("config.json", config.dump(2));
  for (const auto& [name, content] : read_tokenizer_files(options.tokenizer))
    write_text(name, content);
}

void expect_finite(double value, int64_t step) {
  if (std::isfinite(value)) return;
  fail(ErrorCode::kInvalidArgument,
       "the loss is no longer finite at step {}; no model is written: try a lower --rate", step);
}

void train(const TrainOptions& options) {
  const bool numbers = std::isfinite(options.rate) && std::isfinite(options.weight_decay);
  if (!numbers || options.rate <= 0 || options.weight_decay < 0) {
    fail(ErrorCode::kInvalidArgument,
         "--rate should be above 0 and --weight-decay not below; they are {} and {}", options.rate,
         options.weight_decay);
  }
  if (options.hidden % options.heads != 0 || options.heads % options.kv_heads != 0) {
    fail(ErrorCode::kInvalidArgument,
         "--hidden {} should be a multiple of --heads {}, and that of --kv-heads {}",
         options.hidden, options.heads, options.kv_heads);
  }
  at::set_num_threads(options.threads > 0 ? options.threads : ThreadPool::processors());
  const TokenizerFiles files = read_tokenizer_files(options.tokenizer);
  const auto tokenizer = make_tokenizer(files);
  const std::vector<TokenId> tokens =
      tokenizer->encode(read_file(options.text, uint64_t{1} << 32), false);
  // Each part has a window and the token after it.
  if (static_cast<int64_t>(tokens.size()) < 20 * (options.context + 1)) {
    fail(ErrorCode::kInvalidArgument, "'{}' has only {} tokens; give a longer text",
         options.text.string(), tokens.size());
  }
  // The last twentieth is held out.
  const auto split = tokens.begin() + static_cast<std::ptrdiff_t>(tokens.size() / 20 * 19);
  const std::vector<TokenId> training(tokens.begin(), split);
  const std::vector<TokenId> held_out(split, tokens.end());

  const nlohmann::json config = make_config(options, tokenizer->vocab_size());
  const Graph graph = build_graph(config);
  std::vector<at::Tensor> parameters = make_parameters(graph, options);
  torch::optim::AdamW optimizer(parameters, torch::optim::AdamWOptions(options.rate)
                                                .betas({0.9, 0.95})
                                                .weight_decay(options.weight_decay));
  const auto state_path = options.output / "training_state.pt";
  int64_t step = 0;
  if (std::filesystem::exists(state_path)) {
    torch::serialize::InputArchive archive;
    archive.load_from(state_path.string());
    at::Tensor saved;
    for (size_t i = 0; i < parameters.size(); ++i) {
      archive.read(fmt::format("parameter{}", i), saved);
      if (saved.sizes() != parameters[i].sizes()) {
        fail(ErrorCode::kInvalidArgument,
             "'{}' is of a model of another shape; remove it to start anew", state_path.string());
      }
      parameters[i].detach().copy_(saved);
    }
    archive.read("step", saved);
    step = saved.item<int64_t>();
    torch::serialize::InputArchive optimizer_archive;
    archive.read("optimizer", optimizer_archive);
    optimizer.load(optimizer_archive);
    fmt::print("resumed at step {}\n", step);
  }
  const auto save = [&] {
    std::filesystem::create_directories(options.output);
    torch::serialize::OutputArchive archive;
    for (size_t i = 0; i < parameters.size(); ++i) {
      archive.write(fmt::format("parameter{}", i), parameters[i].detach());
    }
    archive.write("step", at::tensor(step, at::kLong));
    torch::serialize::OutputArchive optimizer_archive;
    optimizer.save(optimizer_archive);
    archive.write("optimizer", optimizer_archive);
    archive.save_to(state_path.string() + ".tmp");
    std::filesystem::rename(state_path.string() + ".tmp", state_path);
  };

  std::map<ValueId, at::Tensor> by_id;
  const std::vector<ValueId> ids = graph.parameters();
  for (size_t i = 0; i < ids.size(); ++i) by_id[ids[i]] = parameters[i];

  int64_t weights = 0;
  for (const at::Tensor& parameter : parameters) weights += parameter.numel();
  fmt::print("{} parameters, {} training tokens, {} held out\n", weights, training.size(),
             held_out.size());
  std::fflush(stdout);
  TrainOptions evaluation = options;
  evaluation.seed = options.seed + 1;
  const auto held_out_loss = [&] {
    const at::NoGradGuard no_grad;
    double sum = 0;
    constexpr int64_t kBatches = 4;
    for (int64_t i = 0; i < kBatches; ++i) {
      sum += loss_of(graph, by_id, make_batch(held_out, evaluation, i)).item<double>();
    }
    return sum / kBatches;
  };

  const auto start = std::chrono::steady_clock::now();
  const int64_t first = step;
  double smoothed = 0;
  while (step < options.steps && !interrupted()) {
    for (auto& group : optimizer.param_groups()) group.options().set_lr(rate_at(options, step));
    optimizer.zero_grad();
    const at::Tensor loss = loss_of(graph, by_id, make_batch(training, options, step));
    const double value = loss.item<double>();
    expect_finite(value, step);
    if (step > first && step % options.save_every == 0) save();  // weights whose loss is finite
    loss.backward();
    // Clip the norm of all gradients together to 1.
    at::Tensor squares = at::zeros({});
    for (const at::Tensor& p : parameters) squares += p.grad().square().sum();
    const double norm = std::sqrt(squares.item<double>());
    expect_finite(norm, step);
    if (norm > 1) {
      for (const at::Tensor& p : parameters) p.grad().mul_(1 / norm);
    }
    optimizer.step();
    smoothed = step == first ? value : 0.95 * smoothed + 0.05 * value;
    ++step;
    if (step % 20 == 0 || step == options.steps) {
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      fmt::print("step {:>6} / {}   loss {:.4f} nats   rate {:.2e}   {:.0f} tokens/s\n", step,
                 options.steps, smoothed, rate_at(options, step - 1),
                 static_cast<double>((step - first) * options.batch * options.context) / seconds);
      std::fflush(stdout);
    }
  }
  const double final_loss = held_out_loss();
  expect_finite(final_loss, step);  // the last step may have broken the weights
  save();
  write_model(options, config, graph, parameters);
  fmt::print("held-out loss {:.4f} nats; '{}' written{}\n", final_loss, options.output.string(),
             step < options.steps ? "; the same command goes on" : "");
}

}  // namespace
}  // namespace bitsmith

int main(int argc, char** argv) {
  bitsmith::TrainOptions options;
  CLI::App app("Trains a small Llama-architecture model from text.");
  app.option_defaults()->always_capture_default();
  app.add_option("--text", options.text, "training text, UTF-8")->required();
  app.add_option("--tokenizer", options.tokenizer, "a model folder whose tokenizer is used")
      ->required();
  app.add_option("--output", options.output, "folder for the model")->required();
  const auto from = [](int64_t least, int64_t most) { return CLI::Range(least, most); };
  const CLI::Range size = from(1, 1 << 20);
  const CLI::Range steps = from(1, int64_t{1} << 40);
  app.add_option("--hidden", options.hidden, "channels of the residual stream")->check(size);
  app.add_option("--ffn", options.ffn, "channels of the MLP")->check(size);
  app.add_option("--layers", options.layers, "transformer blocks")->check(from(1, 4096));
  app.add_option("--heads", options.heads, "attention heads")->check(size);
  app.add_option("--kv-heads", options.kv_heads, "key and value heads")->check(size);
  app.add_option("--context", options.context, "tokens per sequence")->check(size);
  app.add_option("--batch", options.batch, "sequences per step")->check(size);
  app.add_option("--steps", options.steps, "optimizer steps")->check(steps);
  app.add_option("--warmup", options.warmup, "steps of linear warm-up")->check(from(0, 1 << 30));
  app.add_option("--rate", options.rate, "peak learning rate");
  app.add_option("--weight-decay", options.weight_decay, "AdamW's weight decay");
  app.add_option("--save-every", options.save_every, "steps between saved states")->check(steps);
  app.add_option("--seed", options.seed, "of weights and batches")->check(CLI::NonNegativeNumber);
  app.add_option("--threads", options.threads, "0: all processors")->check(from(0, 1024));
  CLI11_PARSE(app, argc, argv);
  bitsmith::catch_interrupts();
  try {
    bitsmith::train(options);
  } catch (const bitsmith::Error& error) {
    fmt::print(stderr, "train: {}\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "train: {}\n", error.what());
    return 1;
  }
  return 0;
}

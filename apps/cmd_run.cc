// `bitsmith run`: writes on from a prompt.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "commands.h"
#include "core/interrupt.h"
#include "core/seconds.h"
#include "core/system_memory.h"
#include "formats/model_tokenizer.h"
#include "formats/resident.h"
#include "model_options.h"
#include "program.h"
#include "runtime/executor.h"
#include "runtime/sampler.h"

namespace bitsmith {
namespace {

struct RunOptions {
  std::string model;
  double read_bits = 0;
  std::string prompt;
  int64_t tokens = 128;
  SamplerOptions sampler{.temperature = 0.8, .top_p = 0.95, .top_k = 0, .seed = 0};
  int threads = 0;
  bool raw = false;
  bool no_echo = false;
  bool stats = false;
};

void write(const std::string& text) {
  if (text.empty()) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  flush_output();
}

std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, const RunOptions& options) {
  std::string text = options.prompt;
  if (text == "-") text.assign(std::istreambuf_iterator<char>(std::cin), {});
  std::vector<TokenId> tokens = tokenizer.encode(text, !options.raw);
  // Models whose files ask for an EOS after every text must not see it here.
  const std::vector<TokenId> eos = tokenizer.eos();
  while (!options.raw && tokens.size() > 1 && std::ranges::count(eos, tokens.back()) > 0) {
    tokens.pop_back();
  }
  if (tokens.empty() && tokenizer.bos()) tokens.push_back(*tokenizer.bos());
  if (tokens.empty()) fail(ErrorCode::kInvalidArgument, "the prompt is empty");
  return tokens;
}

void print_stats(size_t prompt, double prompt_seconds, int64_t made, double seconds) {
  fmt::print(stderr, "prompt: {} tokens in {:.3f} s, {:.1f} tokens/s\n", prompt, prompt_seconds,
             static_cast<double>(prompt) / prompt_seconds);
  if (made < 1) return;
  fmt::print(stderr, "text: {} tokens in {:.3f} s, {:.1f} tokens/s\n", made, seconds,
             static_cast<double>(made) / seconds);
}

void run(const RunOptions& options) {
  catch_interrupts();
  Model model = open_model(options.model);
  apply_read_bits(model, options.read_bits);
  const auto tokenizer = tokenizer_of(model);
  const std::vector<TokenId> eos = end_tokens(model, *tokenizer);
  const std::vector<TokenId> prompt = encode_prompt(*tokenizer, options);
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  const std::optional<int64_t> limit = context_limit(model);
  if (limit && prompt_tokens > *limit) {
    fail(ErrorCode::kInvalidArgument,
         "the prompt has {} tokens, the model's context ends after {}: shorten it", prompt_tokens,
         *limit);
  }
  ThreadPool pool(options.threads);
  make_resident(model, pool);
  Executor executor(model, pool, std::min<int64_t>(512, prompt_tokens));
  executor.keep_decoded_weights(available_memory_bytes() / 2);
  Sequence sequence = executor.make_sequence();
  Sampler sampler(options.sampler);
  StreamDecoder decoder(*tokenizer);
  for (const TokenId token : prompt) {
    const std::string text = decoder.next(token);
    if (!options.no_echo) write(text);
  }

  const auto start = Clock::now();
  std::span<const float> logits = executor.run(sequence, prompt, Executor::Logits::kLast);
  const double prompt_seconds = seconds_since(start);
  const auto text_start = Clock::now();
  int64_t evaluations = 0;
  bool out_of_context = false;
  for (int64_t made = 0; made < options.tokens && !interrupted(); ++made) {
    const TokenId token = sampler.sample(logits);
    if (!options.raw && std::ranges::count(eos, token) > 0) break;
    write(decoder.next(token));
    if (made + 1 == options.tokens) break;
    out_of_context = limit && sequence.length() >= *limit;
    if (out_of_context) break;
    try {
      logits = executor.run(sequence, {&token, 1}, Executor::Logits::kLast);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kInterrupted) throw;
      break;
    }
    ++evaluations;
  }
  const double text_seconds = seconds_since(text_start);
  write(decoder.finish() + "\n");
  if (out_of_context) {
    fmt::print(stderr, "bitsmith: stopped at the end of the model's context, {} tokens\n", *limit);
  }
  if (options.stats) print_stats(prompt.size(), prompt_seconds, evaluations, text_seconds);
  check_interrupt();
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Write on from a prompt.");
  command->footer(
      "Examples:\n"
      "  bitsmith run small.bitsmith \"It was a dark night, and the captain\"\n"
      "  bitsmith run small.bitsmith \"Once upon a time\" -n 200 --temperature 0   always the "
      "same\n"
      "  cat story.txt | bitsmith run small.bitsmith - --no-echo --stats\n"
      "\n"
      "Starts at once, without comparing checksums: bitsmith inspect MODEL --verify does.");
  command
      ->add_option("MODEL", options->model, "a bitsmith file, a GGUF file or a Hugging Face folder")
      ->required();
  add_read_bits_option(*command, options->read_bits);
  command->add_option("PROMPT", options->prompt, "the text to go on from; - reads standard input")
      ->required();
  command->add_option("-n,--tokens", options->tokens, "write at most this many tokens")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command
      ->add_option("--temperature", options->sampler.temperature,
                   "divides the logits; 0 takes the most likely token")
      ->capture_default_str()
      ->check(number_from(0, 100));
  command
      ->add_option("--top-p", options->sampler.top_p,
                   "choose among the likeliest tokens that together have this probability")
      ->capture_default_str()
      ->check(number_from(0, 1));
  command
      ->add_option("--top-k", options->sampler.top_k,
                   "choose among this many likeliest tokens; 0 for all")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 31));
  command->add_option("--seed", options->sampler.seed, "of the random choices")
      ->capture_default_str()
      ->check(check_seed);
  command->add_option("--threads", options->threads, "threads (default: one per processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--raw", options->raw,
                    "the prompt without the tokenizer's start token, and on past end-of-text");
  command->add_flag("--no-echo", options->no_echo, "print only what the model writes");
  command->add_flag("--stats", options->stats, "print tokens per second to standard error");
  command->callback([options] { run(*options); });
}

}  // namespace bitsmith

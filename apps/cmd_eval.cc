// `bitsmith eval`: how well a model predicts a text or knows images, and how far it is from the
// original.
#include <fmt/core.h>

#include <memory>

#include "commands.h"
#include "core/interrupt.h"
#include "eval_images.h"
#include "evaluation/evaluate.h"
#include "formats/checkpoint.h"
#include "formats/model_tokenizer.h"
#include "model_options.h"
#include "products_option.h"
#include "report/table.h"
#include "report/units.h"
#include "text/corpus.h"

namespace bitsmith {
namespace {

struct EvalOptions {
  std::string model;
  double read_bits = 0;
  std::string text;
  std::string against;
  ImageOptions images;
  Products products = Products::kAuto;
  int64_t context = 0;
  int64_t tokens = 0;
  int threads = 0;
  bool json = false;
  bool quiet = false;
};

void add_row(Table& table, const char* name, const Model& model, const Perplexity& perplexity) {
  table.add_row(
      {name, format_estimate(perplexity.perplexity.value, perplexity.perplexity.error),
       format_estimate(perplexity.nats.value, perplexity.nats.error),
       fmt::format("{:.4f}", perplexity.bits_per_byte), format_bytes(model.parameter_bytes()),
       fmt::format("{:.3f}", bits_per_weight(model.parameter_bytes(), model.parameter_count()))});
}

void print(const EvalOptions& options, const Evaluation& evaluation, const Model& model,
           const Model* original) {
  fmt::print("{}: {} windows of {} tokens, {} tokens scored\n\n", options.text,
             format_count(evaluation.windows), format_count(evaluation.context),
             format_count(evaluation.model.tokens));
  Table table({left("model"), right("perplexity"), right("nats/token"), right("bits/byte"),
               right("parameters"), right("bpw")});
  if (original != nullptr) add_row(table, "original", *original, *evaluation.original);
  add_row(table, original != nullptr ? "compressed" : "model", model, evaluation.model);
  fmt::print("{}", table.text());
  if (!evaluation.divergence) return;
  const Divergence& d = *evaluation.divergence;
  FactList facts;
  facts.add("KL divergence, mean", format_estimate(d.kl_nats.value, d.kl_nats.error) + " nats");
  facts.add("  median", fmt::format("{:.5f} nats", d.kl_median_nats));
  facts.add("  99th percentile", fmt::format("{:.5f} nats", d.kl_p99_nats));
  facts.add("  largest", fmt::format("{:.5f} nats", d.kl_max_nats));
  facts.add("same first choice",
            format_estimate(100 * d.top1_agreement.value, 100 * d.top1_agreement.error) + " %");
  facts.add("nats lost per token", format_estimate(d.nats_lost.value, d.nats_lost.error));
  fmt::print("\n{}", facts.text());
}

// A measurement of a damaged file would look like one of a bad method. Other formats have no
// checksums.
void verify(const Model& model, Progress& progress) {
  if (model.format == "bitsmith") verify_checkpoint(model, progress);
}

void evaluate_command(const EvalOptions& options) {
  catch_interrupts();
  TerminalProgress bar;
  SilentProgress silent;
  Progress& progress = options.quiet ? static_cast<Progress&>(silent) : bar;
  Model model = open_model(options.model);
  std::optional<Model> original;
  if (!options.against.empty()) original = open_model(options.against);
  const bool is_language = is_language_model(model.graph);
  if (is_language ? options.text.empty() : options.images.images.empty()) {
    fail(ErrorCode::kInvalidArgument, "'{}' is {}", model.path.string(),
         is_language ? "a language model: give it --text (see --help)"
                     : "no language model: give it --images (see --help)");
  }
  if (!options.images.images.empty()) {
    verify(model, progress);
    apply_read_bits(model, options.read_bits);
    if (original) verify(*original, progress);
    evaluate_images(model, original ? &*original : nullptr, options.images, options.products,
                    options.threads, options.json, progress);
    return;
  }
  // A folder may lack tokenizer files that the other side has.
  const bool own_tokenizer = !model.tokenizer_files.empty() || !original;
  const auto tokenizer = tokenizer_of(own_tokenizer ? model : *original);
  const int64_t context = options.context > 0 ? options.context : default_context(model);
  const Windows windows = cut_windows(*tokenizer, read_text(options.text), context, options.tokens);
  verify(model, progress);
  apply_read_bits(model, options.read_bits);
  if (original) verify(*original, progress);

  ThreadPool pool(options.threads);
  const int64_t batch = evaluation_batch_tokens(model, context);
  Executor executor(model, pool, batch);
  std::unique_ptr<Executor> reference;
  if (original) reference = std::make_unique<Executor>(*original, pool, batch);
  const Evaluation evaluation = evaluate(executor, reference.get(), windows, progress);

  if (!options.json) {
    print(options, evaluation, model, original ? &*original : nullptr);
    return;
  }
  nlohmann::json json = evaluation.to_json();
  json["text"] = options.text;
  json["model"].update(size_json(model));
  if (original) json["original"].update(size_json(*original));
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

void add_eval(CLI::App& app) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand(
      "eval", "Perplexity on a text or accuracy on images; with --against, what compression lost.");
  command->footer(
      "Examples:\n"
      "  bitsmith eval small.bitsmith --text treasure_island.txt\n"
      "  bitsmith eval small.bitsmith --text treasure_island.txt --against models/classics-7m\n"
      "  bitsmith eval eight.bitsmith --text treasure_island.txt --read-bits 4.5\n"
      "  bitsmith eval net.onnx --images cifar-10-batches-bin --preprocess cifar10\n"
      "  bitsmith eval net.onnx --images photos.tar --resize 256 --crop 224 --json\n"
      "\n"
      "The text is cut into windows of --context tokens that do not overlap; the first token of\n"
      "each is not scored. Error bars are one standard error, with windows or images as the unit.\n"
      "--json also counts every class.\n"
      "Checksums of .bitsmith files are compared first.\n"
      "--read-bits measures what the file is when it is read at fewer bits; bitsmith convert, "
      "with\n"
      "the same option, writes that.\n\n" +
      std::string(kImageHelp));
  command
      ->add_option("MODEL", options->model,
                   "a bitsmith file, a GGUF file, a Hugging Face folder or an ONNX file")
      ->required();
  add_read_bits_option(*command, options->read_bits);
  CLI::Option* text = command->add_option("--text", options->text, "plain text to measure on");
  CLI::Option* images = add_image_options(*command, options->images);
  text->excludes(images);
  add_products_option(*command, options->products)->needs(images);
  command->add_option("--against", options->against, "the original model, to compare with");
  command
      ->add_option("--context", options->context,
                   "tokens in a window (default: the model's "
                   "own context, at most 2048)")
      ->needs(text)
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command->add_option("--tokens", options->tokens, "use at most this many tokens of the text")
      ->needs(text)
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 40));
  command->add_option("--threads", options->threads, "threads (default: one per processor)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--json", options->json, "print JSON");
  command->add_flag("--quiet", options->quiet, "no progress on standard error");
  command->callback([options] { evaluate_command(*options); });
}

}  // namespace bitsmith

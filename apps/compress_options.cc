#include "compress_options.h"

#include "core/error.h"
#include "pipeline/output_format.h"
#include "program.h"
#include "size_option.h"

namespace bitsmith {

void CompressOptions::add_common(CLI::App& command) {
  command
      .add_option("MODEL", request.model, "a Hugging Face folder, a GGUF, ONNX or .bitsmith file")
      ->required();
  recipe_option =
      command
          .add_option(
              "--recipe", request.recipe,
              "how to compress: a built-in recipe (`bitsmith list recipes`) or a .toml file")
          ->default_str("gptq-mix, or gguf-mix with --to gguf");
  command.add_option("--set", request.overrides,
                     "change a value of the recipe: --set code.bits=3 --set code.group=64");
  command.add_option_function<std::string>(
      "--entropy",
      [this](const std::string& id) { request.overrides.push_back("encode.id=\"" + id + "\""); },
      "lossless coding of the file: huffman, rans or none (default: the recipe's)");
  command.add_option("--calibration", request.calibration,
                     "text (without it the model writes its own) or images like what it will see");
  command
      .add_option("--imatrix", request.imatrix,
                  "llama.cpp's importance matrix instead of a text, for one kind of code")
      ->excludes("--calibration");
  add_image_options(command, images, nullptr);
  command.add_option("--ram", ram, "memory to use; what does not fit is spilled to disk")
      ->capture_default_str();
  command
      .add_option("--threads", request.threads,
                  "0: all processors. The result is the same for any number")
      ->check(CLI::Range(0, 1024));
  command.add_option("--seed", request.seed, "of everything that is drawn")
      ->capture_default_str()
      ->check(check_seed);
  command.add_option("--device", request.device, "cpu or cuda (where libtorch has it)")
      ->capture_default_str();
}

void CompressOptions::add_budget(CLI::App& command) {
  bits_option = command.add_option(
      "--bits", bits, "bits per weight over all parameters, scales and zero points included");
  size_option = command
                    .add_option("--size", size,
                                "size of the whole file, before lossless coding: 180MB, 1.5GiB")
                    ->excludes(bits_option);
}

void CompressOptions::add_target(CLI::App& command) {
  command
      .add_option("--to", request.format,
                  "the kind of file: bitsmith, or gguf for llama.cpp, in ggml's types")
      ->capture_default_str();
  CLI::Option* type = command.add_option(
      "--type", request.type,
      "of GGUF, instead of a budget: a type (Q4_K) or llama.cpp's mixture (Q4_K_M)");
  add_budget(command);
  bits_option->excludes(type);
  size_option->excludes(type);
}

namespace {

CalibrationImages opened(const ImageOptions& options, const Model& model) {
  CalibrationImages images;
  images.dataset = open_images(options);
  images.preprocessing = choose_preprocessing(options, model, *images.dataset);
  images.label_offset = choose_label_offset(options, model);
  return images;
}

}  // namespace

void CompressOptions::open_calibration(CompressRequest& result) const {
  const bool none = images == ImageOptions();
  if (request.calibration.empty() && test_images.empty() && !none) {
    fail(ErrorCode::kInvalidArgument,
         "--labels, --preprocess and the like are for images: name some with --calibration");
  }
  const Model model = open_model(request.model);
  if (is_language_model(model.graph)) {
    if (!none || !test_images.empty()) {
      fail(ErrorCode::kInvalidArgument,
           "'{}' is a language model: --labels, --preprocess and the like are for images",
           request.model.string());
    }
    return;
  }
  if (request.calibration.empty()) return;
  ImageOptions options = images;
  options.images = request.calibration.string();
  if (!test_images.empty()) {
    options.labels.clear();
    options.limit = 0;
  }
  result.images = opened(options, model);
}

void CompressOptions::add_measurement(CLI::App& command, const std::string& comment) {
  const auto description = [&](const char* what) {
    return fmt::format("measure on {}{}", what, comment);
  };
  CLI::Option* text = command.add_option("--text", test_text, description("this text"));
  command.add_option("--images", test_images, description("these images"))
      ->excludes(text)
      ->group("Images");
}

MeasurementData CompressOptions::measurement() const {
  const bool on_text = !test_text.empty();
  const std::string& own = on_text ? test_text : test_images;
  if (own.empty()) return {};
  const Model model = open_model(request.model);
  if (is_language_model(model.graph) != on_text) {
    fail(ErrorCode::kInvalidArgument, "'{}' is measured on {}: name some with {}",
         request.model.string(), on_text ? "images" : "a text", on_text ? "--images" : "--text");
  }
  std::error_code different;
  if (std::filesystem::equivalent(request.calibration, own, different)) {
    fail(ErrorCode::kInvalidArgument,
         "{} and --calibration are the same file '{}': what codes were fitted to says nothing "
         "about what was lost",
         on_text ? "--text" : "--images", own);
  }
  if (on_text) return {test_text, std::nullopt};
  ImageOptions options = images;
  options.images = test_images;
  return {{}, opened(options, model)};
}

CompressRequest CompressOptions::finish() const {
  CompressRequest result = request;
  if (recipe_option != nullptr && recipe_option->count() == 0) {
    result.recipe = Registry<OutputFormat>::instance().get(request.format).usual_recipe();
  }
  result.ram_bytes = parse_size(ram, "--ram");
  if (result.ram_bytes < uint64_t{256} << 20) {
    fail(ErrorCode::kInvalidArgument, "--ram {}: at least 256MiB are needed", ram);
  }
  open_calibration(result);
  if (bits_option != nullptr && bits_option->count() > 0) result.budget.bits = bits;
  if (size_option != nullptr && size_option->count() > 0) {
    result.budget.file_bytes = parse_size(size, "--size");
  }
  return result;
}

}  // namespace bitsmith

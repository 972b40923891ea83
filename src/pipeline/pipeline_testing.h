// Helpers of tests: random models of some 30,000 weights as Hugging Face folders.
#pragma once

#include <cmath>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/progress.h"
#include "core/random.h"
#include "core/testing.h"
#include "formats/random_folder_testing.h"
#include "pipeline/compress.h"

namespace bitsmith::testing {

// Two layers, hidden 32, 4 heads of 8 channels over 2 kv heads, a token for each byte and an end.
inline nlohmann::json tiny_config() {
  return {{"model_type", "llama"},    {"vocab_size", 257},      {"hidden_size", 32},
          {"intermediate_size", 48},  {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"hidden_act", "silu"},   {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},     {"rope_theta", 10000.0},  {"tie_word_embeddings", false}};
}

// A byte-level tokenizer: token b is the byte b, 256 ends a text.
inline std::string byte_tokenizer() {
  nlohmann::json vocabulary;
  int other = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool shown = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    const int point = shown ? byte : other++;
    std::string utf8;
    if (point >= 0x80) {
      utf8 += static_cast<char>(0xc0 | point >> 6);
      utf8 += static_cast<char>(0x80 | (point & 0x3f));
    } else {
      utf8 += static_cast<char>(point);
    }
    vocabulary[utf8] = byte;
  }
  const nlohmann::json level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}};
  const nlohmann::json end = {
      {"id", 256},       {"content", "<|end|>"}, {"special", true},    {"single_word", false},
      {"lstrip", false}, {"rstrip", false},      {"normalized", false}};
  return nlohmann::json{
      {"version", "1.0"},
      {"added_tokens", nlohmann::json::array({end})},
      {"normalizer", nullptr},
      {"pre_tokenizer", level},
      {"post_processor", nullptr},
      {"decoder", level},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}}
      .dump();
}

// Writes config.json, model.safetensors (bf16) and tokenizer.json. `changes` are merged into
// tiny_config().
inline void write_tiny_model(const std::filesystem::path& folder,
                             const nlohmann::json& changes = nlohmann::json::object(),
                             const Edit& edit = {}) {
  nlohmann::json config = tiny_config();
  config.update(changes);
  write_random_folder(folder, config, edit);
  write_bytes(folder / "tokenizer.json", byte_tokenizer());
}

// `words` words of a language of 40 words, some far more frequent than others.
inline std::string random_text(int words, uint64_t seed = 3) {
  Random random(seed);
  std::vector<std::string> language;
  for (int i = 0; i < 40; ++i) {
    std::string word;
    for (uint64_t n = 2 + random.below(6); n > 0; --n) {
      word += static_cast<char>('a' + static_cast<char>(random.below(26)));
    }
    language.push_back(word);
  }
  std::string text;
  for (int i = 0; i < words; ++i) {
    const double u = random.uniform();
    text += language[static_cast<size_t>(u * u * 40)];
    text += random.below(8) == 0 ? ". " : " ";
  }
  return text;
}

// Thrown by StopAfter, as a crash would stop the work.
struct Stopped {};

// Counts the calls of a run and, if asked for, stops it at one of them.
class StopAfter final : public Progress {
 public:
  explicit StopAfter(int calls = 0) : left_(calls) {}  // 0: never
  void begin(const std::string& phase, double) override {
    phases_.push_back(phase);
    count();
  }
  void update(double, const std::string&) override { count(); }
  void end() override { count(); }

  int calls() const { return calls_; }
  const std::vector<std::string>& phases() const { return phases_; }

 private:
  void count() {
    ++calls_;
    if (left_ > 0 && --left_ == 0) throw Stopped();
  }
  int left_;
  int calls_ = 0;
  std::vector<std::string> phases_;
};

// A model, a text and requests for them, in a folder of their own.
struct TinyJob {
  explicit TinyJob(const nlohmann::json& changes = nlohmann::json::object(),
                   const Edit& edit = {}) {
    write_tiny_model(folder / "model", changes, edit);
    write_bytes(folder / "text.txt", random_text(400));
    request.model = folder / "model";
    request.output = folder / "out.bitsmith";
    request.calibration = folder / "text.txt";
    request.overrides = {"code.bits=[2, 4, 8]", "code.group=[16, 32]", "code.symmetric=false",
                         "calibrate.sequences=5", "calibrate.length=24"};
    request.budget.bits = 5;
    request.threads = 2;
  }

  // The bytes of the written file; it is removed.
  std::string compressed(const CompressRequest& wanted) {
    SilentProgress silent;
    report = compress(wanted, silent);
    const std::string bytes = read_bytes(wanted.output);
    std::filesystem::remove(wanted.output);
    return bytes;
  }

  std::filesystem::path partial() const { return request.output.string() + ".partial"; }

  // In memory where there is such a place: tests sync thousands of small files.
  TemporaryFolder folder{std::filesystem::is_directory("/dev/shm")
                             ? std::filesystem::path("/dev/shm")
                             : std::filesystem::temp_directory_path()};
  CompressRequest request;
  CompressReport report;  // of the last compressed()
};

}  // namespace bitsmith::testing

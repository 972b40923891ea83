// Which tokenizer a set of files describes, and reading those files.
#include "text/tokenizer.h"

#include <fstream>

#include "core/error.h"
#include "text/hf_tokenizer.h"
#include "text/sentencepiece_tokenizer.h"

namespace bitsmith {
namespace {

// The last four say nothing of tokens, but what chat programs do with them: they are carried along.
constexpr const char* kNames[] = {
    "tokenizer.json",    "tokenizer.model",     "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "generation_config.json"};
constexpr uintmax_t kMaxFileBytes = uintmax_t{256} << 20;

std::string read_bounded(const std::filesystem::path& path) {
  std::error_code status;
  const uintmax_t size = std::filesystem::file_size(path, status);
  if (status) {
    fail(ErrorCode::kEnvironment, "{}: cannot be read: {}", path.string(), status.message());
  }
  if (size > kMaxFileBytes) {
    fail(ErrorCode::kCorrupt, "{}: {} bytes, more than the {} a tokenizer file may have",
         path.string(), size, kMaxFileBytes);
  }
  std::ifstream stream(path, std::ios::binary);
  std::string bytes(size, '\0');
  if (!stream.read(bytes.data(), static_cast<std::streamsize>(size))) {
    fail(ErrorCode::kEnvironment, "{}: reading its {} bytes failed", path.string(), size);
  }
  return bytes;
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerFiles& files) {
  const auto bytes_of = [&](const char* name) -> const std::string& {
    static const std::string kNone;
    const auto found = files.find(name);
    return found == files.end() ? kNone : found->second;
  };
  const std::string& config = bytes_of("tokenizer_config.json");
  if (files.contains("tokenizer.json")) {
    return text::make_hf_tokenizer(bytes_of("tokenizer.json"), config);
  }
  if (files.contains("tokenizer.model")) {
    return text::make_sentencepiece_tokenizer(bytes_of("tokenizer.model"), config);
  }
  fail(ErrorCode::kNotFound,
       "tokenizer: neither tokenizer.json nor tokenizer.model is there; copy one from the model's "
       "source beside its weights");
}

TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder) {
  TokenizerFiles files;
  for (const char* name : kNames) {
    const std::filesystem::path path = folder / name;
    std::error_code status;
    if (std::filesystem::is_regular_file(path, status)) files[name] = read_bounded(path);
  }
  return files;
}

}  // namespace bitsmith

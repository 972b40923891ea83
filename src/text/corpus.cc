#include "text/corpus.h"

#include <fstream>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "text/unicode.h"

namespace bitsmith {

std::string read_text(const std::filesystem::path& path, uint64_t max_bytes) {
  std::error_code status;
  const std::filesystem::file_status kind = std::filesystem::status(path, status);
  if (!std::filesystem::exists(kind) || std::filesystem::is_directory(kind)) {
    fail(ErrorCode::kNotFound, "{}: {}", path.string(),
         std::filesystem::is_directory(kind) ? "is a folder; name a text file"
                                             : "there is no such text file");
  }
  if (!std::filesystem::is_regular_file(kind)) {
    fail(ErrorCode::kInvalidArgument,
         "{}: the text is empty or without end, since this is no regular file; name a text file",
         path.string());
  }
  const uintmax_t size = std::filesystem::file_size(path, status);
  if (status) {
    fail(ErrorCode::kEnvironment, "{}: cannot be read: {}", path.string(), status.message());
  }
  if (size > max_bytes) {
    fail(ErrorCode::kInvalidArgument, "{}: {} bytes of text, the limit is {}; cut it",
         path.string(), size, max_bytes);
  }
  std::ifstream stream(path, std::ios::binary);
  std::string bytes(size, '\0');
  if (!stream.read(bytes.data(), static_cast<std::streamsize>(size))) {
    fail(ErrorCode::kEnvironment, "{}: reading its {} bytes failed", path.string(), size);
  }
  using namespace std::string_view_literals;
  static constexpr std::pair<std::string_view, std::string_view> kCompressed[] = {
      {"\xFD"
       "7zXZ\0"sv,
       "xz -dk"},
      {"\x1F\x8B"sv, "gunzip -k"},
      {"\x28\xB5\x2F\xFD"sv, "zstd -d"},
      {"BZh"sv, "bunzip2 -k"}};
  for (const auto& [magic, command] : kCompressed) {
    if (bytes.starts_with(magic)) {
      fail(ErrorCode::kUnsupported, "{}: is compressed; decompress it first: {} '{}'",
           path.string(), command, path.string());
    }
  }
  if (const auto broken = text::find_broken_utf8(bytes)) {
    fail(ErrorCode::kCorrupt,
         "{}: is not UTF-8: the byte 0x{:02X} at offset {} is no part of a character; convert the "
         "text, for example with iconv",
         path.string(), static_cast<unsigned char>(bytes[*broken]), *broken);
  }
  return bytes;
}

std::vector<TokenId> tokenize_file(const std::filesystem::path& path, const Tokenizer& tokenizer,
                                   bool add_special) {
  return tokenizer.encode(read_text(path), add_special);
}

}  // namespace bitsmith

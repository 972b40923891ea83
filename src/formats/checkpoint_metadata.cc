#include "formats/checkpoint_metadata.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/gzip.h"
#include "formats/json_text.h"

namespace bitsmith::checkpoint {
namespace {

// For each entry taken: the size of its key (u64 LE), the key, the size of its value, the value.
template <class Predicate>
std::string message_of(const std::map<std::string, std::string>& metadata, Predicate is_taken) {
  std::string message;
  const auto append = [&](std::string_view text) {
    for (int i = 0; i < 8; ++i) message += static_cast<char>(uint64_t{text.size()} >> (8 * i));
    message += text;
  };
  for (const auto& [key, value] : metadata) {
    if (!is_taken(key)) continue;
    append(key);
    append(value);
  }
  return message;
}

}  // namespace

bool is_reserved(std::string_view key) {
  constexpr std::array kReserved = {kVersion, kGraph, kConfig, kTensors, kFiles, kChecksum};
  return std::ranges::find(kReserved, key) != kReserved.end();
}

std::optional<DType> plain_dtype(std::string_view codec_id) {
  if (codec_id == "f32") return DType::kF32;
  if (codec_id == "f16") return DType::kF16;
  if (codec_id == "bf16") return DType::kBF16;
  return std::nullopt;
}

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

std::string checksum(std::span<const std::byte> bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

std::string metadata_checksum(const std::map<std::string, std::string>& metadata) {
  const std::string message =
      message_of(metadata, [](std::string_view key) { return key != kChecksum; });
  return checksum(std::as_bytes(std::span(message)));
}

bool stays_in_header(std::string_view key) {
  return key == "format" || key == kVersion || key == kChecksum;
}

std::vector<std::byte> pack_metadata(const std::map<std::string, std::string>& metadata) {
  const std::string message =
      message_of(metadata, [](std::string_view key) { return !stays_in_header(key); });
  if (message.size() > kMaxMetadataBytes) {
    fail(ErrorCode::kUnsupported, "checkpoint: there are {} bytes of metadata, at most {} are read",
         message.size(), kMaxMetadataBytes);
  }
  return deflate_gzip(std::as_bytes(std::span(message)));
}

void unpack_metadata(std::span<const std::byte> bytes, const std::string& file,
                     std::map<std::string, std::string>& metadata) {
  const std::vector<std::byte> message = inflate_gzip(bytes, kMaxMetadataBytes, file);
  const auto corrupt = [&](const std::string& reason) {
    fail(ErrorCode::kCorrupt, "'{}': tensor '{}': {} (damaged file)", file, kPackedMetadata,
         reason);
  };
  size_t at = 0;
  const auto take = [&] {
    uint64_t size = 0;
    if (message.size() - at < sizeof(size)) corrupt("it ends within a size");
    for (size_t i = 0; i < sizeof(size); ++i) {
      size |= static_cast<uint64_t>(message[at + i]) << (8 * i);
    }
    at += sizeof(size);
    if (size > message.size() - at) corrupt("it ends within a text");
    std::string text(reinterpret_cast<const char*>(message.data()) + at, size);
    at += size;
    return text;
  };
  std::string last;
  while (at < message.size()) {
    std::string key = take();
    std::string value = take();
    if (key <= last) corrupt(fmt::format("{} does not come in order", quoted_name(key)));
    last = key;
    if (stays_in_header(key)) corrupt(fmt::format("{} belongs in the header", quoted_name(key)));
    if (metadata.contains(key)) corrupt(fmt::format("{} is there twice", quoted_name(key)));
    metadata.emplace(std::move(key), std::move(value));
  }
}

}  // namespace bitsmith::checkpoint

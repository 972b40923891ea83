#include "formats/checkpoint_metadata.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>

namespace bitsmith::checkpoint {

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
  std::string message;
  const auto append = [&](std::string_view text) {
    for (int i = 0; i < 8; ++i) message += static_cast<char>(uint64_t{text.size()} >> (8 * i));
    message += text;
  };
  for (const auto& [key, value] : metadata) {
    if (key == kChecksum) continue;
    append(key);
    append(value);
  }
  return checksum(std::as_bytes(std::span(message)));
}

}  // namespace bitsmith::checkpoint

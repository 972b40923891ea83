// Any bytes as a checkpoint; every tensor of those that open is decoded.
#include "formats/checkpoint.h"

#include <cstring>
#include <vector>

#include "formats/checkpoint_metadata.h"
#include "formats/safetensors.h"
#include "fuzz_target.h"
#include "safetensors_mutator.h"

namespace {

using namespace bitsmith;

// Writes the right checksum over the metadata's, so that damage gets past it.
std::vector<char> with_right_checksum(std::string_view input) {
  std::vector<char> file(input.begin(), input.end());
  constexpr std::string_view kKey = "\"bitsmith.checksum\":\"";
  const size_t at = input.find(kKey);
  if (at == input.npos || input.size() - at < kKey.size() + 16) return file;
  allow_errors([&] {
    const Safetensors container = read_safetensors(std::as_bytes(std::span(file)), "input");
    std::map<std::string, std::string> metadata = container.metadata;
    const auto packed = container.tensors.find(checkpoint::kPackedMetadata);
    if (packed != container.tensors.end()) {
      checkpoint::unpack_metadata(packed->second.bytes, "input", metadata);
    }
    const std::string right = checkpoint::metadata_checksum(metadata);
    std::memcpy(file.data() + at + kKey.size(), right.data(), right.size());
  });
  return file;
}

// At most. Codes that stand for blocks of columns can take less than a bit per weight: 2 bits for 8
// columns, and 7 for 32.
int64_t weights_in_a_byte(const Codec& codec) {
  const std::string_view id = codec.info().id;
  if (id == "vector") return 32;
  if (id == "pvq") return 37;
  return 8;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<char> file = with_right_checksum(text_of(data, size));
  allow_errors([&] {
    const Model model = read_checkpoint(std::as_bytes(std::span(file)), "input");
    for (const auto& [name, tensor] : model.parameters) {
      // 1024 times as many bytes where they are entropy-coded: the file bounds this.
      const int64_t most =
          weights_in_a_byte(*tensor.scheme.codec) * (tensor.entropy_coder.empty() ? 1 : 1024);
      FUZZ_EXPECT(*element_count(tensor.shape) <= most * static_cast<int64_t>(size));
      tensor.decode_all();
    }
  });
  return 0;
}

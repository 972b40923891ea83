// Any bytes as a safetensors file.
#include "formats/safetensors.h"

#include "fuzz_target.h"
#include "safetensors_mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  allow_errors([&] {
    const auto bytes = bytes_of(data, size);
    const bitsmith::Safetensors file = bitsmith::read_safetensors(bytes, "input");
    size_t total = 0;
    for (const auto& [name, tensor] : file.tensors) {
      total += tensor.bytes.size();
      if (tensor.bytes.empty()) continue;
      FUZZ_EXPECT(&tensor.bytes.front() >= &bytes.front());
      FUZZ_EXPECT(&tensor.bytes.back() <= &bytes.back());
    }
    FUZZ_EXPECT(total < size);
  });
  return 0;
}

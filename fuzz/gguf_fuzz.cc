// Any bytes as a GGUF file: the container, then the model and its tokenizer.
#include "formats/gguf.h"

#include "formats/gguf_model.h"
#include "formats/gguf_tokenizer.h"
#include "fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = bytes_of(data, size);
  allow_errors([&] {
    const bitsmith::Gguf file = bitsmith::read_gguf(bytes, "input");
    size_t total = 0;
    for (const auto& [name, tensor] : file.tensors) {
      total += tensor.bytes.size();
      if (tensor.bytes.empty()) continue;
      FUZZ_EXPECT(&tensor.bytes.front() >= &bytes.front());
      FUZZ_EXPECT(&tensor.bytes.back() <= &bytes.back());
    }
    FUZZ_EXPECT(total < size);
    const auto tokenizer = bitsmith::make_tokenizer(bitsmith::tokenizer_from_gguf(file));
    const auto ids = tokenizer->encode("A tale, twice told.\n", true);
    for (const auto id : ids) FUZZ_EXPECT(id >= 0 && id < tokenizer->vocab_size());
  });
  allow_errors([&] {
    const bitsmith::Model model = bitsmith::read_gguf_model(bytes, "input");
    for (const auto& [name, tensor] : model.parameters) {
      const auto matrix = tensor.matrix();
      if (matrix.rows == 0) continue;
      std::vector<float> row(static_cast<size_t>(matrix.cols));
      tensor.decode(matrix.rows - 1, 1, row.data());
    }
  });
  return 0;
}

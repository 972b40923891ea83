// Any text as a tokenizer.json. A zero byte may end it; what follows is the text to encode.
#include "tokenizer_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input = text_of(data, size);
  const size_t end = input.find('\0');
  const std::string_view text = end == input.npos ? kSampleText : input.substr(end + 1);
  exercise_tokenizer({{"tokenizer.json", std::string(input.substr(0, end))}}, text);
  return 0;
}

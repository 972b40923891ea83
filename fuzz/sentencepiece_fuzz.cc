// Any bytes as a SentencePiece tokenizer.model.
#include "protobuf_mutator.h"
#include "tokenizer_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  exercise_tokenizer({{"tokenizer.model", std::string(text_of(data, size))}}, kSampleText);
  return 0;
}

// What every tokenizer must do with every text.
#pragma once

#include <string>

#include "fuzz_target.h"
#include "text/tokenizer.h"

inline constexpr std::string_view kSampleText =
    "The  quick\tbrown f\xc3\xb6x's 12345 \xe2\x96\x81 \xf0\x9f\xa6\x8a<s></s>\xff\n\n e\xcc\x81 ";

// Makes the tokenizer; if that works, encodes and decodes.
inline void exercise_tokenizer(const bitsmith::TokenizerFiles& files, std::string_view text) {
  std::unique_ptr<bitsmith::Tokenizer> tokenizer;
  allow_errors([&] { tokenizer = bitsmith::make_tokenizer(files); });
  if (tokenizer == nullptr) return;
  // No text makes encode() throw: outside allow_errors.
  const std::vector<bitsmith::TokenId> ids = tokenizer->encode(text, true);
  for (const bitsmith::TokenId id : ids) FUZZ_EXPECT(id >= 0 && id < tokenizer->vocab_size());
  const std::string whole = tokenizer->decode(ids);
  bitsmith::StreamDecoder stream(*tokenizer);
  std::string parts;
  for (const bitsmith::TokenId id : ids) parts += stream.next(id);
  parts += stream.finish();
  FUZZ_EXPECT(parts == whole);
  tokenizer->encode(text.substr(0, 3), false);
  tokenizer->decode(std::vector<bitsmith::TokenId>{-1, 0, INT32_MAX});
}

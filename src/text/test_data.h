// Where the tests of this room find their data.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/testing.h"
#include "text/tokenizer.h"

namespace bitsmith::text {

using testing::read_bytes;
using testing::shared_data;

inline std::filesystem::path vectors_folder() {
  return testing::source_folder() / "tests" / "vectors" / "text";
}

// The texts of texts.json: strings, or bytes in hexadecimal where they are not UTF-8.
inline std::vector<std::string> vector_texts() {
  std::vector<std::string> texts;
  const auto json = nlohmann::json::parse(read_bytes(vectors_folder() / "texts.json"));
  for (const auto& entry : json) {
    if (entry.is_string()) {
      texts.push_back(entry.get<std::string>());
      continue;
    }
    const auto hex = entry.at("hex").get<std::string>();
    std::string bytes;
    for (size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    texts.push_back(bytes);
  }
  return texts;
}

inline std::string stream_all(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const TokenId id : ids) text += decoder.next(id);
  return text + decoder.finish();
}

}  // namespace bitsmith::text

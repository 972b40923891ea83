// Where the tests of this room find their data.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "text/tokenizer.h"

#ifndef BITSMITH_SOURCE_DIR
#define BITSMITH_SOURCE_DIR "."
#endif

namespace bitsmith::text {

inline std::filesystem::path vectors_folder() {
  return std::filesystem::path(BITSMITH_SOURCE_DIR) / "tests" / "vectors" / "text";
}

// Real models and texts, which need not be there: skip by name when a path does not exist.
inline std::filesystem::path data_folder() {
  const char* folder = std::getenv("BITSMITH_DATA");
  if (folder != nullptr) return folder;
  return std::filesystem::path(BITSMITH_SOURCE_DIR) / ".." / "shared" / "data";
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream bytes;
  bytes << stream.rdbuf();
  return std::move(bytes).str();
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

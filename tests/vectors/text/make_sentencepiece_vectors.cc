// Writes small SentencePiece models and what Google's library makes of the texts with them.
// No part of the build, since the library's protobuf clashes with the one bitsmith uses:
//   g++ -std=c++20 make_sentencepiece_vectors.cc -lsentencepiece -lsentencepiece_train -o make
//   ./make TREASURE_ISLAND.TXT CLASSICS_TOKENIZER.MODEL
// in this folder, with Debian's libsentencepiece-dev and nlohmann-json3-dev.
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

using Json = nlohmann::json;

std::string read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream bytes;
  bytes << stream.rdbuf();
  return bytes.str();
}

std::vector<std::string> texts() {
  std::vector<std::string> result;
  for (const Json& entry : Json::parse(read("texts.json"))) {
    // Broken UTF-8 is repaired by bitsmith before the model sees it.
    if (entry.is_string()) result.push_back(entry.get<std::string>());
  }
  return result;
}

Json expected(const std::string& model) {
  sentencepiece::SentencePieceProcessor processor;
  if (!processor.LoadFromSerializedProto(model).ok()) std::abort();
  Json ids = Json::array();
  Json decoded = Json::object();  // by index, only where it is not the text
  for (const std::string& text : texts()) {
    ids.push_back(processor.EncodeAsIds(text));
    const std::string back = processor.DecodeIds(ids.back().get<std::vector<int>>());
    if (back != text) decoded[std::to_string(ids.size() - 1)] = back;
  }
  // Random sequences without the unknown piece, which the library shows as U+2047.
  Json random = Json::array();
  std::mt19937 generator(7);
  for (int i = 0; i < 20; ++i) {
    std::vector<int> sequence;
    while (sequence.size() < 12) {
      const int id =
          static_cast<int>(generator() % static_cast<unsigned>(processor.GetPieceSize()));
      if (!processor.IsUnknown(id)) sequence.push_back(id);
    }
    random.push_back({{"ids", sequence}, {"text", processor.DecodeIds(sequence)}});
  }
  return {{"ids", ids}, {"decoded", decoded}, {"random", random}};
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string novel = read(argv[1]).substr(0, 120000);
  std::ofstream("/tmp/bitsmith-corpus.txt") << novel;
  std::ofstream("/tmp/bitsmith-rules.tsv")
      << "FF21\t41\nFF48\t68\n41 30A\tC5\n212B\tC5\nFB01\t66 69\n"
         "A0\t20\n3000\t20\n9\t20\nA\t20\nD\t\n200B\t\n";
  const std::string common =
      "--input=/tmp/bitsmith-corpus.txt --model_prefix=/tmp/bitsmith-model --num_threads=1 "
      "--hard_vocab_limit=false --minloglevel=2 ";
  const std::pair<std::string, std::string> kinds[] = {
      {"bpe_bytes",
       "--model_type=bpe --vocab_size=700 --byte_fallback=true --split_digits=true "
       "--normalization_rule_name=identity --remove_extra_whitespaces=false "
       "--user_defined_symbols=<|end|>,wordy,...."},
      {"bpe_unknown",
       "--model_type=bpe --vocab_size=400 --character_coverage=0.99 "
       "--normalization_rule_tsv=/tmp/bitsmith-rules.tsv"},
      {"unigram",
       "--model_type=unigram --vocab_size=400 "
       "--normalization_rule_tsv=/tmp/bitsmith-rules.tsv --user_defined_symbols=<|end|>"},
      {"unigram_bytes",
       "--model_type=unigram --vocab_size=600 --byte_fallback=true "
       "--normalization_rule_name=identity --add_dummy_prefix=false"},
  };
  Json all = Json::object();
  for (const auto& [name, options] : kinds) {
    if (!sentencepiece::SentencePieceTrainer::Train(common + options).ok()) std::abort();
    const std::string model = read("/tmp/bitsmith-model.model");
    std::ofstream("sentencepiece_" + name + ".model", std::ios::binary) << model;
    all[name] = expected(model);
  }
  std::ofstream("sentencepiece.json") << all.dump() << "\n";
  std::ofstream("classics.json") << expected(read(argv[2])).dump() << "\n";
}

// Checkpoints whose tensors are entropy-coded.
#include "core/gzip.h"
#include "formats/checkpoint_metadata.h"
#include "formats/formats_test_support.h"
#include "formats/resident.h"
#include "formats/safetensors.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A network whose matrices are worth coding and whose bias is not.
struct CodableModel {
  CheckpointContents contents;
  std::vector<std::vector<std::byte>> bytes;

  explicit CodableModel(const char* coder) {
    Graph& graph = contents.graph;
    const ValueId tokens = graph.add_input("tokens", {kBatch, kTime});
    const ValueId table = graph.add_parameter("embed", {200, 24}, "embedding");
    const ValueId up = graph.add_parameter("up", {50, 24}, "mlp.up");
    const ValueId bias = graph.add_parameter("bias", {50}, "bias");
    const ValueId x = ops::embedding(graph, "x", tokens, table);
    graph.outputs = {ops::linear(graph, "logits", x, up, bias)};
    add("embed", {200, 24}, Scheme("int", {{"bits", 3}, {"group", 0}, {"symmetric", false}}));
    add("up", {50, 24}, Scheme("bf16", json::object()));
    add("bias", {50}, Scheme("f16", json::object()));
    contents.entropy_coder = &Registry<EntropyCoder>::instance().get(coder);
  }

  void add(const std::string& name, const Shape& shape, const Scheme& scheme) {
    bytes.push_back(encode(scheme, shape, normal_values(shape, bytes.size() + 1)));
    contents.parameters[name] = {name, shape, scheme, bytes.back()};
  }
};

std::string file_text(const CheckpointContents& contents) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "m.bitsmith", contents);
  return read_bytes(folder / "m.bitsmith");
}

TEST(EntropyCheckpoint, OpensToTheBytesBeforeCoding) {
  for (const char* coder : {"huffman", "rans"}) {
    const TemporaryFolder folder;
    const CodableModel source(coder);
    write_checkpoint(folder / "m.bitsmith", source.contents);
    const Model model = open_checkpoint(folder / "m.bitsmith");
    for (const auto& [name, expected] : source.contents.parameters) {
      const CodedTensor& actual = model.parameter(name);
      EXPECT_TRUE(std::ranges::equal(actual.bytes, expected.bytes)) << name;
      EXPECT_EQ(actual.scheme.to_json(), expected.scheme.to_json());
      EXPECT_EQ(actual.entropy_coder, name == "bias" ? "" : coder);
      EXPECT_LE(actual.stored_bytes().size(), expected.bytes.size());
    }
    EXPECT_LT(model.parameter_bytes(), model.packed_bytes());
    // Pages that are given back are not lost.
    const CodedTensor& embed = model.parameter("embed");
    release_pages(model.decoded->bytes());
    EXPECT_TRUE(std::ranges::equal(embed.bytes, source.contents.parameters.at("embed").bytes));
    SilentProgress progress;
    verify_checkpoint(model, progress);
  }
}

TEST(EntropyCheckpoint, ResidentWeightsAreTheSame) {
  for (const char* coder : {"huffman", ""}) {
    const TemporaryFolder folder;
    CodableModel source("huffman");
    if (*coder == '\0') source.contents.entropy_coder = nullptr;
    write_checkpoint(folder / "m.bitsmith", source.contents);
    for (const int threads : {1, 3}) {
      Model model = open_checkpoint(folder / "m.bitsmith");
      const Model before = model;
      ThreadPool pool(threads);
      ASSERT_TRUE(make_resident(model, pool));
      for (const auto& [name, expected] : source.contents.parameters) {
        EXPECT_TRUE(std::ranges::equal(model.parameter(name).bytes, expected.bytes)) << name;
        EXPECT_EQ(model.parameter(name).entropy_coder, before.parameter(name).entropy_coder);
      }
      // What is only looked up, or is no matrix, stays where it is.
      const auto data = [](const Model& of, const char* name) {
        return of.parameter(name).bytes.data();
      };
      EXPECT_NE(data(model, "up"), data(before, "up"));
      EXPECT_EQ(data(model, "embed"), data(before, "embed"));
      EXPECT_EQ(data(model, "bias"), data(before, "bias"));
      EXPECT_EQ(model.parameter_bytes(), before.parameter_bytes());
    }
  }
}

TEST(EntropyCheckpoint, SameBytesForAnyThreads) {
  CodableModel source("rans");
  source.contents.threads = 1;
  const std::string one = file_text(source.contents);
  source.contents.threads = 3;
  EXPECT_EQ(file_text(source.contents), one);
}

// Older readers refuse the file by its version; files without coded tensors stay theirs.
TEST(EntropyCheckpoint, OnlyCodedFilesAreOfVersionThree) {
  const auto version = [](const CheckpointContents& contents) {
    const std::string text = file_text(contents);
    return read_safetensors(as_bytes(text), "file").metadata.at("bitsmith.version");
  };
  CodableModel source("huffman");
  EXPECT_EQ(version(source.contents), "3");
  source.contents.entropy_coder = nullptr;
  EXPECT_EQ(version(source.contents), "1");
}

TEST(EntropyCheckpoint, NeverCrashes) {
  for (const char* coder : {"huffman", "rans"}) {
    expect_never_crashes(file_text(CodableModel(coder).contents), 2000,
                         [](std::span<const std::byte> bytes) { read_checkpoint(bytes, "file"); });
  }
}

// The file with other metadata, in its header: version 2.
std::string with_metadata(const std::string& text, std::map<std::string, std::string> metadata) {
  metadata["bitsmith.version"] = "2";
  metadata["bitsmith.checksum"] = checkpoint::metadata_checksum(metadata);
  uint64_t size = 0;
  std::memcpy(&size, text.data(), sizeof(size));
  json header = json::parse(text.substr(8, size));
  const json offsets = header.at("bitsmith.metadata").at("data_offsets");
  header.erase("bitsmith.metadata");
  header["__metadata__"] = metadata;
  std::string head = header.dump();
  head.resize((head.size() + 8 + 63) / 64 * 64 - 8, ' ');
  const std::string data = text.substr(8 + size);
  EXPECT_EQ(offsets[1], data.size());  // packed metadata come last
  return safetensors_text(head, data.substr(0, offsets[0].get<size_t>()));
}

std::map<std::string, std::string> metadata_of(const std::string& text) {
  const Safetensors container = read_safetensors(as_bytes(text), "file");
  std::map<std::string, std::string> metadata = container.metadata;
  checkpoint::unpack_metadata(container.tensors.at("bitsmith.metadata").bytes, "file", metadata);
  return metadata;
}

// The file with bitsmith.tensors changed, and the metadata checksum made right.
std::string changed(const std::string& text, const std::function<void(json&)>& change) {
  std::map<std::string, std::string> metadata = metadata_of(text);
  json tensors = json::parse(metadata.at("bitsmith.tensors"));
  change(tensors);
  metadata["bitsmith.tensors"] = tensors.dump();
  return with_metadata(text, std::move(metadata));
}

TEST(EntropyCheckpoint, PackedMetadataAreThoseOfVersionTwo) {
  const std::string text = file_text(CodableModel("rans").contents);
  const std::string second = with_metadata(text, metadata_of(text));
  EXPECT_LT(text.size(), second.size());
  const Model packed = read_checkpoint(as_bytes(text), "file");
  const Model plain = read_checkpoint(as_bytes(second), "file");
  EXPECT_EQ(packed.graph.to_json(), plain.graph.to_json());
  EXPECT_EQ(packed.config, plain.config);
  EXPECT_EQ(packed.metadata, plain.metadata);
  for (const auto& [name, tensor] : plain.parameters) {
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, packed.parameter(name).bytes)) << name;
  }
}

TEST(EntropyCheckpoint, DamagedPackedMetadataAreNamed) {
  const std::map<std::string, std::string> good = {{"bitsmith.a", "1"}, {"bitsmith.b", "{}"}};
  const std::vector<std::byte> bytes = checkpoint::pack_metadata(good);
  std::map<std::string, std::string> metadata;
  checkpoint::unpack_metadata(bytes, "file", metadata);
  EXPECT_EQ(metadata, good);
  const auto message = [&](const std::string& text, std::map<std::string, std::string> before) {
    const std::vector<std::byte> packed = deflate_gzip(as_bytes(text));
    return error_of(ErrorCode::kCorrupt,
                    [&] { checkpoint::unpack_metadata(packed, "file", before); });
  };
  const auto sized = [](const std::string& text) {
    std::string size(8, '\0');
    size[0] = static_cast<char>(text.size());
    return size + text;
  };
  EXPECT_THAT(message("abc", {}), HasSubstr("within a size"));
  EXPECT_THAT(message(std::string(8, '\xff'), {}), HasSubstr("within a text"));
  EXPECT_THAT(message(sized("key"), {}), HasSubstr("within a size"));
  EXPECT_THAT(message(sized("key") + sized("a"), {{"key", "b"}}),
              HasSubstr("'key' is there twice"));
  EXPECT_THAT(message(sized("format") + sized("a"), {}), HasSubstr("belongs in the header"));
}

TEST(EntropyCheckpoint, DamageAndUnknownCodersAreNamed) {
  const std::string text = file_text(CodableModel("rans").contents);
  read_checkpoint(as_bytes(changed(text, [](json&) {})), "file");
  const auto message = [&](ErrorCode code, const std::function<void(json&)>& change) {
    const std::string file = changed(text, change);
    return error_of(code, [&] { read_checkpoint(as_bytes(file), "file"); });
  };
  EXPECT_THAT(
      message(ErrorCode::kUnsupported, [](json& t) { t["up"]["entropy"]["coder"] = "zip"; }),
      HasSubstr("entropy coder 'zip'"));
  EXPECT_THAT(message(ErrorCode::kCorrupt, [](json& t) { t["up"]["entropy"] = 3; }),
              HasSubstr("lacks 'coder'"));
  EXPECT_THAT(message(ErrorCode::kCorrupt, [](json& t) { t["up"]["entropy"].erase("checksum"); }),
              HasSubstr("lacks 'checksum'"));
  EXPECT_THAT(message(ErrorCode::kCorrupt,
                      [](json& t) { t["up"]["entropy"]["checksum"] = "0000000000000000"; }),
              HasSubstr("tensor 'up' decodes to bytes with the checksum"));
  EXPECT_THAT(
      message(ErrorCode::kCorrupt, [](json& t) { t["up"]["entropy"]["coder"] = "huffman"; }),
      HasSubstr("tensor 'up': huffman code"));
  // Coded bytes taken for packed ones.
  EXPECT_THAT(message(ErrorCode::kCorrupt, [](json& t) { t["embed"].erase("entropy"); }),
              HasSubstr("tensor 'embed' has"));
}

}  // namespace
}  // namespace bitsmith

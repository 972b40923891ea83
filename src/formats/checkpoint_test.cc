#include "formats/checkpoint.h"

#include "formats/checkpoint_metadata.h"
#include "formats/formats_test_support.h"
#include "formats/safetensors.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// The file of SmallModel.
const std::string& small_file() {
  static const std::string kText = [] {
    const TemporaryFolder folder;
    write_checkpoint(folder / "m.bitsmith", SmallModel().contents);
    return read_bytes(folder / "m.bitsmith");
  }();
  return kText;
}

Model read(const std::string& text) { return read_checkpoint(as_bytes(text), "file"); }

TEST(Checkpoint, KeepsEverything) {
  const TemporaryFolder folder;
  const SmallModel source;
  write_checkpoint(folder / "m.bitsmith", source.contents);
  const Model model = open_checkpoint(folder / "m.bitsmith");
  EXPECT_EQ(model.path, folder / "m.bitsmith");
  EXPECT_EQ(model.format, "bitsmith");
  EXPECT_EQ(model.config, source.contents.config);
  EXPECT_EQ(model.graph.to_json(), source.contents.graph.to_json());
  EXPECT_EQ(model.metadata, source.contents.metadata);
  EXPECT_EQ(model.tokenizer_files, source.contents.tokenizer_files);
  EXPECT_EQ(model.parameter_count(), 11 * 6 + 6 + 19 * 6 + 5 * 19 + 5);
  ASSERT_EQ(model.parameters.size(), source.contents.parameters.size());
  for (const auto& [name, expected] : source.contents.parameters) {
    const CodedTensor& actual = model.parameter(name);
    EXPECT_EQ(actual.name, name);
    EXPECT_EQ(actual.shape, expected.shape);
    EXPECT_EQ(actual.scheme.to_json(), expected.scheme.to_json());
    EXPECT_TRUE(std::ranges::equal(actual.bytes, expected.bytes)) << name;
    EXPECT_EQ(actual.decode_all(), expected.decode_all()) << name;
  }
  SilentProgress progress;
  verify_checkpoint(model, progress);
  EXPECT_THAT(error_of(ErrorCode::kNotFound, [&] { model.parameter("x"); }),
              HasSubstr("has no parameter 'x'"));
}

TEST(Checkpoint, SameContentsGiveSameBytes) {
  const TemporaryFolder folder;
  write_checkpoint(folder / "m.bitsmith", SmallModel().contents);
  EXPECT_EQ(read_bytes(folder / "m.bitsmith"), small_file());
}

TEST(Checkpoint, AlignsTensors) {
  const std::string& text = small_file();
  const Safetensors container = read_safetensors(as_bytes(text), "file");
  for (const auto& [name, tensor] : container.tensors) {
    const auto offset = static_cast<size_t>(tensor.bytes.data() - as_bytes(text).data());
    DType dtype;
    ASSERT_TRUE(parse_dtype(tensor.dtype, dtype));
    const size_t alignment =
        tensor.bytes.size() % 64 == 0 ? 64 : static_cast<size_t>(size_bytes(dtype));
    EXPECT_EQ(offset % alignment, 0u) << name;
  }
  EXPECT_EQ(container.tensors.at("up").dtype, "U8");
  EXPECT_EQ(container.tensors.at("down").dtype, "BF16");
  EXPECT_EQ(container.tensors.at("down").shape, (Shape{5, 19}));
}

TEST(Checkpoint, CallsAfterReadTwiceForEachParameter) {
  const TemporaryFolder folder;
  SmallModel source;
  std::map<std::string, int> calls;
  source.contents.after_read = [&](const CodedTensor& tensor) { ++calls[tensor.name]; };
  write_checkpoint(folder / "m.bitsmith", source.contents);
  EXPECT_EQ(calls.size(), 5u);
  for (const auto& [name, count] : calls) EXPECT_EQ(count, 2) << name;
}

TEST(Checkpoint, WriterRefusesContentsThatDoNotFit) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::function<void(SmallModel&)>& change) {
    SmallModel source;
    change(source);
    const std::string message = error_of(ErrorCode::kInvalidArgument, [&] {
      write_checkpoint(folder / "m.bitsmith", source.contents);
    });
    EXPECT_FALSE(std::filesystem::exists(folder / "m.bitsmith"));
    return message;
  };
  EXPECT_THAT(refusal([](SmallModel& m) { m.contents.parameters.erase("up"); }),
              HasSubstr("parameter 'up' is missing"));
  EXPECT_THAT(refusal([](SmallModel& m) { m.add("x", {2}, Scheme("f32", json::object())); }),
              HasSubstr("'x' is no parameter"));
  EXPECT_THAT(refusal([](SmallModel& m) {
                m.add("up", {6, 19}, Scheme("f32", json::object()));
              }),
              HasSubstr("its shape is [6, 19], the graph's [19, 6]"));
  EXPECT_THAT(refusal([](SmallModel& m) {
                CodedTensor& up = m.contents.parameters["up"];
                up.bytes = up.bytes.first(up.bytes.size() - 1);
              }),
              HasSubstr("needs"));
  EXPECT_THAT(refusal([](SmallModel& m) { m.contents.parameters["up"].scheme.codec = nullptr; }),
              HasSubstr("no codec"));
  EXPECT_THAT(refusal([](SmallModel& m) {
                m.contents.metadata = {{"graph", 1}};
              }),
              HasSubstr("cannot be named 'graph'"));
  EXPECT_THAT(refusal([](SmallModel& m) { m.contents.metadata = json::array(); }),
              HasSubstr("must be an object"));
  EXPECT_THAT(refusal([](SmallModel& m) { m.contents.metadata["x"] = "\xff"; }),
              HasSubstr("not UTF-8"));
  for (const std::string name : {"", "..", "a/b", "a\\b"}) {
    EXPECT_THAT(refusal([&](SmallModel& m) { m.contents.tokenizer_files[name] = "x"; }),
                HasSubstr("is no name for a file"));
  }
}

// small_file() with its metadata and its tensors changed, and the metadata's checksum made right.
struct Editor {
  Safetensors container = read_safetensors(as_bytes(small_file()), "file");
  bool fix_checksum = true;

  void edit_json(std::string_view key, const std::function<void(json&)>& change) {
    std::string& text = container.metadata.at(std::string(key));
    json document = json::parse(text);
    change(document);
    text = document.dump();
  }

  std::string text() {
    auto& metadata = container.metadata;
    if (fix_checksum) {
      metadata[std::string(checkpoint::kChecksum)] = checkpoint::metadata_checksum(metadata);
    }
    json header = {{"__metadata__", metadata}};
    std::string data;
    for (const auto& [name, tensor] : container.tensors) {
      const size_t begin = data.size();
      data.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
      header[name] = {
          {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
    }
    return safetensors_text(header.dump(), data);
  }
};

struct Damage {
  std::string message;
  std::function<void(Editor&)> change;
  ErrorCode code = ErrorCode::kCorrupt;
};

const std::string kTensorsKey(checkpoint::kTensors);

TEST(Checkpoint, RefusesMetadataThatContradictsItself) {
  Editor unchanged;
  EXPECT_EQ(read(unchanged.text()).parameters.size(), 5u);
  const auto in_tensors = [](const char* name, const char* key, const json& value) {
    return [=](Editor& e) { e.edit_json(kTensorsKey, [&](json& t) { t.at(name)[key] = value; }); };
  };
  const auto set = [](const std::string& key, const std::string& value) {
    return [=](Editor& e) { e.container.metadata[key] = value; };
  };
  const auto erase = [](const std::string& key) {
    return [=](Editor& e) { e.container.metadata.erase(key); };
  };
  const json unknown_codec = {{"codec", "from_the_future"}, {"options", json::object()}};
  const json unknown_option = {{"codec", "f32"}, {"options", {{"shiny", 1}}}};
  const json bad_bits = {{"codec", "int"}, {"options", {{"bits", 77}}}};
  const std::vector<Damage> cases = {
      {"it is no bitsmith checkpoint", erase("format")},
      {"it is no bitsmith checkpoint", set("format", "pt")},
      {"'bitsmith.version' is missing", erase("bitsmith.version")},
      {"'x' is no version", set("bitsmith.version", "x")},
      {"'0' is no version", set("bitsmith.version", "0")},
      {"is no version", set("bitsmith.version", "99999999999999999999")},
      {"is of version 4 of the format; this bitsmith reads up to 3", set("bitsmith.version", "4"),
       ErrorCode::kUnsupported},
      {"'bitsmith.checksum' is missing",
       [](Editor& e) {
         e.fix_checksum = false;
         e.container.metadata.erase("bitsmith.checksum");
       }},
      {"the metadata has the checksum",
       [](Editor& e) {
         e.fix_checksum = false;
         e.container.metadata["bitsmith.recipe"] = "{}";
       }},
      {"'bitsmith.graph' is missing", erase("bitsmith.graph")},
      {"'bitsmith.graph' is not valid JSON", set("bitsmith.graph", "{")},
      {"'bitsmith.graph' nests deeper", set("bitsmith.graph", std::string(100'000, '['))},
      {"graph: ", set("bitsmith.graph", "{}")},
      {"does not know",
       [](Editor& e) {
         e.edit_json("bitsmith.graph", [](json& g) { g["nodes"][0]["op"] = "warp"; });
       },
       ErrorCode::kUnsupported},
      {"'bitsmith.config' is not valid JSON", set("bitsmith.config", "nope")},
      {"'bitsmith.tensors' must be an object", set("bitsmith.tensors", "3")},
      {"'bitsmith.recipe' is not valid JSON", set("bitsmith.recipe", "")},
      {"'bitsmith.files' must be an object", set("bitsmith.files", "[]")},
      {"'bitsmith.files' lacks 'tokenizer.json'", set("bitsmith.files", "{}")},
      {"it holds 2 of the 3 files",
       [](Editor& e) { e.edit_json("bitsmith.files", [](json& f) { f["x"] = json::object(); }); }},
      {"the file 'tokenizer.json' has the checksum",
       [](Editor& e) {
         e.edit_json("bitsmith.files", [](json& f) { f["tokenizer.json"]["checksum"] = "0"; });
       }},
      {"is no entry for a file",
       [](Editor& e) {
         auto node = e.container.tensors.extract("bitsmith.file/tokenizer.json");
         node.key() = "bitsmith.file/../evil";
         e.container.tensors.insert(std::move(node));
       }},
      {"tensor 'extra' is not in bitsmith.tensors",
       [](Editor& e) {
         e.container.tensors["extra"] = {"U8", {0}, {}};
       }},
      {"tensor 'up' is missing", [](Editor& e) { e.container.tensors.erase("up"); }},
      {"parameter 'up' is missing",
       [](Editor& e) { e.edit_json(kTensorsKey, [](json& t) { t.erase("up"); }); }},
      {"1 tensors are no parameters of the graph",
       [](Editor& e) {
         e.container.tensors["extra"] = e.container.tensors.at("norm");
         e.edit_json(kTensorsKey, [](json& t) { t["extra"] = t["norm"]; });
       }},
      {"the graph's parameter [19, 6]", in_tensors("up", "shape", {18, 6})},
      {"lies in the file as F32 [6], expected F32 [7]", in_tensors("norm", "shape", {7})},
      {"lies in the file as F32 [6], expected F16 [6]",
       in_tensors("norm", "scheme", {{"codec", "f16"}, {"options", json::object()}})},
      {"needs", in_tensors("up", "shape", {1900, 6})},
      {"is no shape", in_tensors("up", "shape", {0, 6})},
      {"is no shape", in_tensors("up", "shape", {-1, 6})},
      {"is no shape", in_tensors("up", "shape", {uint64_t{1} << 47, 6})},
      {"is no shape", in_tensors("up", "shape", {uint64_t{1} << 63, uint64_t{1} << 63})},
      {"is no shape", in_tensors("up", "shape", "19")},
      {"is no shape", in_tensors("up", "shape", {19.0, 6})},
      {"metadata of 'up' lacks 'shape'",
       [](Editor& e) { e.edit_json(kTensorsKey, [](json& t) { t["up"] = 3; }); }},
      {"a scheme must be", in_tensors("up", "scheme", 3)},
      {"from_the_future", in_tensors("up", "scheme", unknown_codec), ErrorCode::kUnsupported},
      {"shiny", in_tensors("norm", "scheme", unknown_option), ErrorCode::kUnsupported},
      {"bits", in_tensors("up", "scheme", bad_bits), ErrorCode::kUnsupported},
  };
  for (const Damage& damage : cases) {
    Editor editor;
    damage.change(editor);
    const std::string text = editor.text();
    const std::string message = error_of(damage.code, [&] { read(text); });
    EXPECT_THAT(message, HasSubstr(damage.message));
    EXPECT_THAT(message, HasSubstr("'file'"));
  }
}

TEST(Checkpoint, VerifyFindsEveryChangedTensorByte) {
  const TemporaryFolder folder;
  const std::string& text = small_file();
  SilentProgress progress;
  size_t data_bytes = 0;
  const Safetensors container = read_safetensors(as_bytes(text), "file");
  for (const auto& [name, tensor] : container.tensors) {
    if (name.starts_with(checkpoint::kFilePrefix)) continue;
    for (size_t i = 0; i < tensor.bytes.size(); i += 13) {
      std::string damaged = text;
      damaged[static_cast<size_t>(tensor.bytes.data() - as_bytes(text).data()) + i] ^= 4;
      write_bytes(folder / "m.bitsmith", damaged);
      const Model model = open_checkpoint(folder / "m.bitsmith");
      const std::string message =
          error_of(ErrorCode::kCorrupt, [&] { verify_checkpoint(model, progress); });
      EXPECT_THAT(message, HasSubstr("tensor '" + name + "' has the checksum"));
      ++data_bytes;
    }
  }
  EXPECT_GT(data_bytes, 50u);
}

TEST(Checkpoint, NeverCrashesOnDamagedFiles) {
  expect_never_crashes(small_file(), 20'000, [](std::span<const std::byte> bytes) {
    const Model model = read_checkpoint(bytes, "file");
    for (const auto& [name, tensor] : model.parameters) tensor.decode_all();
  });
}

// As above, but with a checksum that is right again, so that the damage reaches the readers behind.
TEST(Checkpoint, NeverCrashesOnDamagedMetadata) {
  Random random(11);
  const Editor original;
  int opened = 0;
  for (int i = 0; i < 4'000; ++i) {
    std::map<std::string, std::string> metadata = original.container.metadata;
    const std::array keys = {checkpoint::kGraph, checkpoint::kTensors, checkpoint::kFiles};
    std::string& text = metadata.at(std::string(keys[random.below(keys.size())]));
    const size_t at = random.below(text.size());
    if (random.below(3) == 0) {
      text.erase(at, 1 + random.below(20));
    } else {
      text[at] = static_cast<char>(random.below(4) == 0 ? 32 + random.below(95)
                                                        : "0123456789-,[]{}\":e"[random.below(19)]);
    }
    Editor editor;
    editor.container.metadata = std::move(metadata);
    try {
      const std::string damaged = editor.text();
      const Model model = read(damaged);
      for (const auto& [name, tensor] : model.parameters) tensor.decode_all();
      ++opened;
    } catch (const Error&) {
    }
  }
  EXPECT_LT(opened, 2'000);
}

}  // namespace
}  // namespace bitsmith

// GGUF files: what is written is read, rules are checked, damage never crashes, parts are joined.
#include "formats/gguf.h"

#include "formats/formats_test_support.h"
#include "formats/gguf_config.h"
#include "formats/gguf_model.h"
#include "formats/gguf_names.h"
#include "formats/gguf_tokenizer.h"
#include "formats/gguf_writer.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const GgmlType* type_of(std::string_view codec) { return find_ggml_type(codec); }

std::vector<std::byte> some_bytes(size_t count) {
  Random random(count);
  std::vector<std::byte> bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
  return bytes;
}

// Writes a file with every type of value that the writer knows; returns its text.
std::string small_file(const GgufMetadata& more = {}) {
  TemporaryFolder folder;
  GgufMetadata metadata = {{"general.architecture", std::string("test")},
                           {"a.u32", uint32_t{7}},
                           {"a.u64", uint64_t{1} << 40},
                           {"a.f32", 0.5F},
                           {"a.bool", true},
                           {"a.strings", std::vector<std::string>{"x", "", "yz"}},
                           {"a.floats", std::vector<float>{1.5F, -2.0F}},
                           {"a.ints", std::vector<int32_t>{-1, 2}}};
  metadata.insert(metadata.end(), more.begin(), more.end());
  GgufWriter writer(folder / "x.gguf", metadata,
                    {{"one", {2, 32}, type_of("q4_0")}, {"two", {8}, type_of("f32")}});
  writer.append("one", some_bytes(36));
  writer.append("two", some_bytes(32));
  writer.commit();
  return read_bytes(folder / "x.gguf");
}

TEST(Gguf, ReadsWhatWasWritten) {
  const std::string text = small_file();
  EXPECT_EQ(text.size() % 32, 0U);
  const Gguf gguf = read_gguf(as_bytes(text), "x");
  EXPECT_EQ(gguf.text("general.architecture"), "test");
  EXPECT_EQ(gguf.integer("a.u32"), 7);
  EXPECT_EQ(gguf.integer("a.u64"), int64_t{1} << 40);
  EXPECT_EQ(gguf.number("a.f32"), 0.5);
  EXPECT_EQ(gguf.number("a.u32"), 7.0);
  EXPECT_EQ(gguf.flag("a.bool"), true);
  EXPECT_EQ(gguf.text("a.none"), std::nullopt);
  EXPECT_THAT(gguf.array("a.strings")->strings, ElementsAre("x", "", "yz"));
  EXPECT_EQ(gguf.array("a.floats")->number(1), -2.0);
  EXPECT_EQ(gguf.array("a.ints")->integer(0), -1);
  ASSERT_EQ(gguf.tensors.size(), 2U);
  const GgufTensor& one = gguf.tensors.at("one");
  EXPECT_EQ(one.shape, (Shape{2, 32}));
  EXPECT_EQ(one.type->name, "Q4_0");
  EXPECT_TRUE(std::ranges::equal(one.bytes, some_bytes(36)));
  EXPECT_TRUE(std::ranges::equal(gguf.tensors.at("two").bytes, some_bytes(32)));
}

TEST(Gguf, SaysWhenAValueIsOfAnotherType) {
  const std::string text = small_file();
  const Gguf gguf = read_gguf(as_bytes(text), "x");
  EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { gguf.text("a.u32"); }),
              HasSubstr("'a.u32' should be a string, it is of type u32"));
  error_of(ErrorCode::kCorrupt, [&] { gguf.integer("a.f32"); });
  error_of(ErrorCode::kCorrupt, [&] { gguf.number("a.bool"); });
  error_of(ErrorCode::kCorrupt, [&] { gguf.flag("a.u32"); });
  error_of(ErrorCode::kCorrupt, [&] { gguf.array("a.u32"); });
}

// Builds heads by hand, to break one rule at a time.
class Builder {
 public:
  Builder& u32(uint32_t v) { return number(v, 4); }
  Builder& u64(uint64_t v) { return number(v, 8); }
  Builder& text(std::string_view v) {
    u64(v.size());
    out += v;
    return *this;
  }
  Builder& raw(std::string_view v) {
    out += v;
    return *this;
  }
  Builder& head(uint64_t tensors, uint64_t values, uint32_t version = 3) {
    return raw("GGUF").u32(version).u64(tensors).u64(values);
  }
  Builder& tensor(std::string_view name, std::initializer_list<uint64_t> extents, uint32_t type,
                  uint64_t offset) {
    text(name).u32(static_cast<uint32_t>(extents.size()));
    for (const uint64_t extent : extents) u64(extent);
    return u32(type).u64(offset);
  }
  // Zeros up to the data, then `bytes` of it.
  Builder& data(size_t bytes) {
    out.resize((out.size() + 31) / 32 * 32 + bytes, '\0');
    return *this;
  }
  std::string out;

 private:
  Builder& number(uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(v >> (8 * i));
    return *this;
  }
};

struct Broken {
  Builder file;
  std::string message;
  ErrorCode code = ErrorCode::kCorrupt;
};

TEST(Gguf, RefusesFilesThatBreakARule) {
  const uint64_t huge = ~uint64_t{0};
  const std::vector<Broken> cases = {
      {Builder().raw("GGUG").u32(3).u64(0).u64(0), "not a GGUF file"},
      {Builder().head(0, 0, 1), "version 1", ErrorCode::kUnsupported},
      {Builder().head(0, 0, 0x03000000), "big-endian", ErrorCode::kUnsupported},
      {Builder().head(huge, 0), "tensors, more than its"},
      {Builder().head(0, huge), "values, more than its"},
      {Builder().head(0, 1).u64(huge).raw("abc              "), "needs 18446744073709551615 bytes"},
      {Builder().head(0, 1).text("k").u32(13).u32(0), "has the type 13"},
      {Builder().head(0, 1).text("k").u32(7).raw("\2"), "the bool 'k' is 2"},
      {Builder().head(0, 1).text("k").u32(9).u32(9).u64(0), "array of arrays",
       ErrorCode::kUnsupported},
      {Builder().head(0, 1).text("k").u32(9).u32(4).u64(huge), "numbers, more than"},
      {Builder().head(0, 1).text("k").u32(9).u32(8).u64(huge / 8), "strings, more than"},
      {Builder().head(0, 2).text("k").u32(4).u32(0).text("k").u32(4).u32(0), "two values of 'k'"},
      {Builder().head(0, 1).text("general.alignment").u32(4).u32(24), "a power of two, it is 24"},
      {Builder().head(0, 1).text("general.alignment").u32(4).u32(0), "a power of two, it is 0"},
      {Builder().head(1, 0).text("t").u32(5).data(128), "has 5 dimensions"},
      {Builder().head(1, 0).text("t").u32(0).data(128), "has 0 dimensions"},
      {Builder().head(1, 0).tensor("t", {huge}, 0, 0).data(32), "has an extent of"},
      {Builder().head(1, 0).tensor("t", {1u << 31, 1u << 31, 1u << 31}, 0, 0).data(32),
       "is too large"},
      {Builder().head(1, 0).tensor("t", {33}, 2, 0).data(64), "rows of 33, no multiple of 32"},
      {Builder().head(1, 0).tensor("t", {1}, 99, 0).data(64), "ggml type 99",
       ErrorCode::kUnsupported},
      {Builder().head(1, 0).tensor("t", {1}, 0, 8).data(64), "expected a multiple of 32"},
      {Builder().head(1, 0).tensor("t", {16}, 0, 32).data(64), "needs 64 bytes at offset 32"},
      {Builder().head(1, 0).tensor("t", {16}, 0, huge - 31).data(64), "needs 64 bytes at offset"},
      {Builder().head(2, 0).tensor("t", {16}, 0, 0).tensor("u", {8}, 0, 32).data(64), "from 64 on"},
      {Builder().head(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).data(64),
       "two tensors named 't'"},
  };
  for (const Broken& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(error_of(broken.code, [&] { read_gguf(as_bytes(broken.file.out), "x"); }),
                HasSubstr(broken.message));
  }
}

TEST(Gguf, ReadsVersion2AndOtherAlignments) {
  Builder file;
  file.head(1, 1, 2).text("general.alignment").u32(4).u32(128).tensor("t", {2}, 0, 0);
  file.out.resize(256 + 8, '\0');
  EXPECT_EQ(read_gguf(as_bytes(file.out), "x").tensors.at("t").bytes.size(), 8U);
}

TEST(Gguf, DamagedFilesNeverCrash) {
  expect_never_crashes(small_file(), 3000, [](std::span<const std::byte> bytes) {
    for (const auto& [name, tensor] : read_gguf(bytes, "x").tensors) {
      if (tensor.bytes.empty()) continue;
      ASSERT_GE(&tensor.bytes.front(), &bytes.front());
      ASSERT_LE(&tensor.bytes.back(), &bytes.back());
    }
  });
}

// Writes part `part` of `count`, whose tensor has the given name.
void write_part(const std::filesystem::path& path, uint32_t part, uint32_t count,
                const std::string& tensor, uint32_t total) {
  GgufWriter writer(path,
                    {{"general.architecture", std::string("test")},
                     {"split.no", part},
                     {"split.count", count},
                     {"split.tensors.count", total}},
                    {{tensor, {8}, type_of("f32")}});
  writer.append(tensor, some_bytes(32));
  writer.commit();
}

TEST(Gguf, JoinsThePartsOfASplitFile) {
  TemporaryFolder folder;
  write_part(folder / "m-00001-of-00002.gguf", 0, 2, "a", 2);
  write_part(folder / "m-00002-of-00002.gguf", 1, 2, "b", 2);
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const GgufFiles opened = open_gguf_files(folder / name);
    EXPECT_EQ(opened.files.size(), 2U);
    EXPECT_TRUE(opened.gguf.tensors.contains("a"));
    EXPECT_TRUE(opened.gguf.tensors.contains("b"));
  }
}

TEST(Gguf, RefusesPartsThatDoNotFit) {
  const auto error = [](const std::filesystem::path& path, ErrorCode code) {
    return error_of(code, [&] { open_gguf_files(path); });
  };
  TemporaryFolder folder;
  write_part(folder / "m-00001-of-00002.gguf", 0, 2, "a", 2);
  EXPECT_THAT(error(folder / "m-00001-of-00002.gguf", ErrorCode::kNotFound),
              HasSubstr("m-00002-of-00002.gguf"));
  // The first part again in place of the second: a cycle.
  write_part(folder / "m-00002-of-00002.gguf", 0, 2, "b", 2);
  EXPECT_THAT(error(folder / "m-00001-of-00002.gguf", ErrorCode::kCorrupt),
              HasSubstr("should be part 2 of 2, it says 1 of 2"));
  write_part(folder / "m-00002-of-00002.gguf", 1, 2, "a", 2);
  EXPECT_THAT(error(folder / "m-00001-of-00002.gguf", ErrorCode::kCorrupt),
              HasSubstr("in two parts"));
  write_part(folder / "m-00002-of-00002.gguf", 1, 2, "b", 3);
  write_part(folder / "m-00001-of-00002.gguf", 0, 2, "a", 3);
  EXPECT_THAT(error(folder / "m-00001-of-00002.gguf", ErrorCode::kCorrupt),
              HasSubstr("have 2 tensors, split.tensors.count says 3"));
  write_part(folder / "n.gguf", 0, 2, "a", 2);
  EXPECT_THAT(error(folder / "n.gguf", ErrorCode::kCorrupt), HasSubstr("should be called"));
}

TEST(GgufNames, OrdersOfRowsAreInverse) {
  EXPECT_THAT(rows_from_gguf(8, 4), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7));
  for (const int64_t head_dim : {2, 6, 16}) {
    const auto from = rows_from_gguf(3 * head_dim, head_dim);
    const auto to = rows_to_gguf(3 * head_dim, head_dim);
    for (size_t r = 0; r < from.size(); ++r) {
      EXPECT_EQ(to[static_cast<size_t>(from[r])], static_cast<int64_t>(r));
    }
  }
}

TEST(GgufNames, AreThoseOfLlamaCpp) {
  EXPECT_EQ(gguf_tensor_name("model.layers.31.self_attn.q_proj.weight", "llama"),
            "blk.31.attn_q.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.0.self_attn.k_proj.bias", "qwen2"), "blk.0.attn_k.bias");
  EXPECT_EQ(gguf_tensor_name("model.embed_tokens.weight", "llama"), "token_embd.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.x.mlp.up_proj.weight", "llama"), std::nullopt);
  EXPECT_EQ(gguf_tensor_name("model.layers.0.mlp.router.weight", "llama"), std::nullopt);
  EXPECT_TRUE(has_paired_rows("model.layers.0.self_attn.q_proj.weight", "llama"));
  EXPECT_FALSE(has_paired_rows("model.layers.0.self_attn.v_proj.weight", "llama"));
  EXPECT_FALSE(has_paired_rows("model.layers.0.self_attn.q_proj.weight", "qwen2"));
}

// The texts and ids that llama.cpp keeps beside its vocabularies.
void expect_vectors(const std::filesystem::path& path) {
  const GgufFiles opened = open_gguf_files(path);
  const auto tokenizer = make_tokenizer(tokenizer_from_gguf(opened.gguf));
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = read_bytes(path.string() + ".inp") + "\n";
  std::ifstream ids(path.string() + ".out");
  int checked = 0;
  std::string line;
  for (size_t at = 0; at < texts.size() && std::getline(ids, line); ++checked) {
    const size_t end = std::min(texts.find(separator, at), texts.size());
    std::vector<TokenId> expected;
    std::istringstream numbers(line);
    for (TokenId id; numbers >> id;) expected.push_back(id);
    const std::string text = texts.substr(at, end - at);
    EXPECT_EQ(tokenizer->encode(text, false), expected) << "text " << checked << ": " << text;
    EXPECT_EQ(tokenizer->decode(expected), text);
    at = end + separator.size();
  }
  EXPECT_EQ(checked, 46);
}

TEST(GgufTokenizer, ByteLevelIdsAreThoseOfLlamaCpp) {
  const auto path = shared_data("llm/gguf-vocab/ggml-vocab-gpt-2.gguf");
  if (path.empty()) GTEST_SKIP() << "no shared data";
  expect_vectors(path);
}

TEST(GgufTokenizer, SentencePieceIdsAreThoseOfLlamaCpp) {
  const auto path = shared_data("llm/gguf-vocab/ggml-vocab-llama-spm.gguf");
  if (path.empty()) GTEST_SKIP() << "no shared data";
  expect_vectors(path);
}

TEST(GgufModel, HoldsTheValuesOfTheFolderItWasMadeFrom) {
  const auto folder = shared_data("llm/tinystories-656k");
  if (folder.empty()) GTEST_SKIP() << "no shared data";
  const Model original = open_model(folder);
  const std::filesystem::path files = folder / "derived-gguf";
  const Model f32 = open_model(files / "tinystories656k-f32.gguf");
  EXPECT_EQ(f32.format, "gguf");
  EXPECT_EQ(f32.graph.to_json(), original.graph.to_json());
  EXPECT_TRUE(f32.unused_tensors.empty());
  for (const auto& [name, tensor] : original.parameters) {
    EXPECT_EQ(f32.parameter(name).decode_all(), tensor.decode_all()) << name;
  }
  // Relative root mean squares of the files as their maker states them: of the worst matrix.
  for (const auto& [name, expected] : {std::pair("q8_0", 0.0058), std::pair("q4_0", 0.0921)}) {
    const Model coded = open_model(files / fmt::format("tinystories656k-{}.gguf", name));
    double worst = 0;
    for (const auto& [parameter, tensor] : original.parameters) {
      if (tensor.shape.size() < 2) continue;
      const auto w = tensor.decode_all();
      const auto q = coded.parameter(parameter).decode_all();
      double error = 0;
      double power = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        error += std::pow(static_cast<double>(w[i]) - static_cast<double>(q[i]), 2);
        power += std::pow(static_cast<double>(w[i]), 2);
      }
      worst = std::max(worst, std::sqrt(error / power));
    }
    EXPECT_NEAR(worst / expected, 1.0, 0.02) << name;
  }
}

TEST(GgufModel, TokenizesAsTheFolderItWasMadeFrom) {
  const auto folder = shared_data("llm/tinystories-656k");
  if (folder.empty()) GTEST_SKIP() << "no shared data";
  const auto original = make_tokenizer(open_model(folder).tokenizer_files);
  const auto gguf =
      make_tokenizer(open_model(folder / "derived-gguf/tinystories656k-f32.gguf").tokenizer_files);
  const auto path = shared_data("text/tinystories-sample/tinystories_sample.txt");
  if (path.empty()) GTEST_SKIP() << "no text";
  const std::string text = read_bytes(path).substr(0, 20000);
  EXPECT_EQ(gguf->encode(text, true), original->encode(text, true));
}

TEST(GgufModel, DamagedFilesNeverCrash) {
  const auto folder = shared_data("llm/tinystories-656k");
  if (folder.empty()) GTEST_SKIP() << "no shared data";
  const std::string text = read_bytes(folder / "derived-gguf/tinystories656k-q4_0.gguf");
  const size_t head = text.find("blk.0.attn_norm.weight") + 2000;
  Random random(9);
  int opened = 0;
  for (int i = 0; i < 60; ++i) {
    std::string damaged = text;
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      const size_t at = random.below(head);
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.below(8)));
    }
    try {
      read_gguf_model(as_bytes(damaged), "x");
      ++opened;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(opened, 0);
}

}  // namespace
}  // namespace bitsmith

// UTF-8 repair, properties, normal forms, and the hand-written matchers.
#include "text/unicode.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "text/byte_level.h"
#include "text/prefix_index.h"
#include "text/split_regex.h"

namespace bitsmith::text {
namespace {

TEST(Utf8, EveryCodePointRoundTrips) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const CodePoint read = read_code_point(text, 0);
    ASSERT_TRUE(read.valid);
    ASSERT_EQ(read.value, c);
    ASSERT_EQ(read.bytes, text.size());
    ASSERT_EQ(code_point_before(text, text.size()).value, c);
  }
}

TEST(Utf8, BrokenSequencesBecomeOneReplacementEach) {
  const std::string r(kReplacementUtf8);
  EXPECT_EQ(repair_utf8("a\xFF\xFE"), "a" + r + r);
  EXPECT_EQ(repair_utf8("\xE2\x82"), r);  // one truncated sequence
  EXPECT_EQ(repair_utf8("\xE2\x82"
                        "A"),
            r + "A");
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), r + r + r);  // a surrogate: no byte of it can start one
  EXPECT_EQ(repair_utf8("\xC0\xAF"), r + r);          // overlong
  EXPECT_EQ(repair_utf8("\xF4\x90\x80\x80"), r + r + r + r);
  Utf8Repairer per_byte(true);
  EXPECT_EQ(per_byte.feed("\xE2\x82"), "");
  EXPECT_EQ(per_byte.finish(), r + r);
}

TEST(Utf8, RepairDoesNotDependOnHowBytesArrive) {
  std::mt19937 random(5);
  const std::string alphabet = "a\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xFF";
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (int i = 0; i < 12; ++i) bytes.push_back(alphabet[random() % alphabet.size()]);
    for (const bool per_byte : {false, true}) {
      Utf8Repairer whole(per_byte), parts(per_byte);
      std::string a = whole.feed(bytes), b;
      a += whole.finish();
      for (const char byte : bytes) b += parts.feed(std::string(1, byte));
      b += parts.finish();
      EXPECT_EQ(a, b);
    }
  }
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(normalize("e\u0301", UnicodeForm::kNfc), "\u00e9");
  EXPECT_EQ(normalize("\u00e9", UnicodeForm::kNfd), "e\u0301");
  EXPECT_EQ(normalize("\ufb01\u212b", UnicodeForm::kNfkc), "fi\u00c5");
  EXPECT_EQ(normalize(std::string("a\0\u00e9", 4), UnicodeForm::kNfc).size(), 4u);
  EXPECT_EQ(normalize("", UnicodeForm::kNfc), "");
}

TEST(ByteLevel, IsABijection) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const std::string visible = bytes_to_visible(all);
  EXPECT_EQ(count_code_points(visible), 256u);
  EXPECT_EQ(visible_to_bytes(visible), all);
  EXPECT_EQ(bytes_to_visible(" \n"), "\u0120\u010a");
  EXPECT_EQ(visible_to_bytes("a b"), std::nullopt);
}

TEST(PrefixIndex, FindsWhatAScanFinds) {
  const std::vector<std::pair<std::string, int32_t>> entries = {
      {"a", 0}, {"ab", 1}, {"abc", 2}, {"b", 3}, {"bca", 4}, {"", 5}, {"ab", 6}};
  const PrefixIndex index(entries);
  const std::string text = "abcabxbca";
  for (size_t at = 0; at <= text.size(); ++at) {
    std::vector<int32_t> found, expected;
    index.for_each_match(text, at, [&](size_t, int32_t value) { found.push_back(value); });
    for (const int32_t i : {0, 6, 2, 3, 4}) {
      const std::string& key = entries[static_cast<size_t>(i)].first;
      if (text.compare(at, key.size(), key) == 0) expected.push_back(i);
    }
    EXPECT_EQ(found, expected) << at;
  }
}

std::vector<std::string> cut(const SplitRegex& regex, const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = regex.match_end(text, at);
    parts.push_back(text.substr(at, end - at));
    at = end;
  }
  return parts;
}

TEST(SplitRegex, TheThreeFamilies) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(cut(kGpt2Split, "It's 2024  now!\n\n x"),
            (Parts{"It", "'s", " 2024", " ", " now", "!", "\n\n", " x"}));
  EXPECT_EQ(cut(kLlama3Split, "IT'S 2024  now!\n\n x"),
            (Parts{"IT", "'S", " ", "202", "4", " ", " now", "!\n\n", " x"}));
  EXPECT_EQ(cut(kQwen2Split, "(a) 12 \n\n b"), (Parts{"(a", ")", " ", "1", "2", " \n\n", " b"}));
}

TEST(SplitRegex, AlwaysMovesOn) {
  std::mt19937 random(9);
  const std::vector<std::string> alphabet = {"a",      "1",      " ",      "\n",        "\r",
                                             "\t",     "'",      "s",      "L",         "!",
                                             "\u00e9", "\u0301", "\u00a0", "\U0001F600"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 10; ++i) text += alphabet[random() % alphabet.size()];
    for (const SplitRegex& regex : {kGpt2Split, kLlama3Split, kQwen2Split}) {
      std::string joined;
      for (const std::string& part : cut(regex, text)) {
        ASSERT_FALSE(part.empty());
        ASSERT_EQ(part, repair_utf8(part));
        joined += part;
      }
      ASSERT_EQ(joined, text);
    }
  }
}

}  // namespace
}  // namespace bitsmith::text

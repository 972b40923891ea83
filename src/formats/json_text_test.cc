#include "formats/json_text.h"

#include "formats/formats_test_support.h"

namespace bitsmith {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::string& text, uint64_t limit = 1000) {
  return error_of(ErrorCode::kCorrupt, [&] { parse_json_text(text, "'c.json'", limit); });
}

TEST(JsonText, ParsesWhatIsWithinTheLimits) {
  EXPECT_EQ(parse_json_text(R"({"a":[1,"]]]]"]})", "x", 100)["a"][1], "]]]]");
  const std::string nested = std::string(64, '[') + std::string(64, ']');
  EXPECT_TRUE(parse_json_text(nested, "x", 1000).is_array());
  EXPECT_EQ(parse_json_text(R"("\"[[")", "x", 100), "\"[[");
}

TEST(JsonText, RefusesWithAReason) {
  EXPECT_THAT(refusal("{"), HasSubstr("'c.json' is not valid JSON (at byte 2 of 1)"));
  EXPECT_THAT(refusal("{\"\xff\": 1}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("[1e999]"), HasSubstr("out of range"));
  EXPECT_THAT(refusal("[1,2,3]", 3), HasSubstr("has 7 bytes; at most 3 are read"));
  EXPECT_THAT(refusal(std::string(65, '[') + std::string(65, ']')), HasSubstr("nests deeper"));
  EXPECT_THAT(refusal(std::string(900, '{')), HasSubstr("nests deeper"));
  EXPECT_THAT(error_of(ErrorCode::kCorrupt, [] { parse_json_object_text("[]", "'x'", 10); }),
              HasSubstr("'x' should be a JSON object, is of type array"));
}

TEST(JsonText, RefusesToWriteWhatIsNotUtf8) {
  EXPECT_EQ(dump_json_text({{"b", 1}, {"a", "\u00e9"}}, "x"), "{\"a\":\"\u00e9\",\"b\":1}");
  error_of(ErrorCode::kInvalidArgument, [] { dump_json_text({{"a", "\xff"}}, "x"); });
}

TEST(JsonText, QuotesNames) {
  EXPECT_EQ(quoted_name("a.b"), "'a.b'");
  EXPECT_EQ(quoted_name("a\n\x01"), R"('a\n\u0001')");
  EXPECT_EQ(quoted_name(std::string(300, 'x')).size(), 205u);
  EXPECT_EQ(quoted_name("\xff"), "'\xef\xbf\xbd'");
}

}  // namespace
}  // namespace bitsmith

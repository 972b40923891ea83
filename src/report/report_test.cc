#include <gtest/gtest.h>

#include "report/table.h"
#include "report/units.h"

namespace bitsmith {
namespace {

TEST(Table, AlignsByCodePoints) {
  Table table({left("name"), right("value")});
  table.add_row({"a", "1.0 ± 0.1"});
  table.add_rule();
  table.add_row({"longer", "2"});
  EXPECT_EQ(table.text(),
            "name        value\n"
            "-----------------\n"
            "a       1.0 ± 0.1\n"
            "-----------------\n"
            "longer          2\n");
}

TEST(FactList, AlignsValuesAndLeavesNoTrailingSpaces) {
  FactList facts;
  facts.add("format", "bitsmith");
  facts.add("weights", "");
  EXPECT_EQ(facts.text(), "format   bitsmith\nweights\n");
}

TEST(Units, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.00 kB");
  EXPECT_EQ(format_bytes(13638144), "13.6 MB");
  EXPECT_EQ(format_bytes(999499), "999 kB");
  EXPECT_EQ(format_bytes(999500), "1.00 MB");
  EXPECT_EQ(format_bytes(UINT64_MAX), "18447 PB");
}

TEST(Units, Counts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
  EXPECT_EQ(format_count(-123), "-123");
  EXPECT_EQ(format_weights(656000), "656 k");
  EXPECT_EQ(format_weights(1100048384), "1.10 B");
  EXPECT_EQ(format_weights(12), "12");
}

TEST(Units, EstimatesShowTwoDigitsOfTheError) {
  EXPECT_EQ(format_estimate(49.2906, 0.354), "49.29 ± 0.35");
  EXPECT_EQ(format_estimate(0.0123456, 0.00041), "0.01235 ± 0.00041");
  EXPECT_EQ(format_estimate(1234.5, 56), "1234 ± 56");
  EXPECT_EQ(format_estimate(1.5, 0), "1.500");
}

}  // namespace
}  // namespace bitsmith

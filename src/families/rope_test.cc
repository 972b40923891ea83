// Rotary frequencies against the published formulas, written another way.
#include "families/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/testing.h"
#include "families/family.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using testing::error_of;
using ::testing::HasSubstr;

constexpr double kTurn = 2 * std::numbers::pi;

RopeParameters rope_of(const json& config, int64_t head_dim = 128) {
  return read_rope(Config(config), head_dim);
}

double plain(double theta, size_t pair, int64_t head_dim) {
  return 1 / std::pow(theta, 2 * static_cast<double>(pair) / static_cast<double>(head_dim));
}

// A configuration as transformers 4 writes it, and the same as transformers 5 does.
std::vector<json> both_ways(double theta, const json& scaling) {
  json parameters = scaling;
  parameters["rope_theta"] = theta;
  return {{{"rope_theta", theta}, {"rope_scaling", scaling}}, {{"rope_parameters", parameters}}};
}

TEST(Rope, Default) {
  json type_only = {{"rope_type", "default"}};
  std::vector<json> configs = both_ways(5e5, type_only);
  configs.push_back({{"rope_theta", 5e5}});
  configs.push_back({{"rope_theta", 5e5}, {"rope_scaling", nullptr}});
  configs.push_back({{"rope_theta", 5e5}, {"rope_parameters", type_only}});
  configs.push_back({{"rope_theta", 500000}, {"rope_scaling", {{"type", "default"}}}});
  for (const json& config : configs) {
    SCOPED_TRACE(config.dump());
    const RopeParameters rope = rope_of(config);
    ASSERT_EQ(rope.frequencies.size(), 64u);
    EXPECT_EQ(rope.magnitude, 1);
    for (size_t i = 0; i < 64; ++i) {
      EXPECT_NEAR(rope.frequencies[i], plain(5e5, i, 128), 1e-14);
    }
  }
  EXPECT_NEAR(rope_of(json::object(), 8).frequencies[1], plain(1e4, 1, 8), 1e-14);  // theta 10000
}

TEST(Rope, Linear) {
  for (const char* key : {"rope_type", "type"}) {
    for (const json& config : both_ways(1e4, {{key, "linear"}, {"factor", 2.5}})) {
      const RopeParameters rope = rope_of(config);
      EXPECT_EQ(rope.magnitude, 1);
      for (size_t i = 0; i < 64; ++i) {
        EXPECT_NEAR(rope.frequencies[i], plain(1e4, i, 128) / 2.5, 1e-14);
      }
    }
  }
}

// Llama 3.1's own words: by wavelength, in three cases.
TEST(Rope, Llama3) {
  const double factor = 8, low = 1, high = 4, original = 8192;
  const json scaling = {{"rope_type", "llama3"},
                        {"factor", factor},
                        {"low_freq_factor", low},
                        {"high_freq_factor", high},
                        {"original_max_position_embeddings", 8192}};
  for (const json& config : both_ways(5e5, scaling)) {
    const RopeParameters rope = rope_of(config);
    EXPECT_EQ(rope.magnitude, 1);
    int cases[3] = {};
    for (size_t i = 0; i < 64; ++i) {
      const double frequency = plain(5e5, i, 128);
      const double wavelength = kTurn / frequency;
      double expected = frequency;
      if (wavelength > original / low) {
        expected = frequency / factor;
        ++cases[0];
      } else if (wavelength >= original / high) {
        const double smooth = (original / wavelength - low) / (high - low);
        expected = (1 - smooth) * frequency / factor + smooth * frequency;
        ++cases[1];
      } else {
        ++cases[2];
      }
      EXPECT_NEAR(rope.frequencies[i], expected, 1e-14) << i;
    }
    EXPECT_THAT(cases, ::testing::Each(::testing::Gt(0)));
  }
}

// Which pair, as a real number, makes `turns` turns within `original` positions: by bisection.
double pair_with_turns(double turns, double original, double theta, double head_dim) {
  double low = -1000, high = 1000;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    const bool more = original / kTurn * std::pow(theta, -2 * middle / head_dim) > turns;
    (more ? low : high) = middle;
  }
  return low;
}

TEST(Rope, Yarn) {
  const double factor = 4, theta = 1e6;
  for (const bool truncate : {true, false}) {
    json scaling = {
        {"rope_type", "yarn"}, {"factor", factor}, {"original_max_position_embeddings", 32768}};
    if (!truncate) scaling["truncate"] = false;
    double fast = pair_with_turns(32, 32768, theta, 128);  // 23.6
    double slow = pair_with_turns(1, 32768, theta, 128);   // 39.7
    if (truncate) {
      fast = std::floor(fast);
      slow = std::ceil(slow);
      EXPECT_EQ(fast, 23);
      EXPECT_EQ(slow, 40);
    }
    for (const json& config : both_ways(theta, scaling)) {
      const RopeParameters rope = rope_of(config);
      EXPECT_NEAR(rope.magnitude, 1.1386294361119891, 1e-15);  // 0.1 ln 4 + 1
      for (size_t i = 0; i < 64; ++i) {
        const auto pair = static_cast<double>(i);
        const double interpolated = pair <= fast   ? 0
                                    : pair >= slow ? 1
                                                   : (pair - fast) / (slow - fast);
        const double frequency = plain(theta, i, 128);
        EXPECT_NEAR(rope.frequencies[i],
                    interpolated * frequency / factor + (1 - interpolated) * frequency, 1e-14)
            << i;
      }
    }
  }
}

TEST(Rope, YarnsOtherFields) {
  const json scaling = {{"rope_type", "yarn"}, {"factor", 4.0}};
  const auto with = [&](const json& more) {
    json all = scaling;
    all.update(more);
    return rope_of(
        {{"rope_theta", 1e6}, {"max_position_embeddings", 32768}, {"rope_scaling", all}});
  };
  const RopeParameters plainly = with(json::object());
  // The trained length is that of the configuration where nothing else is said.
  EXPECT_EQ(plainly.frequencies, with({{"original_max_position_embeddings", 32768}}).frequencies);
  EXPECT_NE(plainly.frequencies, with({{"original_max_position_embeddings", 8192}}).frequencies);
  EXPECT_NE(plainly.frequencies, with({{"beta_fast", 16}}).frequencies);
  EXPECT_NE(plainly.frequencies, with({{"beta_slow", 2.0}}).frequencies);
  EXPECT_EQ(with({{"attention_factor", 1.25}}).magnitude, 1.25);
  EXPECT_EQ(with({{"factor", 1}}).magnitude, 1);
  EXPECT_NEAR(with({{"mscale", 0.707}, {"mscale_all_dim", 1.0}}).magnitude,
              (1 + 0.1 * 0.707 * std::log(4)) / (1 + 0.1 * std::log(4)), 1e-15);
  EXPECT_EQ(with({{"mscale", 1.0}, {"mscale_all_dim", 1.0}}).magnitude, 1);
  EXPECT_EQ(with({{"mscale", 1.0}, {"attention_factor", 1.5}}).magnitude, 1.5);
}

TEST(Rope, TheGraphTakesThem) {
  const json config = {
      {"model_type", "llama"},
      {"vocab_size", 10},
      {"hidden_size", 16},
      {"intermediate_size", 8},
      {"num_hidden_layers", 2},
      {"num_attention_heads", 2},
      {"rope_theta", 100.0},
      {"rope_scaling",
       {{"type", "yarn"}, {"factor", 2.0}, {"original_max_position_embeddings", 64}}}};
  const RopeParameters rope = rope_of(config, 8);
  int nodes = 0;
  for (const Node& node : build_graph(config).nodes) {
    if (node.op != "rope") continue;
    EXPECT_EQ(node.numbers("frequencies"), rope.frequencies);
    EXPECT_EQ(node.number("magnitude"), rope.magnitude);
    ++nodes;
  }
  EXPECT_EQ(nodes, 4);  // q and k
}

TEST(Rope, SenselessFieldsAreNamed) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  const json yarn = {
      {"rope_type", "yarn"}, {"factor", 4.0},  {"original_max_position_embeddings", 32768},
      {"beta_fast", 32},     {"beta_slow", 1}, {"attention_factor", 1.1}};
  const json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  for (const json& scaling : {llama3, yarn, linear}) {
    for (const auto& [field, unused] : scaling.items()) {
      if (field == "rope_type") continue;
      for (const json& value : {json(0), json(-1), json("4"), json::array(), json(true)}) {
        json wrong = scaling;
        wrong[field] = value;
        const auto configs = both_ways(1e4, wrong);
        SCOPED_TRACE(wrong.dump());
        EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { rope_of(configs[0]); }), HasSubstr(field));
        EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { rope_of(configs[1]); }), HasSubstr(field));
      }
    }
  }
  for (const json& scaling : {llama3, linear}) {  // all of these are needed
    for (const auto& [field, unused] : scaling.items()) {
      if (field == "rope_type") continue;
      json wrong = scaling;
      wrong.erase(field);
      EXPECT_THAT(error_of(ErrorCode::kCorrupt,
                           [&] {
                             rope_of({{"rope_scaling", wrong}});
                           }),
                  HasSubstr(fmt::format("'rope_scaling.{}' is missing", field)));
    }
  }
  json wrong = llama3;
  wrong["high_freq_factor"] = 1.0;
  EXPECT_THAT(error_of(ErrorCode::kCorrupt,
                       [&] {
                         rope_of({{"rope_scaling", wrong}});
                       }),
              HasSubstr("high_freq_factor 1 above low_freq_factor 1"));
  // No length to scale from.
  EXPECT_THAT(error_of(ErrorCode::kCorrupt,
                       [&] {
                         rope_of({{"rope_scaling", {{"type", "yarn"}, {"factor", 2.0}}}});
                       }),
              HasSubstr("'max_position_embeddings' is missing"));
}

TEST(Rope, FrequenciesAreFiniteWhateverTheConfigurationSays) {
  for (const double theta : {1 + 1e-12, 2.0, 1e4, 1e300}) {
    for (const double factor : {1.0, 1e300}) {
      for (const double original : {1e-300, 1.0, 1e300}) {
        for (const double beta : {1e-300, 1.0, 1e300}) {
          const json scaling = {{"type", "yarn"},
                                {"factor", factor},
                                {"original_max_position_embeddings", original},
                                {"beta_fast", beta}};
          const RopeParameters rope = rope_of({{"rope_theta", theta}, {"rope_scaling", scaling}});
          for (const double f : rope.frequencies) ASSERT_TRUE(f >= 0 && f <= 1) << scaling.dump();
          ASSERT_TRUE(std::isfinite(rope.magnitude));
        }
      }
    }
  }
}

TEST(Rope, WhatIsNotUnderstoodIsRefusedByName) {
  const auto refused = [](const json& config, const std::string& name) {
    EXPECT_THAT(error_of(ErrorCode::kUnsupported, [&] { rope_of(config); }), HasSubstr(name));
  };
  for (const char* type : {"dynamic", "longrope", "su", "ntk", ""}) {
    for (const json& config : both_ways(1e4, {{"rope_type", type}, {"factor", 2.0}})) {
      refused(config, fmt::format("'{}'", type));
    }
  }
  // By its type, not by the first field that nobody here knows.
  for (const json& config :
       both_ways(1e4, {{"rope_type", "longrope"}, {"long_factor", {1.0, 2.0}}})) {
    refused(config, "rope type 'longrope'");
  }
  for (const json& config :
       both_ways(1e4, {{"type", "default"}, {"mrope_section", {16, 24, 24}}})) {
    refused(config, "mrope_section'");
  }
  // Frequencies of each kind of layer, as newer configurations nest them.
  refused({{"rope_parameters", {{"full_attention", {{"rope_theta", 1e6}}}}}},
          "'rope_parameters.full_attention'");
  for (const json& config :
       both_ways(1e4, {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}})) {
    refused(config, "'partial_rotary_factor'");
  }
  const json two = {{"rope_parameters", {{"rope_theta", 1e4}}},
                    {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}};
  EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { rope_of(two); }), HasSubstr("differ"));
}

}  // namespace
}  // namespace bitsmith

#include "families/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <string>

#include "core/error.h"

namespace bitsmith {
namespace {

// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, with a ramp between.
void scale_llama3(const Config& scaling, std::vector<double>& frequencies) {
  const double factor = scaling.positive("factor");
  const double low = scaling.positive("low_freq_factor");
  const double high = scaling.positive("high_freq_factor");
  const double original = scaling.positive("original_max_position_embeddings");
  if (!(high > low)) {
    fail(ErrorCode::kCorrupt,
         "config.json: rope scaling 'llama3' needs high_freq_factor {} above low_freq_factor {}",
         high, low);
  }
  for (double& f : frequencies) {
    const double turns = original * f / (2 * std::numbers::pi);  // within the original context
    const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    f = (1 - keep) * f / factor + keep * f;
  }
}

// YaRN's temperature on the attention, by which cos and sin are multiplied (paper, section 3.4);
// `weight` is 1 there, DeepSeek's `mscale` in configurations that have it.
double yarn_magnitude(double factor, double weight = 1) {
  return 0.1 * weight * std::log(factor) + 1;
}

// YaRN (Peng et al. 2023, arXiv 2309.00071): by parts, with a temperature on the attention.
void scale_yarn(const Config& scaling, const Config& config, double theta, int64_t head_dim,
                RopeParameters& rope) {
  const double factor = scaling.number("factor");
  if (!(factor >= 1)) {
    fail(ErrorCode::kCorrupt, "config.json: rope scaling 'yarn' needs a factor from 1, it is {}",
         factor);
  }
  const double original = scaling.has("original_max_position_embeddings")
                              ? scaling.positive("original_max_position_embeddings")
                              : config.positive("max_position_embeddings");
  // The pair whose wavelength makes `turns` turns within the original context.
  const auto pair_of = [&](double turns) {
    return static_cast<double>(head_dim) * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = pair_of(scaling.positive_or("beta_fast", 32));
  double high = pair_of(scaling.positive_or("beta_slow", 1));
  if (scaling.flag_or("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  const double end = static_cast<double>(head_dim) - 1;
  low = std::clamp(low, 0.0, end);
  high = std::min(high, end);
  if (high <= low) high = low + 0.001;
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double stretch = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    double& f = rope.frequencies[i];
    f = stretch * f / factor + (1 - stretch) * f;
  }
  rope.magnitude = yarn_magnitude(factor);
  if (scaling.has("mscale") && scaling.has("mscale_all_dim")) {
    rope.magnitude = yarn_magnitude(factor, scaling.positive("mscale")) /
                     yarn_magnitude(factor, scaling.positive("mscale_all_dim"));
  }
  rope.magnitude = scaling.positive_or("attention_factor", rope.magnitude);
}

void expect_known_type(const std::string& type) {
  static const std::set<std::string, std::less<>> kKnown = {"default", "factors", "linear",
                                                            "llama3", "yarn"};
  if (kKnown.contains(type)) return;
  fail(ErrorCode::kUnsupported,
       "config.json: rope type '{}' is not supported; supported are default, linear, llama3, yarn",
       type);
}

// Refuses what might change the frequencies in a way that nobody here knows, frequencies of each
// type of layer ("full_attention": {...}) among it.
void expect_known_fields(const nlohmann::json& scaling, const char* where) {
  static const std::set<std::string, std::less<>> kKnown = {
      "rope_type",
      "type",
      "rope_theta",
      "partial_rotary_factor",
      "factor",
      "factors",
      "low_freq_factor",
      "high_freq_factor",
      "original_max_position_embeddings",
      "attention_factor",
      "beta_fast",
      "beta_slow",
      "mscale",
      "mscale_all_dim",
      "truncate",
      "finetuned"};  // says where the weights come from
  for (const auto& [field, value] : scaling.items()) {
    if (value.is_null() || kKnown.contains(field)) continue;
    fail(ErrorCode::kUnsupported, "config.json: '{}.{}' is not supported", where, field);
  }
}

// A divisor for every frequency, as GGUF files keep them.
void divide_by_factors(const Config& scaling, std::vector<double>& frequencies) {
  const nlohmann::json factors = scaling.json().value("factors", nlohmann::json());
  if (!factors.is_array() || factors.size() != frequencies.size()) {
    fail(ErrorCode::kCorrupt, "config.json: rope type 'factors' needs {} numbers in 'factors'",
         frequencies.size());
  }
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double factor = factors[i].is_number() ? factors[i].get<double>() : 0;
    if (!(factor > 0) || !std::isfinite(factor)) {
      fail(ErrorCode::kCorrupt, "config.json: rope factor {} must be above 0, it is {}", i,
           factors[i].dump());
    }
    frequencies[i] /= factor;
  }
}

}  // namespace

nlohmann::json rope_config(const nlohmann::json& config, bool sliding) {
  nlohmann::json result = config;
  const char* kind = sliding ? "sliding_attention" : "full_attention";
  const auto all = config.find("rope_parameters");
  if (all != config.end() && all->is_object() && all->contains(kind)) {
    result["rope_parameters"] = (*all)[kind];
    result.erase("rope_scaling");
    result.erase("rope_theta");
  } else if (sliding) {
    for (const char* field : {"rope_parameters", "rope_scaling"}) result.erase(field);
    result["rope_theta"] = Config(config).positive_or("rope_local_base_freq", 1e4);
    return result;
  }
  if (!Config(result).has("rope_theta")) result["rope_theta"] = sliding ? 1e4 : 1e6;
  return result;
}

RopeParameters read_rope(const Config& config, int64_t head_dim) {
  static const nlohmann::json kNone = nlohmann::json::object();
  const bool both = config.has("rope_parameters") && config.has("rope_scaling");
  if (both && config.json()["rope_parameters"] != config.json()["rope_scaling"]) {
    fail(ErrorCode::kCorrupt,
         "config.json: 'rope_parameters' and 'rope_scaling' differ; leave one of them out");
  }
  const char* where = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const Config scaling(config.has(where) ? config.json()[where] : kNone, fmt::format("{}.", where));
  const std::string type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  expect_known_type(type);
  expect_known_fields(scaling.json(), where);
  const double theta = scaling.has("rope_theta") ? scaling.number("rope_theta")
                                                 : config.number_or("rope_theta", 1e4);
  if (!(theta > 1)) {
    fail(ErrorCode::kCorrupt, "config.json: 'rope_theta' must be above 1, it is {}", theta);
  }
  if (head_dim % 2 != 0) {
    fail(ErrorCode::kUnsupported, "config.json: a head dimension of {} is odd", head_dim);
  }
  const double partial =
      scaling.number_or("partial_rotary_factor", config.number_or("partial_rotary_factor", 1.0));
  if (partial != 1.0) {
    fail(ErrorCode::kUnsupported, "config.json: 'partial_rotary_factor' {} is not supported",
         partial);
  }
  RopeParameters rope;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    rope.frequencies.push_back(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  }
  if (type == "linear") {
    const double factor = scaling.positive("factor");
    for (double& f : rope.frequencies) f /= factor;
  } else if (type == "llama3") {
    scale_llama3(scaling, rope.frequencies);
  } else if (type == "factors") {
    divide_by_factors(scaling, rope.frequencies);
  } else if (type == "yarn") {
    scale_yarn(scaling, config, theta, head_dim, rope);
  }
  return rope;
}

}  // namespace bitsmith

#include "families/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace bitsmith {
namespace {

// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, with a ramp between.
void scale_llama3(const Config& scaling, std::vector<double>& frequencies) {
  const double factor = scaling.number("factor");
  const double low = scaling.number("low_freq_factor");
  const double high = scaling.number("high_freq_factor");
  const double original = scaling.number("original_max_position_embeddings");
  if (!(factor > 0) || !(high > low)) {
    fail(ErrorCode::kCorrupt, "config.json: rope scaling 'llama3' has senseless factors");
  }
  for (double& f : frequencies) {
    const double turns = original * f / (2 * std::numbers::pi);  // within the original context
    const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    f = (1 - keep) * f / factor + keep * f;
  }
}

// YaRN (Peng et al. 2023, arXiv 2309.00071): by parts, with a temperature on the attention.
void scale_yarn(const Config& scaling, const Config& config, double theta, int64_t head_dim,
                RopeParameters& rope) {
  const double factor = scaling.number("factor");
  if (!(factor >= 1))
    fail(ErrorCode::kCorrupt, "config.json: rope scaling 'yarn' needs factor >= 1");
  const double original =
      scaling.has("original_max_position_embeddings")
          ? scaling.number("original_max_position_embeddings")
          : static_cast<double>(config.size("max_position_embeddings")) / factor;
  // The pair whose wavelength makes `turns` turns within the original context.
  const auto pair_of = [&](double turns) {
    return static_cast<double>(head_dim) * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = pair_of(scaling.number_or("beta_fast", 32));
  double high = pair_of(scaling.number_or("beta_slow", 1));
  if (scaling.flag_or("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim) - 1);
  if (high <= low) high = low + 0.001;
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double stretch = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    double& f = rope.frequencies[i];
    f = stretch * f / factor + (1 - stretch) * f;
  }
  rope.magnitude =
      scaling.number_or("attention_factor", factor <= 1 ? 1.0 : 0.1 * std::log(factor) + 1.0);
}

}  // namespace

RopeParameters read_rope(const Config& config, int64_t head_dim) {
  const bool new_fields = config.has("rope_parameters");
  static const nlohmann::json kNone = nlohmann::json::object();
  const char* field = new_fields ? "rope_parameters" : "rope_scaling";
  const nlohmann::json& scaling_json = config.has(field) ? config.json()[field] : kNone;
  const Config scaling(scaling_json);
  const double theta = scaling.has("rope_theta") ? scaling.number("rope_theta")
                                                 : config.number_or("rope_theta", 1e4);
  if (!(theta > 1))
    fail(ErrorCode::kCorrupt, "config.json: rope_theta must be above 1, it is {}", theta);
  if (head_dim % 2 != 0) {
    fail(ErrorCode::kUnsupported, "config.json: a head dimension of {} is odd", head_dim);
  }
  const double partial =
      scaling.number_or("partial_rotary_factor", config.number_or("partial_rotary_factor", 1.0));
  if (partial != 1.0) {
    fail(ErrorCode::kUnsupported, "config.json: partial_rotary_factor {} is not supported",
         partial);
  }
  RopeParameters rope;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    rope.frequencies.push_back(
        std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  }
  const std::string type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  if (type == "linear") {
    const double factor = scaling.number("factor");
    if (!(factor > 0)) fail(ErrorCode::kCorrupt, "config.json: rope factor must be above 0");
    for (double& f : rope.frequencies) f /= factor;
  } else if (type == "llama3") {
    scale_llama3(scaling, rope.frequencies);
  } else if (type == "yarn") {
    scale_yarn(scaling, config, theta, head_dim, rope);
  } else if (type != "default") {
    fail(
        ErrorCode::kUnsupported,
        "config.json: rope type '{}' is not supported; supported are default, linear, llama3, yarn",
        type);
  }
  return rope;
}

}  // namespace bitsmith

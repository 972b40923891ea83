// Measuring how fast a model runs, beside what the machine could do at best.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/model.h"

namespace bitsmith {

struct SpeedOptions {
  int threads = 1;
  int64_t prompt = 512;  // tokens read at once
  int64_t tokens = 64;   // then written one by one
  int runs = 3;
};

// Rates are medians over runs. The machine's limits are measured between the runs with the same
// threads, so that other work on the machine disturbs both alike.
struct Speed {
  int threads = 0;
  int64_t prompt = 0;
  int64_t tokens = 0;
  double prompt_tokens_per_s = 0;
  double text_tokens_per_s = 0;
  double bytes_per_token = 0;   // weights and cache that writing one token reads
  double read_bytes_per_s = 0;  // bytes_per_token at the measured rate
  double bandwidth = 0;         // bytes per second that the machine can read
  double operations_per_s = 0;  // of linear layers while reading the prompt; a product and a
                                // sum are two
  double peak = 0;              // operations per second of the machine
  std::string peak_kind;        // "int8", "float32": what most weights are multiplied by
  std::vector<std::string> kernels;
  uint64_t executor_bytes = 0;
  uint64_t cache_bytes = 0;
  uint64_t peak_memory_bytes = 0;  // of the process so far, mapped pages of the model included

  nlohmann::json to_json() const;
};

// Throws kCorrupt if the model's logits are not finite: such a speed says nothing.
Speed measure_speed(const Model& model, const SpeedOptions& options);

}  // namespace bitsmith

// Measuring how fast a network takes images, beside what the machine could do at best.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/model.h"
#include "runtime/network/arithmetic.h"
#include "runtime/network/products.h"

namespace bitsmith {

struct ImageSpeedOptions {
  int threads = 1;
  int64_t batch = 64;
  int runs = 3;
  Products products = Products::kAuto;
};

// Rates are medians over runs of half a second or more. The peak is measured between the runs with
// the same threads, so that other work on the machine disturbs both alike.
struct ImageSpeed {
  int threads = 0;
  int64_t batch = 0;
  double images_per_s = 0;  // in batches
  // The same by the processor time of all threads, which other work on the machine hardly changes.
  double images_per_processor_s = 0;
  double single_seconds = 0;  // for one image by itself, or the network's fixed number of them
  double operations = 0;      // for an image, in matrices and convolutions; a product and a sum
                              // are two
  double peak = 0;            // operations per second of the machine
  std::string peak_kind;      // "int8" or "float32": what most of the operations are
  NetworkArithmetic arithmetic;
  std::vector<std::string> kernels;
  uint64_t executor_bytes = 0;
  uint64_t peak_memory_bytes = 0;  // of the process so far

  double operations_per_s() const { return operations * images_per_s; }
  nlohmann::json to_json() const;
};

// Shows random images. Throws kInvalidArgument if `products` cannot be (products_option.h),
// kCorrupt if outputs are not finite: such a speed says nothing.
ImageSpeed measure_image_speed(const Model& model, const ImageSpeedOptions& options);

}  // namespace bitsmith

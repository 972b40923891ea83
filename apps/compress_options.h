// The options that compress, plan and sweep share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "image_options.h"
#include "pipeline/compress.h"
#include "pipeline/measurement_data.h"

namespace bitsmith {

// Holds the text of options until they are parsed.
struct CompressOptions {
  CompressRequest request;
  ImageOptions images;      // how images become inputs, for networks of images
  std::string test_text;    // to measure on
  std::string test_images;  // the same; labels and limit are theirs then
  std::string ram = "4GB";
  std::string size;
  double bits = 0;
  // Counted, since an empty value (of a script that lost it) is not the same as none.
  CLI::Option* bits_option = nullptr;
  CLI::Option* size_option = nullptr;
  CLI::Option* recipe_option = nullptr;

  // Adds MODEL, --recipe, --set, --calibration, --ram, --threads, --seed, --device.
  void add_common(CLI::App& command);
  // Adds --bits and --size.
  void add_budget(CLI::App& command);
  // Adds these, --to and --type.
  void add_target(CLI::App& command);
  // Adds --text and --images.
  void add_measurement(CLI::App& command, const std::string& comment);
  // The request, with sizes and budgets read, calibration images opened, and the usual recipe of
  // the output format if none is named; throws kInvalidArgument.
  CompressRequest finish() const;
  // What to measure on; nothing if neither is named. Throws kInvalidArgument if it is the
  // calibration data, or not of the model's kind.
  MeasurementData measurement() const;

 private:
  void open_calibration(CompressRequest& result) const;
};

void add_compress(CLI::App& app);
void add_plan(CLI::App& app);
void add_sweep(CLI::App& app);
void add_compare(CLI::App& app);
void add_imatrix(CLI::App& app);

}  // namespace bitsmith

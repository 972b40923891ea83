// What compressed models are measured on.
#pragma once

#include <filesystem>
#include <optional>

#include "pipeline/calibration_set.h"

namespace bitsmith {

// A text, or images for a network of images; from other files than the calibration data.
struct MeasurementData {
  std::filesystem::path text;
  std::optional<CalibrationImages> images;
};

}  // namespace bitsmith

// `bitsmith eval --images`: how often a classifier is right.
#pragma once

#include <string>

#include "core/progress.h"
#include "formats/model.h"
#include "image_options.h"

namespace bitsmith {

// Measures and prints, a table or JSON.
//   original: nullptr, or what to compare with
void evaluate_images(const Model& model, const Model* original, const ImageOptions& options,
                     int threads, bool json, Progress& progress);

}  // namespace bitsmith

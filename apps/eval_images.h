// `bitsmith eval --images`: how often a classifier is right.
#pragma once

#include <string>

#include "core/progress.h"
#include "formats/model.h"
#include "image_options.h"
#include "runtime/network/products.h"

namespace bitsmith {

// Measures and prints, a table or JSON.
//   original: nullptr, or what to compare with;  products: of the model
void evaluate_images(const Model& model, const Model* original, const ImageOptions& options,
                     Products products, int threads, bool json, Progress& progress);

}  // namespace bitsmith

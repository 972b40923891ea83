// Recipes with [[tune]]: image networks that are trained while they are compressed.
#pragma once

#include "pipeline/compress.h"

namespace bitsmith {

// As compress(), for a recipe with tuning steps. The size follows from training: there is no
// budget. Some of the images are kept out of training, to measure on. A finished step is a record.
CompressReport compress_tuned(const CompressRequest& request, const Recipe& recipe,
                              Progress& progress);

}  // namespace bitsmith

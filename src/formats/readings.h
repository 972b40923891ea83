// Models read at fewer bits than they have, without the original.
#pragma once

#include "formats/model.h"

namespace bitsmith {

// Each parameter whose codec has coarser readings (codecs/nested.h) becomes the finest that takes
// at most `bits` bits per weight, its scales included; parameters that take no more already, and
// those of other codecs, stay as they are. Readings lie in memory, one tensor's at a time beside
// the codes that are read. What the metadata say of the model's quality goes.
// Throws kUnsupported if no parameter has readings, kInvalidArgument if one has none so small.
void read_at_fewer_bits(Model& model, double bits);

}  // namespace bitsmith

// What was computed from a file while it is read, on its way out of memory.
#pragma once

#include "formats/model.h"

namespace bitsmith {

// settle_buffers(), once they are more than kSpilledBytes: they go to disk, so that a model that is
// larger than the memory can be read.
void settle_large_buffers(Model& model);

}  // namespace bitsmith

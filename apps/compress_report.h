// What compress and plan print.
#pragma once

#include "pipeline/compress.h"

namespace bitsmith {

// The tables for people.
void print_compress_report(const CompressReport& report, bool all_tensors);

}  // namespace bitsmith

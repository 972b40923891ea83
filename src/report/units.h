// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace bitsmith {

// Decimal units, three digits: "512 B", "786 kB", "13.6 MB", "2.20 GB".
std::string format_bytes(uint64_t bytes);

// "1,100,048,384"
std::string format_count(int64_t count);

// Three significant digits: "6.82 M", "1.10 B".
std::string format_weights(int64_t weights);

// A value with as many digits as its error deserves (two of the error): "49.29 ± 0.35"; four
// significant digits if the error is zero.
std::string format_estimate(double value, double error);

}  // namespace bitsmith

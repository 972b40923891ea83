// The pickled batches of CIFAR-10, read without running anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace bitsmith {

struct CifarBatch {
  std::vector<int64_t> labels;
  std::span<const std::byte> data;  // [labels, 3072] uint8, in the file
};

// A pickle is a program for a machine with a stack. This reader is such a machine for the few
// instructions that a dictionary {labels: list of integers, data: NumPy array of uint8, ...} is
// written with, by Python 2 or 3; it calls nothing, and knows just the three names with which NumPy
// pickles an array. Everything else is kCorrupt, naming the instruction.
// Memory is bounded by the file's size.
CifarBatch read_cifar_pickle(std::span<const std::byte> bytes, const std::string& file);

}  // namespace bitsmith

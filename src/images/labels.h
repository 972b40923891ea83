// Files that say the label of each image.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bitsmith {

struct Labels {
  std::vector<std::string> names;  // of the images; empty if the file has none
  std::vector<int64_t> labels;     // 0 to 10^6
};

// MNIST's idx file (also .gz), a .npy array [n] of integers, or text: a line for each image whose
// last field, after commas or white space, is the label; with more than one field the first is the
// image's name. kCorrupt, naming file and line.
Labels read_labels(const std::filesystem::path& path);

}  // namespace bitsmith

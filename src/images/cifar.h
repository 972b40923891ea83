// Batches of CIFAR-10 as they are distributed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "images/dataset.h"

namespace bitsmith {

// A binary batch: for each image u8 label, then 32 x 32 bytes each of red, green and blue.
bool is_cifar_binary(std::span<const std::byte> bytes);

// A pickled batch ("data_batch_1", "test_batch"): see cifar_pickle.h.
bool is_pickle(std::span<const std::byte> bytes);

// Opens either. kCorrupt if it is not one.
std::unique_ptr<ImageDataset> open_cifar(const std::filesystem::path& path);

}  // namespace bitsmith

// JPEG and PNG files in a folder or a tar archive.
#pragma once

#include <memory>

#include "images/dataset.h"
#include "images/labels.h"

namespace bitsmith {

// All images below a folder, or in an archive, in the order of their paths. Without `labels` the
// folder that a file lies in is its class, numbered in alphabetical order; with labels that name
// images only those are kept, in the order of the labels; with labels without names there must be
// as many as images. A name may be a path from the top or from beside the file of labels.
std::unique_ptr<ImageDataset> open_folder(const std::filesystem::path& path, const Labels* labels);
std::unique_ptr<ImageDataset> open_tar(const std::filesystem::path& path, const Labels* labels);

}  // namespace bitsmith

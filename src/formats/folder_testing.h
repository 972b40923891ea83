// A quantized folder in memory, for tests.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/folder_format.h"

namespace bitsmith {

// The tensors of a folder, in memory.
struct Folder {
  explicit Folder(std::vector<FolderTensor> parts) : tensors(std::move(parts)) { index(); }
  void index() {
    found.clear();
    for (const FolderTensor& t : tensors) {
      found[t.entry.name] = {std::string(to_string(t.entry.dtype)), t.entry.shape, t.bytes};
    }
  }
  FolderReader::Find find() const {
    return [this](const std::string& name) -> const SafetensorsTensor* {
      const auto it = found.find(name);
      return it == found.end() ? nullptr : &it->second;
    };
  }
  std::vector<FolderTensor> tensors;
  std::map<std::string, SafetensorsTensor> found;
};

}  // namespace bitsmith

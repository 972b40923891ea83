// Tensors that an ONNX file keeps in other files of its folder.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "core/mapped_file.h"
#include "formats/onnx_file.h"

namespace bitsmith::onnx {

class ExternalData {
 public:
  // `file` for messages; `folder` empty: external data is refused.
  ExternalData(std::string file, std::filesystem::path folder)
      : file_(std::move(file)), folder_(std::move(folder)) {}

  // The elements of an external tensor. The path must stay inside the folder, links followed.
  std::string_view bytes(const Tensor& tensor);

  uint64_t mapped_bytes() const;
  std::vector<std::shared_ptr<MappedFile>> files() const;

 private:
  const MappedFile& open(const Tensor& tensor, const std::string& location);

  std::string file_;
  std::filesystem::path folder_;
  std::map<std::string, std::shared_ptr<MappedFile>> files_;  // by location
};

}  // namespace bitsmith::onnx

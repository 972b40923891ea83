#include "formats/model.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "core/error.h"
#include "core/spilled_file.h"
#include "formats/buffers.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_metadata.h"
#include "formats/gguf_model.h"
#include "formats/huggingface.h"
#include "formats/json_text.h"
#include "formats/onnx.h"
#include "formats/onnx_file.h"
#include "formats/safetensors.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;

// The first bytes of a file; fewer if it is shorter.
std::string file_start(const fs::path& path) {
  std::string start(9, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<size_t>(file.gcount()));
  return start;
}

// The format of a file that bitsmith cannot open, or nothing.
std::string foreign_format(const std::string& start) {
  if (start.starts_with("PK\x03\x04") || start.starts_with("\x80\x02")) return "a PyTorch archive";
  if (start.size() >= 8 && start.substr(4, 4) == "TFL3") return "a TensorFlow Lite file";
  return "";
}

bool is_checkpoint(const fs::path& path) {
  const MappedFile file(path);
  const Safetensors container = read_safetensors(file.bytes(), path.string());
  const auto format = container.metadata.find("format");
  return format != container.metadata.end() && format->second == checkpoint::kFormat;
}

Model open_file(const fs::path& path) {
  const std::string start = file_start(path);
  const std::string foreign = foreign_format(start);
  if (!foreign.empty()) {
    fail(ErrorCode::kUnsupported,
         "'{}' is {}, which is not supported yet; supported are Hugging Face folders with "
         "safetensors, GGUF, ONNX and .bitsmith files",
         path.string(), foreign);
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (start.starts_with("GGUF")) return open_gguf(path);
  if (path.extension() == ".json") return open_huggingface(folder);
  const bool is_safetensors = start.size() == 9 && start.back() == '{';
  if (path.extension() == ".bitsmith" || (is_safetensors && is_checkpoint(path))) {
    return open_checkpoint(path);
  }
  if (is_safetensors && fs::exists(folder / "config.json")) return open_huggingface(folder);
  if (!is_safetensors &&
      (path.extension() == ".onnx" || onnx::looks_like_onnx(std::as_bytes(std::span(start))))) {
    return open_onnx(path);
  }
  fail(ErrorCode::kUnsupported,
       "'{}' is {}; supported are Hugging Face folders with safetensors, GGUF, ONNX and .bitsmith "
       "files",
       path.string(),
       is_safetensors ? "a safetensors file without a config.json beside it"
                      : "no model that bitsmith knows");
}

}  // namespace

const CodedTensor& Model::parameter(std::string_view name) const {
  const auto found = parameters.find(std::string(name));
  if (found == parameters.end()) {
    fail(ErrorCode::kNotFound, "'{}' has no parameter {}", path.string(), quoted_name(name));
  }
  return found->second;
}

uint64_t Model::parameter_bytes() const {
  uint64_t total = 0;
  for (const auto& [name, tensor] : parameters) total += tensor.stored_bytes().size();
  return total;
}

uint64_t Model::packed_bytes() const {
  uint64_t total = 0;
  for (const auto& [name, tensor] : parameters) total += tensor.bytes.size();
  return total;
}

int64_t Model::parameter_count() const {
  int64_t total = 0;
  for (const auto& [name, tensor] : parameters) total += *element_count(tensor.shape);
  return total;
}

void settle_buffers(Model& model) {
  constexpr size_t kLine = 64;
  std::vector<size_t> offsets;
  size_t size = 0;
  for (const auto& buffer : model.buffers) {
    offsets.push_back(size);
    size += (buffer->size() + kLine - 1) / kLine * kLine;
  }
  if (size == 0) return;
  auto file = std::make_shared<MappedFile>(spilled_file(size, [&](std::span<std::byte> to) {
    for (size_t i = 0; i < offsets.size(); ++i) {
      const auto part = to.subspan(offsets[i], model.buffers[i]->size());
      std::ranges::copy(*model.buffers[i], part.begin());
      release_pages(part);
    }
  }));
  // By where a buffer begins.
  std::map<const std::byte*, size_t> index;
  for (size_t i = 0; i < offsets.size(); ++i) index[model.buffers[i]->data()] = i;
  for (auto& [name, tensor] : model.parameters) {
    const auto after = index.upper_bound(tensor.bytes.data());
    if (after == index.begin()) continue;
    const auto [begin, i] = *std::prev(after);
    const auto at = static_cast<size_t>(tensor.bytes.data() - begin);
    if (at + tensor.bytes.size() > model.buffers[i]->size()) continue;  // of a file
    tensor.bytes = file->bytes().subspan(offsets[i] + at, tensor.bytes.size());
  }
  model.files.push_back(std::move(file));
  model.buffers.clear();
}

void settle_large_buffers(Model& model) {
  size_t size = 0;
  for (const auto& buffer : model.buffers) size += buffer->size();
  if (size > kSpilledBytes) settle_buffers(model);
}

Model open_model(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    fail(ErrorCode::kNotFound, "'{}' is not there", path.string());
  }
  return fs::is_directory(path) ? open_huggingface(path) : open_file(path);
}

}  // namespace bitsmith

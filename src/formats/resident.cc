#include "formats/resident.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "codecs/ggml_block.h"
#include "core/system_memory.h"

namespace bitsmith {
namespace {

std::set<std::string> multiplied(const Graph& graph) {
  std::set<std::string> names;
  for (const Node& node : graph.nodes) {
    if (node.op == "embedding") continue;
    for (const ValueId id : node.inputs) {
      if (id == kNoValue) continue;
      const Value& value = graph.value(id);
      if (value.kind == ValueKind::kParameter && value.shape.size() > 1) names.insert(value.name);
    }
  }
  return names;
}

bool lies_in(std::span<const std::byte> bytes, std::span<const std::byte> whole) {
  return bytes.data() >= whole.data() && bytes.data() < whole.data() + whole.size();
}

// Gives back what the file's pages, or the memory that a tensor was decoded to, take.
void release_original(const Model& model, const CodedTensor& tensor) {
  if (!tensor.entropy_coder.empty()) return model.decoded->discard(tensor.bytes);
  const bool is_mapped = std::ranges::any_of(
      model.files, [&](const auto& file) { return lies_in(tensor.bytes, file->bytes()); });
  if (is_mapped) release_pages(tensor.bytes);
}

}  // namespace

bool make_resident(Model& model, ThreadPool& pool) {
  constexpr size_t kAlignment = 64;  // what vectors load at once
  constexpr size_t kPiece = size_t{2} << 20;
  std::set<std::string> names = multiplied(model.graph);
  // Kernels rearrange these into such memory anyway.
  std::erase_if(names, [&](const std::string& name) {
    return dynamic_cast<const GgmlCodec*>(&*model.parameter(name).scheme.codec) != nullptr;
  });
  if (names.empty()) return true;
  size_t size = 0;
  for (const std::string& name : names) {
    size += (model.parameter(name).bytes.size() + kAlignment - 1) / kAlignment * kAlignment;
  }
  if (size > available_memory_bytes() / 2) return false;

  auto memory = std::make_shared<HugeMemory>(size);
  size_t offset = 0;
  for (const std::string& name : names) {
    CodedTensor& tensor = model.parameters.at(name);
    const std::span<std::byte> to = memory->bytes().subspan(offset, tensor.bytes.size());
    const auto pieces = static_cast<int64_t>((to.size() + kPiece - 1) / kPiece);
    pool.run(pieces, [&](int64_t i, int) {
      const size_t begin = static_cast<size_t>(i) * kPiece;
      const size_t count = std::min(kPiece, to.size() - begin);
      std::memcpy(to.data() + begin, tensor.bytes.data() + begin, count);
    });
    release_original(model, tensor);
    tensor.bytes = to;
    offset += (to.size() + kAlignment - 1) / kAlignment * kAlignment;
  }
  model.resident = std::move(memory);
  // What was computed at opening and is now copied.
  std::erase_if(model.buffers, [&](const auto& buffer) {
    return std::ranges::none_of(model.parameters, [&](const auto& parameter) {
      return lies_in(parameter.second.bytes, *buffer);
    });
  });
  return true;
}

}  // namespace bitsmith

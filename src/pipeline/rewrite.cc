#include "pipeline/rewrite.h"

#include <algorithm>
#include <optional>

#include "core/interrupt.h"
#include "core/output_file.h"
#include "pipeline/block_runner.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

bool fits_bf16(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float v) { return bf16_to_float(float_to_bf16(v)) == v; });
}

// The parameters of the file, in its order, and where each begins.
struct Entry {
  std::string name;
  uint64_t begin = 0;
  uint64_t bytes = 0;
};

std::vector<Entry> entries_of(const Network& network, const Model& model) {
  constexpr uint64_t kAlignment = 64;
  std::vector<Entry> entries;
  uint64_t end = 0;
  const auto add = [&](const std::string& name) {
    const CodedTensor& tensor = model.parameter(name);
    const uint64_t bytes =
        tensor.scheme.codec->encoded_bytes(tensor.matrix(), tensor.scheme.options);
    entries.push_back({name, end, bytes});
    end += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  for (const auto& [name, values] : network.given()) add(name);
  for (const auto& [name, edits] : network.edits()) {
    if (!network.given().contains(name)) add(name);
  }
  return entries;
}

}  // namespace

Model rewritten_model(const Model& original, const Network& network) {
  Model model = original;
  if (!network.changed()) return model;
  model.graph = network.graph;
  const nlohmann::json none = nlohmann::json::object();
  for (const ValueId id : model.graph.parameters()) {
    const Value& value = model.graph.value(id);
    const auto given = network.given().find(value.name);
    const bool is_given = given != network.given().end();
    const bool is_edited = network.edits().contains(value.name);
    if (!is_given && !is_edited) continue;
    const bool exact =
        is_given && !is_edited && !network.is_computed(value.name) && fits_bf16(given->second);
    CodedTensor tensor{value.name, value.shape, Scheme(exact ? "bf16" : "f32", none), {}};
    // Only the size counts until there are contents.
    const size_t bytes = tensor.scheme.codec->encoded_bytes(tensor.matrix(), tensor.scheme.options);
    tensor.bytes = {static_cast<const std::byte*>(nullptr), bytes};
    model.parameters[value.name] = tensor;
  }
  return model;
}

void write_changed_parameters(const Model& original, const Network& network,
                              const std::filesystem::path& folder, ThreadPool& pool,
                              Progress& progress, Model& model,
                              const std::function<Network()>& informed) {
  const std::filesystem::path path = folder / "transformed.bin";
  const std::vector<Entry> entries = entries_of(network, model);
  const uint64_t size = entries.back().begin + entries.back().bytes;
  std::error_code absent;
  if (std::filesystem::file_size(path, absent) != size || absent) {
    std::optional<Network> made;
    if (informed) made.emplace(informed());
    const Network& source = made ? *made : network;
    progress.begin("transform", static_cast<double>(size));
    OutputFile file(path);
    std::vector<float> weights;
    std::vector<uint16_t> halves;
    for (const Entry& entry : entries) {
      check_interrupt();
      progress.update(static_cast<double>(entry.begin), entry.name);
      const CodedTensor& tensor = model.parameter(entry.name);
      if (const auto given = source.given().find(entry.name); given != source.given().end()) {
        weights = given->second;
      } else {
        const CodedTensor& was = original.parameter(entry.name);
        weights.resize(static_cast<size_t>(was.matrix().rows * was.matrix().cols));
        decode_tensor(was, pool, weights.data());
      }
      if (const auto edits = source.edits().find(entry.name); edits != source.edits().end()) {
        apply_changes(edits->second, weights, pool);
      }
      const std::vector<std::byte> gap(entry.begin - file.written());
      file.write(gap);
      if (tensor.scheme.codec->info().id == "bf16") {
        halves.resize(weights.size());
        std::ranges::transform(weights, halves.begin(), float_to_bf16);
        file.write(std::as_bytes(std::span(halves)));
      } else {
        file.write(std::as_bytes(std::span(weights)));
      }
    }
    file.commit();
    progress.end();
  }
  model.files.push_back(std::make_shared<MappedFile>(path));
  const std::span<const std::byte> bytes = model.files.back()->bytes();
  for (const Entry& entry : entries) {
    model.parameters.at(entry.name).bytes = bytes.subspan(entry.begin, entry.bytes);
  }
}

}  // namespace bitsmith

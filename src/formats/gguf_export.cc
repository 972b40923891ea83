#include "formats/gguf_export.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"
#include "families/family.h"
#include "formats/float_matrix.h"
#include "formats/gguf_config.h"
#include "formats/gguf_names.h"
#include "formats/gguf_tokenizer.h"
#include "formats/gguf_writer.h"
#include "formats/json_text.h"
#include "formats/plain_model.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// What a matrix gets whose rows are not whole blocks of a codec.
struct Substitute {
  std::string_view codec;
  std::string_view other;
};
constexpr std::array<Substitute, 9> kSubstitutes = {{{"q2_k", "iq4_nl"},
                                                     {"q3_k", "iq4_nl"},
                                                     {"q4_k", "q5_0"},
                                                     {"q5_k", "q5_1"},
                                                     {"q6_k", "q8_0"},
                                                     {"iq4_xs", "iq4_nl"},
                                                     {"tq1_0", "q4_0"},
                                                     {"tq2_0", "q4_0"},
                                                     {"nvfp4_ggml", "mxfp4_ggml"}}};

// llama.cpp's number for "most tensors are of this type"; it is shown, not used.
uint32_t file_type(std::string_view codec) {
  constexpr std::array<std::pair<std::string_view, uint32_t>, 18> kTypes = {{{"f32", 0},
                                                                             {"f16", 1},
                                                                             {"q4_0", 2},
                                                                             {"q4_1", 3},
                                                                             {"q8_0", 7},
                                                                             {"q5_0", 8},
                                                                             {"q5_1", 9},
                                                                             {"q2_k", 10},
                                                                             {"q3_k", 12},
                                                                             {"q4_k", 15},
                                                                             {"q5_k", 17},
                                                                             {"q6_k", 18},
                                                                             {"iq4_nl", 25},
                                                                             {"iq4_xs", 30},
                                                                             {"bf16", 32},
                                                                             {"tq1_0", 36},
                                                                             {"tq2_0", 37},
                                                                             {"mxfp4_ggml", 38}}};
  for (const auto& [name, number] : kTypes) {
    if (name == codec) return number;
  }
  return codec == "nvfp4_ggml" ? 39 : 1;
}

// One parameter on its way into the file.
struct Planned {
  const CodedTensor* tensor = nullptr;
  std::string name;
  Scheme scheme;  // of the file
  enum class Encoding : uint8_t { kAsItIs, kSameCodes, kAnew } encoding = Encoding::kAsItIs;
};

// The same numbers in blocks of ggml; nothing if it has none.
std::optional<Scheme> block_scheme(const CodedTensor& tensor) {
  const std::string_view integers = block_codec(tensor);
  return integers.empty() ? fp4_block_scheme(tensor) : Scheme(integers, json::object());
}

// The codec that another matrix gets.
std::string choose_codec(const CodedTensor& tensor, const GgufExport& options, GgufReport& report) {
  const std::string& wanted = options.codec;
  const int64_t cols = tensor.matrix().cols;
  std::string own = gguf_scheme(tensor).codec->info().id;
  if (options.exact && wanted.empty() && own != tensor.scheme.codec->info().id) own = "f32";
  const std::string codec(gguf_codec(wanted.empty() ? own : wanted, cols));
  if (wanted.empty() && own != tensor.scheme.codec->info().id) {
    report.fallbacks.push_back(
        {tensor.name, codec, fmt::format("GGUF has no type for {}", tensor.scheme.label())});
  } else if (!wanted.empty() && codec != wanted) {
    report.fallbacks.push_back(
        {tensor.name, codec, fmt::format("rows of {} are not whole blocks of {}", cols, wanted)});
  }
  return codec;
}

Planned plan(const Model& model, const Value& value, const std::string& architecture,
             const GgufExport& options, GgufReport& report) {
  Planned planned;
  planned.tensor = &model.parameter(value.name);
  const auto name = gguf_tensor_name(value.name, architecture);
  if (!name) {
    fail(ErrorCode::kUnsupported, "GGUF has no name for the parameter {}", quoted_name(value.name));
  }
  planned.name = *name;
  const bool vector = planned.tensor->shape.size() < 2;
  if (!vector && options.codec.empty()) {
    if (auto blocks = block_scheme(*planned.tensor)) {
      planned.scheme = std::move(*blocks);
      planned.encoding = Planned::Encoding::kSameCodes;
      return planned;
    }
  }
  const std::string codec = vector ? "f32" : choose_codec(*planned.tensor, options, report);
  const Scheme& own = planned.tensor->scheme;
  if (codec == own.codec->info().id) {
    planned.scheme = own;
  } else {
    planned.scheme = Scheme(codec, json::object());
    planned.encoding = Planned::Encoding::kAnew;
  }
  return planned;
}

// The plans in the order of use, and how many tensors are of each codec.
std::vector<Planned> plan_all(const Model& model, const GgufExport& options, GgufReport& report) {
  const std::string& wanted = options.codec;
  if (!wanted.empty() && find_ggml_type(wanted) == nullptr) {
    fail(ErrorCode::kInvalidArgument, "GGUF has no type for the codec '{}'", wanted);
  }
  const std::string architecture = gguf_architecture(model.config);
  std::vector<Planned> plans;
  for (const ValueId id : model.graph.parameters()) {
    plans.push_back(plan(model, model.graph.value(id), architecture, options, report));
  }
  return plans;
}

std::string usual_codec(const std::vector<Planned>& plans) {
  std::map<std::string, uint64_t> bytes;
  for (const Planned& p : plans) bytes[p.scheme.codec->info().id] += p.tensor->bytes.size();
  std::string usual = "f16";
  uint64_t most = 0;
  for (const auto& [codec, size] : bytes) {
    if (size > most) std::tie(usual, most) = std::pair(codec, size);
  }
  return usual;
}

// NVFP4's scale of the whole tensor.
std::string scale_name(const Planned& planned) {
  if (planned.scheme.codec->info().id != "nvfp4_ggml") return "";
  return planned.name.substr(0, planned.name.rfind('.')) + ".scale";
}

GgufMetadata metadata_of(const Model& model, std::string name, const std::vector<Planned>& plans) {
  GgufMetadata metadata = config_to_gguf(model.config);
  if (name.empty()) name = model.path.has_stem() ? model.path.stem().string() : "model";
  metadata.insert(metadata.begin() + 1, {{"general.type", std::string("model")},
                                         {"general.name", name},
                                         {"general.file_type", file_type(usual_codec(plans))},
                                         {"general.quantization_version", uint32_t{2}}});
  const CodedTensor& table = model.parameter("model.embed_tokens.weight");
  GgufMetadata tokenizer = tokenizer_to_gguf(model.tokenizer_files, table.shape[0]);
  metadata.insert(metadata.end(), std::make_move_iterator(tokenizer.begin()),
                  std::make_move_iterator(tokenizer.end()));
  return metadata;
}

// Everything that is known before the first tensor is written.
struct Layout {
  std::vector<Planned> plans;
  std::vector<float> factors;  // of rotary frequencies
  GgufMetadata metadata;
  std::vector<GgufWriter::Entry> entries;
};
constexpr const char* kFactors = "rope_freqs.weight";

Layout lay_out(const Model& model, const GgufExport& options, GgufReport& report) {
  check_is_plain(model, "GGUF files need");
  Layout layout;
  layout.plans = plan_all(model, options, report);
  layout.factors = rope_factors_of(model.config);
  layout.metadata = metadata_of(model, options.name, layout.plans);
  const GgmlType* f32 = find_ggml_type("f32");
  if (!layout.factors.empty()) {
    layout.entries.push_back({kFactors, {static_cast<int64_t>(layout.factors.size())}, f32});
  }
  for (const Planned& planned : layout.plans) {
    const std::string scale = scale_name(planned);
    if (!scale.empty()) layout.entries.push_back({scale, {1}, f32});
    layout.entries.push_back(
        {planned.name, planned.tensor->shape, find_ggml_type(planned.scheme.codec->info().id)});
  }
  return layout;
}

std::vector<std::byte> encoded(const Planned& planned, const GgufExport& options) {
  const CodedTensor& tensor = *planned.tensor;
  if (planned.encoding == Planned::Encoding::kAsItIs) {
    return {tensor.bytes.begin(), tensor.bytes.end()};
  }
  if (planned.encoding == Planned::Encoding::kSameCodes) {
    return is_integer_matrix(tensor) ? integer_blocks(tensor) : fp4_blocks(tensor);
  }
  if (planned.scheme.codec->info().id != "f32") return options.encode(tensor, planned.scheme);
  const std::vector<float> values = tensor.decode_all();
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> in_gguf_order(const std::vector<std::byte>& bytes, int64_t rows,
                                     int64_t head_dim) {
  std::vector<std::byte> ordered(bytes.size());
  const size_t row_bytes = bytes.size() / static_cast<size_t>(rows);
  std::byte* out = ordered.data();
  for (const int64_t row : rows_to_gguf(rows, head_dim)) {
    std::memcpy(out, bytes.data() + static_cast<size_t>(row) * row_bytes, row_bytes);
    out += row_bytes;
  }
  return ordered;
}

void append_floats(GgufWriter& writer, std::string_view name, std::span<const float> values) {
  writer.append(name, std::as_bytes(values));
}

}  // namespace

GgufReport export_gguf(const std::filesystem::path& path, const Model& model,
                       const GgufExport& options) {
  GgufReport report;
  Layout layout = lay_out(model, options, report);
  const std::string architecture = gguf_architecture(model.config);
  const auto head_dim = head_dim_of(model.config);
  GgufWriter writer(path, layout.metadata, std::move(layout.entries));
  append_floats(writer, kFactors, layout.factors);
  for (const Planned& planned : layout.plans) {
    const std::string scale = scale_name(planned);
    if (!scale.empty()) {
      const auto value = static_cast<float>(planned.scheme.options.number("tensor_scale"));
      append_floats(writer, scale, {&value, 1});
    }
    std::vector<std::byte> bytes = encoded(planned, options);
    if (has_paired_rows(planned.tensor->name, architecture)) {
      bytes = in_gguf_order(bytes, planned.tensor->shape[0], head_dim);
    }
    writer.append(planned.name, bytes);
    report.bytes += bytes.size();
    report.weights += *element_count(planned.tensor->shape);
    if (options.after_write) options.after_write(*planned.tensor);
  }
  writer.commit();
  return report;
}

Scheme gguf_scheme(const CodedTensor& tensor) {
  if (tensor.shape.size() < 2) return Scheme("f32", json::object());
  if (find_ggml_type(tensor.scheme.codec->info().id) != nullptr) return tensor.scheme;
  return Scheme("f16", json::object());
}

std::string_view gguf_codec(std::string_view codec, int64_t cols) {
  const auto fits = [cols](std::string_view id) {
    return cols % find_ggml_type(id)->block_cols == 0;
  };
  if (fits(codec)) return codec;
  const auto* found = std::ranges::find(kSubstitutes, codec, &Substitute::codec);
  return found != kSubstitutes.end() && fits(found->other) ? found->other : "f16";
}

uint64_t gguf_stored_bytes(const MatrixShape& shape, const Scheme& scheme) {
  const uint64_t bytes = gguf_aligned(scheme.codec->encoded_bytes(shape, scheme.options));
  // One F32 number, and what the head says of it: a name of at most 63 bytes, lengths, an offset.
  constexpr uint64_t kScaleBytes = 32 + 96;
  return scheme.codec->info().id == "nvfp4_ggml" ? bytes + kScaleBytes : bytes;
}

uint64_t gguf_overhead_bytes(const Model& model) {
  GgufReport report;
  const Layout layout = lay_out(model, {}, report);
  return GgufWriter::head_bytes(layout.metadata, layout.entries) +
         gguf_aligned(sizeof(float) * layout.factors.size());
}

}  // namespace bitsmith

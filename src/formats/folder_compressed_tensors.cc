// Folders in the formats of compressed-tensors (vLLM's own): integers ("pack-quantized" and
// "int-quantized") and, in compressed_tensors_floats.h, FP8 and FP4.
#include <algorithm>
#include <set>
#include <tuple>

#include "core/error.h"
#include "formats/bit_words.h"
#include "formats/compressed_tensors_floats.h"
#include "formats/folder_format.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

using nlohmann::json;

constexpr const char* kPacked = "pack-quantized";
constexpr const char* kBytes = "int-quantized";

// Codes of 3, 5, 6 and 7 bits cross words only since 2026; before, 32 / bits of them filled one.
int64_t packed_words(int64_t cols, int64_t bits, bool crossing) {
  return crossing ? ceil_div(cols * bits, 32) : ceil_div(cols, 32 / bits);
}

json weights_config(const IntegerMatrix& form) {
  return {{"num_bits", form.bits},
          {"type", "int"},
          {"symmetric", form.symmetric},
          {"strategy", form.group == 0 ? "channel" : "group"},
          {"group_size", form.group == 0 ? json() : json(form.group)},
          {"dynamic", false},
          {"actorder", json()},
          {"block_structure", json()},
          {"observer", "minmax"},
          {"observer_kwargs", json::object()}};
}

// Of the layers of a group.
std::string format_of(const json& weights) {
  if (weights["type"] == "int") return kPacked;
  for (const FloatKind kind : {FloatKind::kFp8, FloatKind::kMxfp4, FloatKind::kMxfp8}) {
    if (weights == float_weights_config(kind)) return std::string(float_folder_format(kind));
  }
  return std::string(float_folder_format(FloatKind::kNvfp4));
}

class CompressedTensorsWriter final : public FolderWriter {
 public:
  explicit CompressedTensorsWriter(const std::vector<const CodedTensor*>& matrices)
      : scales_(matrices) {}

  std::string refusal(const CodedTensor& tensor) const override {
    if (float_kind(tensor)) return float_refusal(float_form(tensor));
    if (!is_integer_matrix(tensor)) {
      return fmt::format("compressed-tensors has no {}", tensor.scheme.label());
    }
    const IntegerMatrix form = integer_form(tensor);
    if (form.bits != 2 && form.bits != 4 && form.bits != 8) {
      return fmt::format("readers of pack-quantized agree on 2, 4 and 8 bits, not on {}",
                         form.bits);
    }
    if (!form.group_of.empty()) return "pack-quantized has groups of neighbouring inputs";
    if (form.shape.cols % form.group_cols() != 0) {
      return fmt::format("pack-quantized has whole groups: {} inputs are not in groups of {}",
                         form.shape.cols, form.group);
    }
    return "";
  }

  // Codes less 2^(bits - 1) are signed; they lie as they are in ours, without that.
  std::vector<FolderTensor> pack(const CodedTensor& tensor) const override {
    if (float_kind(tensor)) return pack_floats(tensor, scales_);
    const IntegerMatrix m = integer_matrix(tensor);
    const auto [rows, cols] = std::pair(m.shape.rows, m.shape.cols);
    const int64_t groups = m.groups();
    std::vector<uint32_t> weights;
    for (int64_t row = 0; row < rows; ++row) {
      BitWordWriter words(cols, m.bits);
      for (int64_t col = 0; col < cols; ++col) {
        words.set(col, m.codes[static_cast<size_t>(row * cols + col)]);
      }
      weights.insert(weights.end(), words.words().begin(), words.words().end());
    }
    const std::string module = module_of(tensor.name);
    const auto part = [&](const char* name, DType dtype, Shape shape, const auto& numbers) {
      return folder_tensor(module + name, dtype, std::move(shape),
                           std::as_bytes(std::span(numbers)));
    };
    std::vector<FolderTensor> parts = {
        part(".weight_packed", DType::kI32, {rows, packed_words(cols, m.bits, true)}, weights),
        part(".weight_scale", DType::kF16, {rows, groups}, m.scales),
        part(".weight_shape", DType::kI64, {2}, std::vector<int64_t>{rows, cols})};
    if (m.symmetric) return parts;
    const int64_t words = packed_words(rows, m.bits, true);
    std::vector<uint32_t> zeros(static_cast<size_t>(words * groups));
    for (int64_t g = 0; g < groups; ++g) {
      BitWordWriter column(rows, m.bits);
      for (int64_t row = 0; row < rows; ++row) {
        column.set(row, m.zeros[static_cast<size_t>(row * groups + g)]);
      }
      for (int64_t w = 0; w < words; ++w) {
        zeros[static_cast<size_t>(w * groups + g)] = column.words()[static_cast<size_t>(w)];
      }
    }
    parts.push_back(part(".weight_zero_point", DType::kI32, {words, groups}, zeros));
    return parts;
  }

  json config(const std::vector<const CodedTensor*>& packed,
              const std::vector<std::string>& plain) const override {
    std::vector<std::pair<json, std::vector<std::string>>> kinds;  // with their layers
    std::set<std::string> formats;
    for (const CodedTensor* tensor : packed) {
      const auto floats = float_kind(*tensor);
      const json weights =
          floats ? float_weights_config(*floats) : weights_config(integer_form(*tensor));
      formats.insert(format_of(weights));
      auto kind = std::ranges::find(kinds, weights, [](const auto& k) { return k.first; });
      if (kind == kinds.end()) {
        kinds.emplace_back(weights, std::vector<std::string>());
        kind = kinds.end() - 1;
      }
      kind->second.push_back(module_of(tensor->name));
    }
    json groups = json::object();
    for (size_t i = 0; i < kinds.size(); ++i) {
      groups[fmt::format("group_{}", i)] = {
          {"targets", kinds.size() == 1 ? json::array({"Linear"}) : json(kinds[i].second)},
          {"weights", kinds[i].first},
          {"input_activations", json()},
          {"output_activations", json()},
          {"format", format_of(kinds[i].first)}};
    }
    return {{"quant_method", "compressed-tensors"},
            {"format", formats.size() == 1 ? *formats.begin() : "mixed-precision"},
            {"quantization_status", "compressed"},
            {"config_groups", std::move(groups)},
            {"ignore", plain},
            {"kv_cache_scheme", json()}};
  }

  std::string joined_form(const CodedTensor& tensor) const override {
    const std::string label = tensor.scheme.label();
    if (float_kind(tensor) != FloatKind::kNvfp4) return label;
    return fmt::format("{} in units of {}", label, scales_.of(tensor));
  }

  // Kernels for powers of two as scales want bfloat16.
  std::string dtype(const std::vector<const CodedTensor*>& packed) const override {
    const bool floats = std::ranges::any_of(packed, [](const auto* t) { return !!float_kind(*t); });
    return floats ? "bfloat16" : "float16";
  }

 private:
  CommonScales scales_;
};

// "int-quantized": signed bytes with a scale for each row, times inputs rounded per token.
class RoundedInputsWriter final : public FolderWriter {
 public:
  std::string refusal(const CodedTensor& tensor) const override {
    if (is_integer_matrix(tensor)) {
      const IntegerMatrix form = integer_form(tensor);
      if (form.bits == 8 && form.symmetric && form.group == 0) return "";
    }
    return fmt::format("int-quantized has 8 bits with a scale for each row, no {}",
                       tensor.scheme.label());
  }

  std::vector<FolderTensor> pack(const CodedTensor& tensor) const override {
    IntegerMatrix m = integer_matrix(tensor);
    for (uint8_t& code : m.codes) code ^= 128;
    const std::string module = module_of(tensor.name);
    return {folder_tensor(module + ".weight", DType::kI8, {m.shape.rows, m.shape.cols},
                          std::as_bytes(std::span(m.codes))),
            folder_tensor(module + ".weight_scale", DType::kF16, {m.shape.rows, 1},
                          std::as_bytes(std::span(m.scales)))};
  }

  json config(const std::vector<const CodedTensor*>& packed,
              const std::vector<std::string>& plain) const override {
    json inputs = weights_config(integer_form(*packed.front()));
    inputs.update({{"strategy", "token"}, {"dynamic", true}, {"observer", json()}});
    const json group = {{"targets", {"Linear"}},
                        {"weights", weights_config(integer_form(*packed.front()))},
                        {"input_activations", inputs},
                        {"output_activations", json()},
                        {"format", kBytes}};
    return {{"quant_method", "compressed-tensors"},
            {"format", kBytes},
            {"quantization_status", "compressed"},
            {"config_groups", {{"group_0", group}}},
            {"ignore", plain},
            {"kv_cache_scheme", json()}};
  }
};

class CompressedTensorsReader final : public FolderReader {
 public:
  explicit CompressedTensorsReader(const json& config) {
    for (const char* key : {"kv_cache_scheme", "sparsity_config", "transform_config"}) {
      const auto found = config.find(key);
      if (found == config.end() || found->is_null() || found->empty()) continue;
      fail(ErrorCode::kUnsupported, "quantization_config: '{}' is not read", key);
    }
    const auto groups = config.find("config_groups");
    if (groups == config.end() || !groups->is_object()) {
      fail(ErrorCode::kCorrupt, "quantization_config: 'config_groups' should be an object");
    }
    for (const auto& [name, group] : groups->items()) {
      if (!group.is_object()) {
        fail(ErrorCode::kCorrupt, "quantization_config: {} should be an object", quoted_name(name));
      }
      check_group(name, group);
    }
    const bool alike = token_bits_.size() == 1 && *token_bits_.begin() >= 0;
    if (!alike) {
      token_bits_.clear();
      notes_.push_back(fmt::format(
          "quantization_config rounds activations to {} bits; here they stay as they are, which is "
          "more exact",
          fmt::join(rounded_, " or ")));
    }
  }

  int64_t token_bits() const override { return token_bits_.empty() ? 0 : *token_bits_.begin(); }

  std::optional<CodedTensor> read(const std::string& name, const Shape& shape, const Find& find,
                                  ByteBuffers& buffers) const override {
    const std::string module = module_of(name);
    for (const char* part : {".input_scale", ".input_zero_point", ".input_global_scale"}) {
      find(module + part);  // of activations, which notes() speaks of
    }
    if (const auto floats = read_floats(module, matrix_shape(shape), blocks_, find)) {
      return coded_tensor(name, shape, *floats, buffers);
    }
    IntegerMatrix m;
    m.shape = matrix_shape(shape);
    if (const SafetensorsTensor* packed = find(module + ".weight_packed")) {
      read_packed(module, *packed, find, m);
    } else if (const SafetensorsTensor* plain = find(name);
               plain != nullptr && plain->dtype == "I8") {
      read_bytes(module, find, m);
    } else {
      return std::nullopt;
    }
    read_group_of(module + ".weight_g_idx", find, m);
    return coded_tensor(name, shape, m, buffers);
  }

  std::vector<std::string> notes() const override { return notes_; }

 private:
  void check_group(const std::string& name, const json& group) {
    const json weights = group.value("weights", json());
    if (!weights.is_object()) {
      fail(ErrorCode::kCorrupt, "quantization_config: {} has no weights", quoted_name(name));
    }
    const json type = weights.value("type", json("int"));
    if (type != "int" && type != "float") {
      fail(ErrorCode::kUnsupported,
           "quantization_config: {} has weights of type {}; int and float are read",
           quoted_name(name), quoted_name(type.dump()));
    }
    if (!group.value("output_activations", json()).is_null()) {
      fail(ErrorCode::kUnsupported,
           "quantization_config: {} quantizes activations ('output_activations'), which is not "
           "read",
           quoted_name(name));
    }
    read_inputs(group.value("input_activations", json()));
    if (const json block = weights.value("block_structure", json()); block.is_array()) {
      const auto extent = [&](size_t i) {
        return block.size() == 2 && block[i].is_number_integer() ? block[i].get<int64_t>() : 0;
      };
      if (extent(0) < 1 || extent(1) < 1 || std::max(extent(0), extent(1)) > 1 << 20) {
        fail(ErrorCode::kUnsupported, "quantization_config: 'block_structure' of {} is {}",
             quoted_name(name), quoted_name(block.dump()));
      }
      blocks_.emplace(extent(0), extent(1));
    }
    if (type == "int") bits_.insert(config_integer(weights, "num_bits", 8, 1, 8));
  }

  // What becomes nodes is 8-bit integers of each token around zero, in all groups alike.
  void read_inputs(const json& inputs) {
    if (!inputs.is_object()) {
      token_bits_.insert(0);
      return;
    }
    const int64_t bits = config_integer(inputs, "num_bits", 8, 1, 32);
    const bool same = bits == 8 && inputs.value("type", json("int")) == "int" &&
                      inputs.value("dynamic", json()) == true &&
                      inputs.value("strategy", json()) == "token" &&
                      config_flag(inputs, "symmetric", true);
    rounded_.insert(bits);
    token_bits_.insert(same ? bits : -1);
  }

  // How many bits fit the words of a row: of those that the configuration names.
  std::pair<int, bool> packing_of(const std::string& name, int64_t cols, int64_t words) const {
    std::set<std::pair<int, bool>> found;
    for (const int64_t bits : bits_) {
      for (const bool crossing : {true, false}) {
        if (packed_words(cols, bits, crossing) != words) continue;
        found.emplace(static_cast<int>(bits), crossing || 32 % bits == 0);
      }
    }
    if (found.size() == 1) return *found.begin();
    fail(found.empty() ? ErrorCode::kCorrupt : ErrorCode::kUnsupported,
         "tensor {}: {} words hold {} codes of {} bits {}", quoted_name(name), words, cols,
         fmt::join(bits_, " or "), found.empty() ? "in no way" : "in several ways");
  }

  // Groups and scales, [rows, groups]; rows without groups may have one scale for all.
  static void read_scales(const std::string& module, const Find& find, IntegerMatrix& m) {
    const std::string name = module + ".weight_scale";
    const SafetensorsTensor* scales = find(name);
    const Shape stored = scales != nullptr ? scales->shape : Shape{};
    const bool one = stored.empty() || stored == Shape{1};
    const int64_t groups = stored.size() == 2 ? stored[1] : 1;
    const SafetensorsTensor& tensor =
        need_tensor(find, name, {"F16", "BF16", "F32"}, one ? stored : Shape{m.shape.rows, groups});
    if (groups < 1 || m.shape.cols % groups != 0) {
      fail(ErrorCode::kUnsupported, "tensor {}: {} groups of {} inputs", quoted_name(name), groups,
           m.shape.cols);
    }
    m.group = groups == 1 ? 0 : m.shape.cols / groups;
    for (int64_t i = 0; i < m.shape.rows * groups; ++i) {
      m.scales.push_back(scale_as_f16(tensor, one ? 0 : i, name));
    }
  }

  void read_packed(const std::string& module, const SafetensorsTensor& packed, const Find& find,
                   IntegerMatrix& m) const {
    const std::string name = module + ".weight_packed";
    const auto [rows, cols] = std::pair(m.shape.rows, m.shape.cols);
    const int64_t words = packed.shape.size() == 2 ? packed.shape[1] : 0;
    need_tensor(find, name, {"I32"}, {rows, words});
    const SafetensorsTensor& shape =
        need_tensor(find, module + ".weight_shape", {"I64", "I32"}, {2});
    const int64_t first = shape.dtype == "I64" ? 2 : 1;  // words of a number
    if (load_word(shape.bytes, 0) != static_cast<uint32_t>(rows) ||
        load_word(shape.bytes, first) != static_cast<uint32_t>(cols)) {
      fail(ErrorCode::kCorrupt, "tensor {} is not the shape {} of its layer",
           quoted_name(module + ".weight_shape"), to_string(Shape{rows, cols}));
    }
    const auto packing = packing_of(name, cols, words);
    const bool crossing = packing.second;
    m.bits = packing.first;
    const auto numbers = [&](const auto& word, int64_t index) {
      if (crossing) return bit_word_number(index, m.bits, word);
      const int64_t per_word = 32 / m.bits;
      return word(index / per_word) >> (index % per_word * m.bits) & ((uint32_t{1} << m.bits) - 1);
    };
    m.codes.resize(static_cast<size_t>(rows * cols));
    for (int64_t row = 0; row < rows; ++row) {
      const auto word = [&](int64_t w) { return load_word(packed.bytes, row * words + w); };
      for (int64_t col = 0; col < cols; ++col) {
        m.codes[static_cast<size_t>(row * cols + col)] = static_cast<uint8_t>(numbers(word, col));
      }
    }
    read_scales(module, find, m);
    const std::string zero_name = module + ".weight_zero_point";
    m.symmetric = find(zero_name) == nullptr && m.bits > 1;
    const int64_t groups = m.groups();
    m.zeros.assign(static_cast<size_t>(rows * groups), static_cast<uint8_t>(1 << (m.bits - 1)));
    if (m.symmetric) return;
    const int64_t zero_words = packed_words(rows, m.bits, crossing);
    const SafetensorsTensor& zeros = need_tensor(find, zero_name, {"I32"}, {zero_words, groups});
    for (int64_t g = 0; g < groups; ++g) {
      const auto word = [&](int64_t w) { return load_word(zeros.bytes, w * groups + g); };
      for (int64_t row = 0; row < rows; ++row) {
        m.zeros[static_cast<size_t>(row * groups + g)] = static_cast<uint8_t>(numbers(word, row));
      }
    }
  }

  // "int-quantized": signed bytes, and zero points that are signed bytes.
  static void read_bytes(const std::string& module, const Find& find, IntegerMatrix& m) {
    const SafetensorsTensor& weights =
        need_tensor(find, module + ".weight", {"I8"}, {m.shape.rows, m.shape.cols});
    m.bits = 8;
    const auto unsigned_byte = [](std::byte b) {
      return static_cast<uint8_t>(std::to_integer<int>(b) ^ 128);
    };
    for (const std::byte b : weights.bytes) m.codes.push_back(unsigned_byte(b));
    read_scales(module, find, m);
    const std::string zero_name = module + ".weight_zero_point";
    m.symmetric = find(zero_name) == nullptr;
    m.zeros.assign(m.scales.size(), 128);
    if (m.symmetric) return;
    const SafetensorsTensor& zeros =
        need_tensor(find, zero_name, {"I8"}, {m.shape.rows, m.groups()});
    for (size_t i = 0; i < m.zeros.size(); ++i) m.zeros[i] = unsigned_byte(zeros.bytes[i]);
  }

  std::set<int64_t> bits_;
  BlockStructures blocks_;
  std::set<int64_t> rounded_;     // bits of activations
  std::set<int64_t> token_bits_;  // of groups: 0 without, -1 what is not read; of all, or empty
  std::vector<std::string> notes_;
};

class CompressedTensors final : public FolderFormat {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<FolderWriter> writer(
      const std::vector<const CodedTensor*>& matrices) const override {
    return std::make_unique<CompressedTensorsWriter>(matrices);
  }
  std::unique_ptr<FolderWriter> rounded_writer(int64_t bits) const override {
    return bits == 8 ? std::make_unique<RoundedInputsWriter>() : nullptr;
  }
  std::unique_ptr<FolderReader> reader(const json& config) const override {
    return std::make_unique<CompressedTensorsReader>(config);
  }

 private:
  PartInfo info_{
      .id = "compressed-tensors",
      .summary = "integers of 2, 4 or 8 bits, FP8, MXFP4, MXFP8, NVFP4, as vLLM reads them",
      .source =
          "compressed-tensors' formats pack-quantized, int-quantized, float-quantized, "
          "mxfp4-pack-quantized, mxfp8-quantized, nvfp4-pack-quantized"};
};

const Registration<FolderFormat, CompressedTensors> kRegistration;

}  // namespace
}  // namespace bitsmith

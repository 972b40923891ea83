// Folders in the format of GPTQ: codes packed along the inputs, [inputs, outputs].
#include <algorithm>
#include <map>
#include <tuple>

#include "core/error.h"
#include "formats/bit_words.h"
#include "formats/folder_format.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// What layers have in common.
struct Settings {
  int bits = 4;
  int64_t group = -1;  // -1: a row
  bool symmetric = true;
  friend auto operator<=>(const Settings&, const Settings&) = default;
};

Settings settings_of(const CodedTensor& tensor) {
  const IntegerMatrix form = integer_form(tensor);
  return {form.bits, form.group == 0 ? -1 : form.group, form.symmetric};
}

json to_json(const Settings& s) {
  return {{"bits", s.bits}, {"group_size", s.group}, {"sym", s.symmetric}};
}

// A regular expression that matches a name and nothing else.
std::string exactly(const std::string& name) {
  std::string text = "^";
  for (const char c : name) text += c == '.' ? std::string("\\.") : std::string(1, c);
  return text + "$";
}

// The names of a layer: its own, and that of the layer that vLLM joins it into.
std::vector<std::string> names_of(const std::string& module) {
  const std::string joined = joined_module(module);
  return joined.empty() ? std::vector{module} : std::vector{module, joined};
}

class GptqWriter final : public FolderWriter {
 public:
  // The older form stores zero points less 1, which cannot say 0: it is for symmetric codes only.
  explicit GptqWriter(const std::vector<const CodedTensor*>& matrices) {
    for (const CodedTensor* tensor : matrices) {
      if (refusal(*tensor).empty() && !settings_of(*tensor).symmetric) first_zero_ = 0;
    }
  }

  std::string refusal(const CodedTensor& tensor) const override {
    if (!is_integer_matrix(tensor)) return fmt::format("GPTQ has no {}", tensor.scheme.label());
    const IntegerMatrix form = integer_form(tensor);
    if (form.bits != 2 && form.bits != 3 && form.bits != 4 && form.bits != 8) {
      return fmt::format("GPTQ has 2, 3, 4 and 8 bits, not {}", form.bits);
    }
    if (form.shape.rows % 32 != 0 || form.shape.cols % 32 != 0) {
      return "GPTQ has layers of multiples of 32 inputs and outputs";
    }
    if (form.shape.cols % form.group_cols() != 0) {
      return fmt::format("GPTQ has whole groups: {} inputs are not in groups of {}",
                         form.shape.cols, form.group);
    }
    return "";
  }

  std::vector<FolderTensor> pack(const CodedTensor& tensor) const override {
    const IntegerMatrix m = integer_matrix(tensor);
    const int64_t inputs = m.shape.cols;
    const int64_t outputs = m.shape.rows;
    const int64_t words = inputs * m.bits / 32;
    const int64_t groups = m.groups();
    std::vector<uint32_t> weights(static_cast<size_t>(words * outputs));
    for (int64_t o = 0; o < outputs; ++o) {
      BitWordWriter column(inputs, m.bits);
      for (int64_t i = 0; i < inputs; ++i) {
        column.set(i, m.codes[static_cast<size_t>(o * inputs + i)]);
      }
      for (int64_t w = 0; w < words; ++w) {
        weights[static_cast<size_t>(w * outputs + o)] = column.words()[static_cast<size_t>(w)];
      }
    }
    std::vector<uint32_t> zeros;
    std::vector<uint16_t> scales;
    std::vector<int32_t> group_of;
    for (int64_t g = 0; g < groups; ++g) {
      BitWordWriter row(outputs, m.bits);
      for (int64_t o = 0; o < outputs; ++o) {
        const auto at = static_cast<size_t>(o * groups + g);
        row.set(o, static_cast<uint32_t>(m.zeros[at] - first_zero_));
        scales.push_back(m.scales[at]);
      }
      zeros.insert(zeros.end(), row.words().begin(), row.words().end());
    }
    for (int64_t i = 0; i < inputs; ++i) {
      group_of.push_back(m.group_of.empty() ? static_cast<int32_t>(i / m.group_cols())
                                            : m.group_of[static_cast<size_t>(i)]);
    }
    const std::string module = module_of(tensor.name);
    const auto part = [&](const char* name, DType dtype, Shape shape, const auto& numbers) {
      return folder_tensor(module + name, dtype, std::move(shape),
                           std::as_bytes(std::span(numbers)));
    };
    return {part(".g_idx", DType::kI32, {inputs}, group_of),
            part(".qweight", DType::kI32, {words, outputs}, weights),
            part(".qzeros", DType::kI32, {groups, outputs * m.bits / 32}, zeros),
            part(".scales", DType::kF16, {groups, outputs}, scales)};
  }

  json config(const std::vector<const CodedTensor*>& packed,
              const std::vector<std::string>& plain) const override {
    std::map<Settings, size_t> counts;
    for (const CodedTensor* tensor : packed) ++counts[settings_of(*tensor)];
    const Settings usual =
        std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
    json config = to_json(usual);
    config.update(
        {{"quant_method", "gptq"},
         {"checkpoint_format", first_zero_ == 0 ? "gptq_v2" : "gptq"},
         {"pack_dtype", "int32"},
         {"desc_act",
          std::ranges::any_of(
              packed, [](const auto* tensor) { return !integer_form(*tensor).group_of.empty(); })},
         {"lm_head", false}});
    json others = json::object();
    for (const CodedTensor* tensor : packed) {
      const Settings own = settings_of(*tensor);
      if (own == usual) continue;
      for (const std::string& name : names_of(module_of(tensor->name))) {
        others["+:" + exactly(name)] = to_json(own);
      }
    }
    for (const std::string& module : plain) {
      if (module == "lm_head") continue;
      for (const std::string& name : names_of(module))
        others["-:" + exactly(name)] = json::object();
    }
    if (!others.empty()) config["dynamic"] = std::move(others);
    return config;
  }

 private:
  int first_zero_ = 1;  // what the stored zero point 0 means
};

class GptqReader final : public FolderReader {
 public:
  explicit GptqReader(const json& config) {
    const json form = config.value("checkpoint_format", json("gptq"));
    if (form != "gptq" && form != "gptq_v2") {
      fail(ErrorCode::kUnsupported,
           "quantization_config: checkpoint_format {} is not read, only gptq and gptq_v2",
           quoted_name(form.dump()));
    }
    first_zero_ = form == "gptq" ? 1 : 0;
  }

  // Bits and groups are those of the tensors' shapes, whatever the configuration says of a layer.
  std::optional<CodedTensor> read(const std::string& name, const Shape& shape, const Find& find,
                                  ByteBuffers& buffers) const override {
    const std::string module = module_of(name);
    const SafetensorsTensor* weights = find(module + ".qweight");
    if (weights == nullptr) return std::nullopt;
    IntegerMatrix m;
    m.shape = matrix_shape(shape);
    const int64_t inputs = m.shape.cols;
    const int64_t outputs = m.shape.rows;
    const int64_t words = weights->shape.size() == 2 ? weights->shape[0] : 0;
    need_tensor(find, module + ".qweight", {"I32"}, {words, outputs});
    // No product of hostile extents: of a tensor without outputs they may be any.
    m.bits = words > inputs ? 0 : static_cast<int>(words * 32 / std::max<int64_t>(1, inputs));
    if (m.bits < 1 || m.bits > 8 || words * 32 != inputs * m.bits || outputs * m.bits % 32 != 0) {
      fail(ErrorCode::kCorrupt, "tensor {} has shape {}, which packs no {} of 1 to 8 bits",
           quoted_name(module + ".qweight"), to_string(weights->shape), to_string(shape));
    }
    const SafetensorsTensor& scales = grouped_scales(find, module, m);
    const int64_t groups = m.groups();
    const SafetensorsTensor& zeros =
        need_tensor(find, module + ".qzeros", {"I32"}, {groups, outputs * m.bits / 32});

    m.codes.resize(static_cast<size_t>(inputs * outputs));
    for (int64_t o = 0; o < outputs; ++o) {
      const auto word = [&](int64_t w) { return load_word(weights->bytes, w * outputs + o); };
      for (int64_t i = 0; i < inputs; ++i) {
        m.codes[static_cast<size_t>(o * inputs + i)] =
            static_cast<uint8_t>(bit_word_number(i, m.bits, word));
      }
    }
    m.symmetric = true;
    const auto middle = uint32_t{1} << (m.bits - 1);
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t row = g * (outputs * m.bits / 32);
        const auto word = [&](int64_t w) { return load_word(zeros.bytes, row + w); };
        const uint32_t zero = bit_word_number(o, m.bits, word) + first_zero_;
        if (zero >> m.bits != 0) {
          fail(ErrorCode::kUnsupported, "tensor {}: the zero point {} of {} bits",
               quoted_name(module + ".qzeros"), zero, m.bits);
        }
        m.symmetric = m.symmetric && zero == middle && m.bits > 1;
        m.zeros.push_back(static_cast<uint8_t>(zero));
        m.scales.push_back(scale_as_f16(scales, g * outputs + o, module + ".scales"));
      }
    }
    read_group_of(module + ".g_idx", find, m);  // desc_act: inputs in the order of activations
    return coded_tensor(name, shape, m, buffers);
  }

 private:
  uint32_t first_zero_ = 1;
};

class Gptq final : public FolderFormat {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<FolderWriter> writer(
      const std::vector<const CodedTensor*>& matrices) const override {
    return std::make_unique<GptqWriter>(matrices);
  }
  std::unique_ptr<FolderReader> reader(const json& config) const override {
    return std::make_unique<GptqReader>(config);
  }

 private:
  PartInfo info_{
      .id = "gptq",
      .summary = "integers of 2, 3, 4 or 8 bits, as GPTQModel, vLLM and transformers read",
      .source = "GPTQModel's checkpoint formats gptq and gptq_v2"};
};

const Registration<FolderFormat, Gptq> kRegistration;

}  // namespace
}  // namespace bitsmith

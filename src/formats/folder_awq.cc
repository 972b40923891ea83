// Folders in the format of AWQ's `gemm` kernels: nibbles of eight outputs in an order of their own.
#include <algorithm>
#include <map>

#include "core/error.h"
#include "formats/bit_words.h"
#include "formats/folder_format.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

using nlohmann::json;

// Nibble i of a word is output kOrder[i] of its eight.
constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};

// Of output o.
int shift_of(int64_t o) {
  return 4 * static_cast<int>(std::ranges::find(kOrder, static_cast<int>(o % 8)) - kOrder);
}

class AwqWriter final : public FolderWriter {
 public:
  // All layers have groups of one size: that of the most weights.
  explicit AwqWriter(const std::vector<const CodedTensor*>& matrices) {
    std::map<int64_t, int64_t> weights;
    for (const CodedTensor* tensor : matrices) {
      if (!form_refusal(*tensor).empty()) continue;
      const IntegerMatrix form = integer_form(*tensor);
      weights[form.group] += form.shape.rows * form.shape.cols;
    }
    if (weights.empty()) return;
    group_ = std::ranges::max_element(weights, {}, [](const auto& e) { return e.second; })->first;
  }

  std::string refusal(const CodedTensor& tensor) const override {
    std::string reason = form_refusal(tensor);
    if (reason.empty() && integer_form(tensor).group != group_) {
      reason = fmt::format("AWQ has groups of one size, here {}", group_label());
    }
    return reason;
  }

  std::vector<FolderTensor> pack(const CodedTensor& tensor) const override {
    const IntegerMatrix m = integer_matrix(tensor);
    const int64_t inputs = m.shape.cols;
    const int64_t outputs = m.shape.rows;
    const int64_t groups = m.groups();
    std::vector<uint32_t> weights(static_cast<size_t>(inputs * outputs / 8));
    std::vector<uint32_t> zeros(static_cast<size_t>(groups * outputs / 8));
    std::vector<uint16_t> scales(static_cast<size_t>(groups * outputs));
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t i = 0; i < inputs; ++i) {
        weights[static_cast<size_t>((i * outputs + o) / 8)] |=
            uint32_t{m.codes[static_cast<size_t>(o * inputs + i)]} << shift_of(o);
      }
      for (int64_t g = 0; g < groups; ++g) {
        const auto from = static_cast<size_t>(o * groups + g);
        zeros[static_cast<size_t>((g * outputs + o) / 8)] |= uint32_t{m.zeros[from]} << shift_of(o);
        scales[static_cast<size_t>(g * outputs + o)] = m.scales[from];
      }
    }
    const std::string module = module_of(tensor.name);
    const auto part = [&](const char* name, DType dtype, Shape shape, const auto& numbers) {
      return folder_tensor(module + name, dtype, std::move(shape),
                           std::as_bytes(std::span(numbers)));
    };
    return {part(".qweight", DType::kI32, {inputs, outputs / 8}, weights),
            part(".qzeros", DType::kI32, {groups, outputs / 8}, zeros),
            part(".scales", DType::kF16, {groups, outputs}, scales)};
  }

  json config(const std::vector<const CodedTensor*>& /*packed*/,
              const std::vector<std::string>& plain) const override {
    return {{"quant_method", "awq"},
            {"version", "gemm"},
            {"bits", 4},
            {"group_size", group_ == 0 ? -1 : group_},
            {"zero_point", true},
            {"modules_to_not_convert", plain.empty() ? json() : json(plain)}};
  }

 private:
  static std::string form_refusal(const CodedTensor& tensor) {
    if (!is_integer_matrix(tensor)) return fmt::format("AWQ has no {}", tensor.scheme.label());
    const IntegerMatrix form = integer_form(tensor);
    if (!form.group_of.empty()) return "AWQ has groups of neighbouring inputs";
    if (form.bits != 4) return fmt::format("AWQ has 4 bits, not {}", form.bits);
    if (form.shape.rows % 8 != 0 || form.shape.cols % form.group_cols() != 0) {
      return "AWQ has whole groups of inputs and multiples of 8 outputs";
    }
    return "";
  }
  std::string group_label() const {
    return group_ == 0 ? "whole rows" : fmt::format("of {} inputs", group_);
  }

  int64_t group_ = 0;
};

class AwqReader final : public FolderReader {
 public:
  explicit AwqReader(const json& config) {
    const json version = config.value("version", json("gemm"));
    if (version != "gemm" && version != "GEMM") {
      fail(ErrorCode::kUnsupported, "quantization_config: AWQ's version {} is not read, only gemm",
           quoted_name(version.dump()));
    }
    config_integer(config, "bits", 4, 4, 4);
  }

  std::optional<CodedTensor> read(const std::string& name, const Shape& shape, const Find& find,
                                  ByteBuffers& buffers) const override {
    const std::string module = module_of(name);
    if (find(module + ".qweight") == nullptr) return std::nullopt;
    IntegerMatrix m;
    m.shape = matrix_shape(shape);
    const int64_t inputs = m.shape.cols;
    const int64_t outputs = m.shape.rows;
    const SafetensorsTensor& weights =
        need_tensor(find, module + ".qweight", {"I32"}, {inputs, outputs / 8});
    const SafetensorsTensor& scales = grouped_scales(find, module, m);
    const int64_t groups = m.groups();
    const SafetensorsTensor& zeros =
        need_tensor(find, module + ".qzeros", {"I32"}, {groups, outputs / 8});
    if (outputs % 8 != 0) {
      fail(ErrorCode::kUnsupported, "tensor {}: {} outputs are no multiple of 8",
           quoted_name(module + ".qweight"), outputs);
    }
    m.symmetric = true;
    m.codes.resize(static_cast<size_t>(inputs * outputs));
    for (int64_t o = 0; o < outputs; ++o) {
      const auto nibble = [&](std::span<const std::byte> bytes, int64_t row) {
        const uint32_t word = load_word(bytes, (row * outputs + o) / 8);
        return static_cast<uint8_t>(word >> shift_of(o) & 15);
      };
      for (int64_t i = 0; i < inputs; ++i) {
        m.codes[static_cast<size_t>(o * inputs + i)] = nibble(weights.bytes, i);
      }
      for (int64_t g = 0; g < groups; ++g) {
        m.zeros.push_back(nibble(zeros.bytes, g));
        m.symmetric = m.symmetric && m.zeros.back() == 8;
        m.scales.push_back(scale_as_f16(scales, g * outputs + o, module + ".scales"));
      }
    }
    return coded_tensor(name, shape, m, buffers);
  }
};

class Awq final : public FolderFormat {
 public:
  const PartInfo& info() const override { return info_; }
  std::unique_ptr<FolderWriter> writer(
      const std::vector<const CodedTensor*>& matrices) const override {
    return std::make_unique<AwqWriter>(matrices);
  }
  std::unique_ptr<FolderReader> reader(const json& config) const override {
    return std::make_unique<AwqReader>(config);
  }

 private:
  PartInfo info_{.id = "awq",
                 .summary = "integers of 4 bits in groups of one size, as AutoAWQ and vLLM read",
                 .source = "AutoAWQ's version gemm; Lin et al. 2023 (AWQ), arXiv:2306.00978"};
};

const Registration<FolderFormat, Awq> kRegistration;

}  // namespace
}  // namespace bitsmith

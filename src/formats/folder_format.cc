#include "formats/folder_format.h"

#include <algorithm>

#include "core/error.h"
#include "formats/bit_words.h"
#include "formats/json_text.h"

namespace bitsmith {

using nlohmann::json;

std::string module_of(const std::string& weight_name) {
  constexpr std::string_view kEnd = ".weight";
  BITSMITH_ASSERT(weight_name.ends_with(kEnd));
  return weight_name.substr(0, weight_name.size() - kEnd.size());
}

std::string joined_module(const std::string& module) {
  constexpr std::pair<std::string_view, std::string_view> kJoined[] = {
      {"q_proj", "qkv_proj"},
      {"k_proj", "qkv_proj"},
      {"v_proj", "qkv_proj"},
      {"gate_proj", "gate_up_proj"},
      {"up_proj", "gate_up_proj"}};
  const size_t name = module.rfind('.') + 1;
  for (const auto& [layer, joined] : kJoined) {
    if (std::string_view(module).substr(name) == layer) {
      return module.substr(0, name) + std::string(joined);
    }
  }
  return "";
}

FolderTensor folder_tensor(std::string name, DType dtype, Shape shape,
                           std::span<const std::byte> bytes) {
  FolderTensor tensor{{std::move(name), dtype, std::move(shape)}, {bytes.begin(), bytes.end()}};
  BITSMITH_ASSERT(tensor.entry.size_bytes() == tensor.bytes.size());
  return tensor;
}

const SafetensorsTensor& need_tensor(const FolderReader::Find& find, const std::string& name,
                                     std::initializer_list<std::string_view> dtypes,
                                     const Shape& shape) {
  const SafetensorsTensor* tensor = find(name);
  if (tensor == nullptr) {
    fail(ErrorCode::kNotFound, "tensor {} of a quantized layer is not there", quoted_name(name));
  }
  if (std::ranges::find(dtypes, std::string_view(tensor->dtype)) == dtypes.end()) {
    fail(ErrorCode::kCorrupt, "tensor {} is of type {}, not {}", quoted_name(name), tensor->dtype,
         fmt::join(dtypes, " or "));
  }
  if (tensor->shape != shape) {
    fail(ErrorCode::kCorrupt, "tensor {} has shape {}, its layer asks for {}", quoted_name(name),
         to_string(tensor->shape), to_string(shape));
  }
  return *tensor;
}

const SafetensorsTensor& grouped_scales(const FolderReader::Find& find, const std::string& module,
                                        IntegerMatrix& m) {
  const std::string name = module + ".scales";
  const SafetensorsTensor* scales = find(name);
  const int64_t groups = scales != nullptr && !scales->shape.empty() ? scales->shape[0] : 0;
  const SafetensorsTensor& checked =
      need_tensor(find, name, {"F16", "BF16", "F32"}, {groups, m.shape.rows});
  if (groups < 1 || m.shape.cols % groups != 0) {
    fail(ErrorCode::kUnsupported, "tensor {}: {} groups of {} inputs", quoted_name(name), groups,
         m.shape.cols);
  }
  m.group = groups == 1 ? 0 : m.shape.cols / groups;
  return checked;
}

void read_group_of(const std::string& name, const FolderReader::Find& find, IntegerMatrix& m) {
  if (find(name) == nullptr) return;
  const SafetensorsTensor& tensor = need_tensor(find, name, {"I32"}, {m.shape.cols});
  std::vector<int32_t> group_of;
  for (int64_t i = 0; i < m.shape.cols; ++i) {
    group_of.push_back(static_cast<int32_t>(load_word(tensor.bytes, i)));
  }
  set_group_of(m, std::move(group_of), name);
}

uint16_t scale_as_f16(const SafetensorsTensor& tensor, int64_t i, const std::string& name) {
  DType dtype = DType::kF32;
  BITSMITH_ASSERT(parse_dtype(tensor.dtype, dtype));
  float scale = 0;
  convert_to_float(tensor.bytes.data() + i * size_bytes(dtype), dtype, {&scale, 1});
  const uint16_t bits = float_to_f16(scale);
  if (f16_to_float(bits) != scale) {
    fail(ErrorCode::kUnsupported,
         "tensor {}: the scale {} is no binary16 number, which the codec `int` has; open the "
         "original model instead",
         quoted_name(name), scale);
  }
  return bits;
}

int64_t config_integer(const json& config, const char* key, int64_t absent, int64_t least,
                       int64_t most) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return absent;
  if (!found->is_number_integer()) {
    fail(ErrorCode::kCorrupt, "quantization_config: '{}' should be an integer, got {}", key,
         quoted_name(found->dump()));
  }
  const bool fits =
      found->is_number_unsigned() ? found->get<uint64_t>() <= uint64_t{INT64_MAX} : true;
  const int64_t value = fits ? found->get<int64_t>() : INT64_MAX;
  if (value < least || value > most) {
    fail(ErrorCode::kUnsupported, "quantization_config: '{}' is {}; {} to {} can be read", key,
         found->dump(), least, most);
  }
  return value;
}

bool config_flag(const json& config, const char* key, bool absent) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return absent;
  if (!found->is_boolean()) {
    fail(ErrorCode::kCorrupt, "quantization_config: '{}' should be true or false, got {}", key,
         quoted_name(found->dump()));
  }
  return found->get<bool>();
}

}  // namespace bitsmith

#include "formats/compressed_tensors_floats.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/error.h"
#include "formats/bit_words.h"
#include "formats/json_text.h"
#include "tensor/dtype.h"
#include "tensor/minifloat.h"

namespace bitsmith {
namespace {

using nlohmann::json;

bool is_fp4(FloatKind kind) { return kind == FloatKind::kMxfp4 || kind == FloatKind::kNvfp4; }

// The E4M3 scale in units that are `power` times larger, both powers of two; nothing if there is
// none.
std::optional<uint8_t> in_larger_units(uint8_t scale, float power) {
  const float value = kUE4M3.decode(scale) / power;
  const uint8_t code = kUE4M3.encode(value);
  if (scale > kUE4M3.largest_code() || kUE4M3.decode(code) != value) return std::nullopt;
  return code;
}

std::optional<std::vector<uint8_t>> in_larger_units(const std::vector<uint8_t>& scales,
                                                    float power) {
  std::vector<uint8_t> changed;
  for (const uint8_t scale : scales) {
    const auto code = in_larger_units(scale, power);
    if (!code) return std::nullopt;
    changed.push_back(*code);
  }
  return changed;
}

bool is_power_of_two(float x) {
  int exponent = 0;
  return std::isfinite(x) && std::frexp(x, &exponent) == 0.5F;
}

}  // namespace

std::string_view float_folder_format(FloatKind kind) {
  switch (kind) {
    case FloatKind::kFp8:
      return "float-quantized";
    case FloatKind::kMxfp4:
      return "mxfp4-pack-quantized";
    case FloatKind::kMxfp8:
      return "mxfp8-quantized";
    default:
      return "nvfp4-pack-quantized";
  }
}

json float_weights_config(FloatKind kind) {
  const bool rows = kind == FloatKind::kFp8;
  const bool nv = kind == FloatKind::kNvfp4;
  json config = {{"num_bits", is_fp4(kind) ? 4 : 8},
                 {"type", "float"},
                 {"symmetric", true},
                 {"strategy", rows ? "channel"
                              : nv ? "tensor_group"
                                   : "group"},
                 {"group_size", rows ? json() : json(nv ? 16 : 32)},
                 {"dynamic", false},
                 {"actorder", json()},
                 {"block_structure", json()},
                 {"observer", "minmax"},
                 {"observer_kwargs", json::object()}};
  if (!rows) config["scale_dtype"] = nv ? "torch.float8_e4m3fn" : "torch.uint8";
  return config;
}

std::string float_refusal(const FloatMatrix& form) {
  if (form.kind == FloatKind::kFp8 && form.group != 0) {
    return fmt::format("float-quantized has a scale for each row, not for {} columns", form.group);
  }
  if (form.kind != FloatKind::kFp8 && form.shape.cols % form.group != 0) {
    return fmt::format("{} has whole groups: {} inputs are not in groups of {}",
                       float_folder_format(form.kind), form.shape.cols, form.group);
  }
  return "";
}

CommonScales::CommonScales(const std::vector<const CodedTensor*>& matrices) {
  std::map<std::string, std::vector<const CodedTensor*>> joined;
  for (const CodedTensor* tensor : matrices) {
    if (float_kind(*tensor) != FloatKind::kNvfp4) continue;
    const std::string name = joined_module(module_of(tensor->name));
    if (!name.empty()) joined[name].push_back(tensor);
  }
  for (const auto& [name, tensors] : joined) {
    std::vector<float> own;
    for (const CodedTensor* tensor : tensors) own.push_back(nvfp4_tensor_scale(*tensor));
    const float largest = std::ranges::max(own);
    bool fits = true;
    for (size_t i = 0; i < tensors.size() && fits; ++i) {
      if (own[i] == largest) continue;
      fits = is_power_of_two(largest / own[i]) &&
             in_larger_units(float_matrix(*tensors[i]).scales, largest / own[i]).has_value();
    }
    for (size_t i = 0; i < tensors.size() && fits; ++i) scales_[tensors[i]->name] = largest;
  }
}

float CommonScales::of(const CodedTensor& tensor) const {
  const auto found = scales_.find(tensor.name);
  return found != scales_.end() ? found->second : nvfp4_tensor_scale(tensor);
}

std::vector<FolderTensor> pack_floats(const CodedTensor& tensor, const CommonScales& scales) {
  FloatMatrix m = float_matrix(tensor);
  const auto [rows, cols] = std::pair(m.shape.rows, m.shape.cols);
  const std::string module = module_of(tensor.name);
  const auto part = [&](const char* name, DType dtype, Shape shape, const auto& numbers) {
    return folder_tensor(module + name, dtype, std::move(shape), std::as_bytes(std::span(numbers)));
  };
  if (m.kind == FloatKind::kFp8) {
    return {part(".weight", DType::kF8E4M3, {rows, cols}, m.codes),
            part(".weight_scale", DType::kF32, {rows, 1}, m.factors)};
  }
  if (m.kind == FloatKind::kMxfp8) {
    return {part(".weight", DType::kF8E4M3, {rows, cols}, m.codes),
            part(".weight_scale", DType::kU8, {rows, m.groups()}, m.scales)};
  }
  std::vector<uint8_t> pairs;
  for (size_t i = 0; i < m.codes.size(); i += 2) {
    pairs.push_back(static_cast<uint8_t>(m.codes[i] | m.codes[i + 1] << 4));
  }
  std::vector<FolderTensor> parts = {part(".weight_packed", DType::kU8, {rows, cols / 2}, pairs)};
  if (m.kind == FloatKind::kMxfp4) {
    parts.push_back(part(".weight_scale", DType::kU8, {rows, m.groups()}, m.scales));
    return parts;
  }
  const float unit = scales.of(tensor);
  if (unit != m.tensor_scale) m.scales = in_larger_units(m.scales, unit / m.tensor_scale).value();
  // A tensor of zeros has no unit.
  const std::vector<float> divisor = {unit != 0 ? 1 / unit : 1};
  if (unit == 0) std::ranges::fill(m.scales, uint8_t{0});
  parts.push_back(part(".weight_scale", DType::kF8E4M3, {rows, m.groups()}, m.scales));
  parts.push_back(part(".weight_global_scale", DType::kF32, {1}, divisor));
  return parts;
}

namespace {

std::vector<uint8_t> bytes_of(const SafetensorsTensor& tensor) {
  const auto* first = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  return {first, first + tensor.bytes.size()};
}

// Number i of F16, BF16 or F32.
float number_at(const SafetensorsTensor& tensor, int64_t i, const std::string& name) {
  DType dtype = DType::kF32;
  BITSMITH_ASSERT(parse_dtype(tensor.dtype, dtype));
  float number = 0;
  convert_to_float(tensor.bytes.data() + i * size_bytes(dtype), dtype, {&number, 1});
  if (!std::isfinite(number)) {
    fail(ErrorCode::kCorrupt, "tensor {} holds {}", quoted_name(name), number);
  }
  return number;
}

void read_fp8(const std::string& module, const BlockStructures& blocks,
              const FolderReader::Find& find, FloatMatrix& m) {
  const std::string name = module + ".weight_scale";
  const SafetensorsTensor* scales = find(name);
  const Shape stored = scales != nullptr ? scales->shape : Shape{};
  const auto [rows, cols] = std::pair(m.shape.rows, m.shape.cols);
  int64_t block_rows = rows;  // for one scale
  if (stored.empty() || stored == Shape{1}) {
    need_tensor(find, name, {"F16", "BF16", "F32"}, stored);
  } else {
    need_tensor(find, name, {"F16", "BF16", "F32"},
                {stored[0], stored.size() == 2 ? stored[1] : 1});
    block_rows = 1;
    if (stored != Shape{rows, 1}) {
      std::set<std::pair<int64_t, int64_t>> fitting;
      for (const auto& [r, c] : blocks) {
        if (stored == Shape{ceil_div(rows, r), ceil_div(cols, c)}) fitting.emplace(r, c);
      }
      if (fitting.size() != 1) {
        fail(ErrorCode::kCorrupt,
             "tensor {} has shape {}, its layer asks for {}, {} or blocks of {}", quoted_name(name),
             to_string(stored), to_string(Shape{rows, 1}), to_string(Shape{1}),
             blocks.empty() ? "a block_structure" : "one block_structure");
      }
      block_rows = fitting.begin()->first;
      m.group = fitting.begin()->second >= cols ? 0 : fitting.begin()->second;
    }
  }
  const int64_t groups = m.groups();
  for (int64_t i = 0; i < rows * groups; ++i) {
    const float factor = number_at(*scales, i / groups / block_rows * groups + i % groups, name);
    if (!(std::fabs(factor) <= 0x1p100F)) {
      fail(ErrorCode::kUnsupported, "tensor {} holds the scale {}", quoted_name(name), factor);
    }
    m.factors.push_back(factor);
  }
}

void check_codes(const std::string& name, const std::vector<uint8_t>& codes, int no_number,
                 int mask) {
  const bool bad = std::ranges::any_of(codes, [&](int c) { return (c & mask) == no_number; });
  if (bad)
    fail(ErrorCode::kCorrupt, "tensor {} holds codes that are no numbers", quoted_name(name));
}

}  // namespace

std::optional<FloatMatrix> read_floats(const std::string& module, const MatrixShape& shape,
                                       const BlockStructures& blocks,
                                       const FolderReader::Find& find) {
  FloatMatrix m;
  m.shape = shape;
  const auto [rows, cols] = std::pair(shape.rows, shape.cols);
  const std::string scale_name = module + ".weight_scale";
  const SafetensorsTensor* scale = find(scale_name);
  const std::string global_name = module + ".weight_global_scale";
  if (const SafetensorsTensor* packed = find(module + ".weight_packed");
      packed != nullptr && packed->dtype == "U8") {
    m.kind = find(global_name) != nullptr ? FloatKind::kNvfp4 : FloatKind::kMxfp4;
    need_tensor(find, module + ".weight_packed", {"U8"}, {rows, ceil_div(cols, 2)});
  } else if (const SafetensorsTensor* weight = find(module + ".weight");
             weight != nullptr && weight->dtype == "F8_E4M3") {
    m.kind = scale != nullptr && scale->dtype == "U8" ? FloatKind::kMxfp8 : FloatKind::kFp8;
    need_tensor(find, module + ".weight", {"F8_E4M3"}, {rows, cols});
    m.codes = bytes_of(*weight);
    check_codes(module + ".weight", m.codes, 0x7f, 0x7f);
  } else {
    return std::nullopt;
  }
  if (m.kind == FloatKind::kFp8) {
    read_fp8(module, blocks, find, m);
    return m;
  }
  m.group = m.kind == FloatKind::kNvfp4 ? 16 : 32;
  if (cols % m.group != 0) {
    fail(ErrorCode::kUnsupported, "tensor {}: {} inputs are not in groups of {}",
         quoted_name(scale_name), cols, m.group);
  }
  const bool nv = m.kind == FloatKind::kNvfp4;
  m.scales = bytes_of(need_tensor(find, scale_name, {nv ? "F8_E4M3" : "U8"}, {rows, m.groups()}));
  check_codes(scale_name, m.scales, nv ? 0x7f : 0xff, 0xff);
  if (is_fp4(m.kind)) {
    for (const std::byte pair : find(module + ".weight_packed")->bytes) {
      m.codes.push_back(std::to_integer<uint8_t>(pair & std::byte{15}));
      m.codes.push_back(std::to_integer<uint8_t>(pair >> 4));
    }
  }
  if (!nv) return m;
  check_codes(scale_name, m.scales, 0x80, 0x80);  // a sign
  const SafetensorsTensor* global = find(global_name);
  const Shape one = global->shape.empty() ? Shape{} : Shape{1};
  const float divisor = number_at(need_tensor(find, global_name, {"F32"}, one), 0, global_name);
  if (!(divisor >= 0x1p-100F && divisor <= 0x1p100F)) {
    fail(ErrorCode::kUnsupported, "tensor {} holds {}, which no scale of ours is the inverse of",
         quoted_name(global_name), divisor);
  }
  m.tensor_scale = 1 / divisor;
  return m;
}

}  // namespace bitsmith

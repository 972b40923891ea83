#include "codecs/grouped.h"

#include <algorithm>

namespace bitsmith {

GroupedLayout::GroupedLayout(const CodePlanes& planes, int64_t group, int64_t header_size,
                             std::vector<int> bytes_of_parameters)
    : codes(planes), header_bytes(header_size), parameter_bytes(std::move(bytes_of_parameters)) {
  group_cols = group <= 0 ? shape().cols : std::min(group, shape().cols);
  groups = group_cols > 0 ? ceil_div(shape().cols, group_cols) : 0;
  for (const int bytes : parameter_bytes) group_bytes += bytes;
  codes_offset = round_up_to_vector(header_bytes);
  parameters_offset = codes_offset + codes.code_bytes();
  total_bytes = parameters_offset +
                round_up_to_vector(codes.panels * groups * group_bytes * CodePlanes::kPanelRows);
}

int64_t GroupedLayout::parameter_offset(int64_t row, int64_t group, int index) const {
  const int64_t panel = row / CodePlanes::kPanelRows;
  int64_t offset = (panel * groups + group) * group_bytes;
  for (int i = 0; i < index; ++i) offset += parameter_bytes[static_cast<size_t>(i)];
  return parameters_offset + offset * CodePlanes::kPanelRows +
         row % CodePlanes::kPanelRows * parameter_bytes[static_cast<size_t>(index)];
}

uint32_t GroupedLayout::read_parameter(const uint8_t* in, int64_t row, int64_t group,
                                       int index) const {
  const uint8_t* at = in + parameter_offset(row, group, index);
  uint32_t value = 0;
  for (int i = 0; i < parameter_bytes[static_cast<size_t>(index)]; ++i) {
    value |= uint32_t{at[i]} << (8 * i);
  }
  return value;
}

template <class Code>
GroupedEncoderOf<Code>::GroupedEncoderOf(const GroupedLayout& layout) : layout_(layout) {
  const auto rows = static_cast<size_t>(layout.shape().rows);
  codes_.resize(static_cast<size_t>(layout.shape().cols) * rows);
  parameters_.resize(static_cast<size_t>(layout.parameter_count()) *
                     static_cast<size_t>(layout.groups) * rows);
  header_.resize(static_cast<size_t>(layout.header_bytes));
}

template <class Code>
void GroupedEncoderOf<Code>::finish(std::span<std::byte> bytes) const {
  BITSMITH_ASSERT(bytes.size() == static_cast<size_t>(layout_.total_bytes));
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  std::copy(header_.begin(), header_.end(), bytes.begin());
  auto* out = reinterpret_cast<uint8_t*>(bytes.data());
  layout_.codes.pack(codes_.data(), out + layout_.codes_offset);
  const uint32_t* value = parameters_.data();
  for (int index = 0; index < layout_.parameter_count(); ++index) {
    for (int64_t group = 0; group < layout_.groups; ++group) {
      for (int64_t row = 0; row < layout_.shape().rows; ++row, ++value) {
        uint8_t* at = out + layout_.parameter_offset(row, group, index);
        for (int i = 0; i < layout_.parameter_bytes[static_cast<size_t>(index)]; ++i) {
          at[i] = static_cast<uint8_t>(*value >> (8 * i));
        }
      }
    }
  }
}

template class GroupedEncoderOf<uint16_t>;
template class GroupedEncoderOf<uint64_t>;

const float* usable_importance(const float* importance, int64_t cols) {
  if (importance == nullptr) return nullptr;
  const bool any = std::any_of(importance, importance + cols, [](float x) { return x > 0.0F; });
  return any ? importance : nullptr;
}

std::string group_label(int64_t group) {
  return group == 0 ? std::string("row") : fmt::format("g{}", group);
}

OptionSpec group_option(int64_t default_group) {
  return {"group", default_group, "columns that share a scale; 0: the whole row", 0, 1 << 20};
}

}  // namespace bitsmith

#include "images/labels.h"

#include <charconv>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "core/output_file.h"
#include "core/gzip.h"
#include "images/idx.h"
#include "images/npy.h"

namespace bitsmith {
namespace {

constexpr int64_t kLargestLabel = 1'000'000;
constexpr uint64_t kLargestFile = uint64_t{1} << 28;

Labels from_npy(std::span<const std::byte> bytes, const std::string& file) {
  const NpyArray array = read_npy(bytes, file);
  if (array.shape.size() != 1 || array.type[1] == 'f') {
    fail(ErrorCode::kCorrupt, "'{}' is the array {} of '{}'; labels are integers [n]", file,
         to_string(array.shape), array.type);
  }
  Labels result;
  const size_t size = static_cast<size_t>(array.type[2] - '0');
  for (size_t i = 0; i < static_cast<size_t>(array.shape[0]); ++i) {
    uint64_t value = 0;
    std::memcpy(&value, array.elements.data() + i * size, size);
    // Negative numbers are beyond the bound too.
    if (value > static_cast<uint64_t>(kLargestLabel)) {
      fail(ErrorCode::kCorrupt, "'{}': element {} is no label of 0 to {}", file, i, kLargestLabel);
    }
    result.labels.push_back(static_cast<int64_t>(value));
  }
  return result;
}

// The fields of a line: separated by commas if it has one, else by white space.
std::vector<std::string_view> fields_of(std::string_view line) {
  const std::string_view space = " \t\r";
  const std::string_view separators = line.find(',') != std::string_view::npos ? "," : space;
  std::vector<std::string_view> fields;
  while (true) {
    const size_t begin = line.find_first_not_of(space);
    if (begin == std::string_view::npos) return fields;
    line.remove_prefix(begin);
    const size_t end = std::min(line.find_first_of(separators), line.size());
    std::string_view field = line.substr(0, end);
    field = field.substr(0, field.find_last_not_of(space) + 1);
    fields.push_back(field);
    line.remove_prefix(std::min(end + 1, line.size()));
  }
}

Labels from_text(std::string_view text, const std::string& file) {
  Labels result;
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const auto fields = fields_of(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (fields.empty()) continue;
    int64_t label = -1;
    const std::string_view last = fields.back();
    const auto [stop, error] = std::from_chars(last.data(), last.data() + last.size(), label);
    if (error != std::errc() || stop != last.data() + last.size() || label < 0 ||
        label > kLargestLabel) {
      fail(ErrorCode::kCorrupt, "'{}', line {}: the last field must be a label from 0 to {}", file,
           number, kLargestLabel);
    }
    result.labels.push_back(label);
    if (fields.size() > 1) result.names.emplace_back(fields.front());
    if (!result.names.empty() && result.names.size() != result.labels.size()) {
      fail(ErrorCode::kCorrupt, "'{}', line {}: some lines name an image and some do not", file,
           number);
    }
  }
  return result;
}

}  // namespace

Labels read_labels(const std::filesystem::path& path) {
  const FileContent content = open_content(path, kLargestFile);
  const std::string file = path.string();
  if (is_npy(content.bytes)) return from_npy(content.bytes, file);
  if (is_idx(content.bytes)) {
    const IdxArray array = read_idx(content.bytes, file);
    if (array.shape.size() != 1) {
      fail(ErrorCode::kCorrupt, "'{}' is the array {}; labels are [n]", file,
           to_string(array.shape));
    }
    Labels result;
    for (const std::byte b : array.elements) result.labels.push_back(std::to_integer<int64_t>(b));
    return result;
  }
  if (content.bytes.size() > kLargestFile) {
    fail(ErrorCode::kCorrupt, "'{}' has {} bytes: too large for labels", file,
         content.bytes.size());
  }
  return from_text({reinterpret_cast<const char*>(content.bytes.data()), content.bytes.size()},
                   file);
}

}  // namespace bitsmith

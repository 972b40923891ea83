// The decoders of tokenizer.json.
#include "text/decoder.h"

#include "text/byte_level.h"
#include "text/json_fields.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/unicode.h"

namespace bitsmith::text {
namespace {

constexpr std::string_view kWhere = "tokenizer.json: decoder";
constexpr int kMaxDepth = 16;

}  // namespace

Decoder::Decoder(const Json& json) {
  if (json.is_null()) {
    separator_.assign(1, ' ');
  } else {
    add_step(json, false, 0);
  }
}

void Decoder::add_step(const Json& json, bool in_sequence, int depth) {
  const std::string& type = string_field(json, "type", kWhere);
  const bool at_end = byte_fallback_ || fused_ || !strip_.empty();
  if (type == "Sequence" && depth < kMaxDepth) {
    for (const Json& step : array_field(json, "decoders", kWhere)) add_step(step, true, depth + 1);
    return;
  }
  if (type == "ByteLevel" && !at_end && replacements_.empty() && metaspace_.empty()) {
    byte_level_ = true;
    return;
  }
  if (type == "Metaspace" && !at_end && !byte_level_ && metaspace_.empty()) {
    metaspace_ = string_field(json, "replacement", kWhere);
    const Json& scheme = field_or_null(json, "prepend_scheme", kWhere);
    metaspace_drops_leading_ =
        scheme.is_null() ? bool_field(json, "add_prefix_space", kWhere, true) : scheme != "never";
    return;
  }
  if (type == "Replace" && !at_end && !byte_level_ && metaspace_.empty()) {
    const Json& pattern = field_or_null(json, "pattern", kWhere);
    if (!pattern.is_object()) wrong_type(pattern, "pattern", kWhere, "an object");
    if (!pattern.contains("Regex")) {
      replacements_.emplace_back(string_field(pattern, "String", kWhere),
                                 string_field(json, "content", kWhere));
      growth_ *= replacement_growth(replacements_.back().first, replacements_.back().second);
      if (growth_ > kMaxGrowth) {
        fail(ErrorCode::kUnsupported, "{}: could make a piece {:.3g} times longer, the limit is {}",
             kWhere, growth_, kMaxGrowth);
      }
      return;
    }
  }
  if (type == "ByteFallback" && in_sequence && !at_end && !byte_level_) {
    byte_fallback_ = true;
    return;
  }
  if (type == "Fuse" && strip_.empty()) {
    fused_ = true;
    return;
  }
  if (type == "Strip" && fused_ && strip_.empty()) {
    const std::string& content = string_field(json, "content", kWhere);
    const int64_t start =
        checked_integer(field_or_null(json, "start", kWhere), 0, INT32_MAX, "start", kWhere);
    const int64_t stop =
        checked_integer(field_or_null(json, "stop", kWhere), 0, INT32_MAX, "stop", kWhere);
    if (start <= 1 && stop == 0 && content.size() == 1) {
      if (start == 1) strip_ = content;
      return;
    }
  }
  fail(ErrorCode::kUnsupported,
       "{}: {} is not supported at this place; ByteLevel, Metaspace, and a Sequence of Replace "
       "(of strings), ByteFallback, Fuse, Strip (of one leading character) are",
       kWhere, shown_text(type));
}

std::string Decoder::bytes_of(std::string_view piece, bool first) const {
  if (byte_level_) {
    // An added token is written as it is, unless it looks like visible bytes (the library's rule).
    std::optional<std::string> bytes = visible_to_bytes(piece);
    return bytes ? std::move(*bytes) : std::string(piece);
  }
  std::string bytes(piece);
  if (!metaspace_.empty()) {
    replace_all(bytes, metaspace_, first && metaspace_drops_leading_ ? "" : " ");
  }
  for (const auto& [from, to] : replacements_) replace_all(bytes, from, to);
  if (byte_fallback_) {
    if (const auto byte = byte_of_piece(bytes)) bytes.assign(1, static_cast<char>(*byte));
  }
  if (first && !strip_.empty() && bytes.starts_with(strip_)) bytes.erase(0, strip_.size());
  return bytes;
}

}  // namespace bitsmith::text

#include "codecs/codec.h"

#include <cstring>

namespace bitsmith {

MatrixShape matrix_shape(const Shape& shape) {
  if (shape.empty()) return {1, 1};
  if (shape.size() == 1) return {1, shape[0]};
  const auto cols = element_count(std::span(shape).subspan(1));
  BITSMITH_ASSERT(cols.has_value() && shape[0] >= 0);
  return {shape[0], *cols};
}

std::vector<SymbolStream> Codec::symbol_streams(const MatrixShape& shape,
                                                const Options& options) const {
  return {{8, static_cast<int64_t>(encoded_bytes(shape, options))}};
}

void Codec::split_symbols(const MatrixShape&, const Options&, std::span<const std::byte> bytes,
                          size_t /*the only stream*/, int64_t begin,
                          std::span<uint8_t> symbols) const {
  if (!symbols.empty()) std::memcpy(symbols.data(), bytes.data() + begin, symbols.size());
}

void Codec::join_symbols(const MatrixShape&, const Options&, size_t /*the only stream*/,
                         int64_t begin, std::span<const uint8_t> symbols,
                         std::span<std::byte> bytes) const {
  if (!symbols.empty()) std::memcpy(bytes.data() + begin, symbols.data(), symbols.size());
}

Scheme::Scheme(std::string_view codec_id, const nlohmann::json& values)
    : codec(&Registry<Codec>::instance().get(codec_id)),
      options(codec->info().options, values, fmt::format("codec '{}'", codec_id)) {}

nlohmann::json Scheme::to_json() const {
  return {{"codec", codec->info().id}, {"options", options.to_json()}};
}

Scheme Scheme::from_json(const nlohmann::json& json) {
  if (!json.is_object() || !json.contains("codec") || !json["codec"].is_string()) {
    fail(ErrorCode::kCorrupt, "a scheme must be {{\"codec\": name, \"options\": {{...}}}}, got {}",
         json.dump());
  }
  return Scheme(json["codec"].get<std::string>(), json.value("options", nlohmann::json::object()));
}

std::vector<float> CodedTensor::decode_all() const {
  const MatrixShape m = matrix();
  std::vector<float> values(static_cast<size_t>(m.rows * m.cols));
  decode(0, m.rows, values.data());
  return values;
}

}  // namespace bitsmith

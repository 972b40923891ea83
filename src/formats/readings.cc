#include "formats/readings.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "codecs/nested.h"
#include "core/error.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

double bits_per_weight_of(const Scheme& scheme, const MatrixShape& shape) {
  return 8.0 * static_cast<double>(scheme.codec->encoded_bytes(shape, scheme.options)) /
         static_cast<double>(shape.rows * shape.cols);
}

void read_as(Model& model, CodedTensor& tensor, const NestedCodec& codec, const Scheme& reading) {
  const MatrixShape shape = tensor.matrix();
  std::vector<std::byte> bytes(reading.codec->encoded_bytes(shape, reading.options));
  codec.read_as(shape, tensor.scheme.options, tensor.bytes, reading, bytes);
  model.buffers.push_back(std::make_shared<const std::vector<std::byte>>(std::move(bytes)));
  tensor.scheme = reading;
  tensor.bytes = *model.buffers.back();
  tensor.entropy_coder.clear();
  tensor.coded_bytes = {};
}

}  // namespace

void read_at_fewer_bits(Model& model, double bits) {
  bool any = false;
  for (auto& [name, tensor] : model.parameters) {
    const auto* codec = dynamic_cast<const NestedCodec*>(tensor.scheme.codec);
    const MatrixShape shape = tensor.matrix();
    if (codec == nullptr || shape.rows * shape.cols == 0) continue;
    const std::vector<Scheme> readings = codec->readings(tensor.scheme.options);
    if (readings.empty()) continue;
    any = true;
    if (bits_per_weight_of(tensor.scheme, shape) <= bits) continue;
    const auto reading = std::ranges::find_if(
        readings, [&](const Scheme& scheme) { return bits_per_weight_of(scheme, shape) <= bits; });
    if (reading == readings.end()) {
      fail(ErrorCode::kInvalidArgument,
           "'{}': tensor {} ({}) takes at least {:.4g} bits per weight, scales included, when read "
           "as {}; {:.4g} were asked for",
           model.path.string(), quoted_name(name), tensor.scheme.label(),
           bits_per_weight_of(readings.back(), shape), readings.back().label(), bits);
    }
    read_as(model, tensor, *codec, *reading);
  }
  if (!any) {
    std::vector<std::string> nested;
    for (const Codec* codec : Registry<Codec>::instance().all()) {
      if (dynamic_cast<const NestedCodec*>(codec) != nullptr) nested.push_back(codec->info().id);
    }
    fail(ErrorCode::kUnsupported,
         "'{}' has no codes that can be read at fewer bits; codes of these codecs can: {}",
         model.path.string(), fmt::join(nested, ", "));
  }
  settle_buffers(model);
  if (model.metadata.is_object()) {
    model.metadata.erase("quality");
    model.metadata.erase("quality_against_tuned");
  }
}

}  // namespace bitsmith

// A safetensors file as one quantized layer "a" of a Hugging Face folder. Its metadata say the
// rest: "quantization_config", and "shape" (two extents as JSON).
#include "formats/folder_format.h"

#include "formats/float_matrix.h"
#include "formats/json_text.h"
#include "formats/tensor_error.h"
#include "fuzz_target.h"
#include "safetensors_mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bitsmith;
  allow_errors([&] {
    const auto bytes = bytes_of(data, size);
    const Safetensors file = read_safetensors(bytes, "input");
    const auto text = [&](const char* key) {
      const auto found = file.metadata.find(key);
      return found == file.metadata.end() ? std::string() : found->second;
    };
    const auto config = parse_json_object_text(text("quantization_config"), "config", 1 << 16);
    const auto extents = nlohmann::json::parse(text("shape"), nullptr, false);
    if (!extents.is_array() || extents.size() != 2) return;
    Shape shape;
    for (const auto& extent : extents) {
      // A graph's extents are at least 1, and bounded.
      if (!extent.is_number_unsigned() || extent < 1 || extent > (1 << 20)) return;
      shape.push_back(extent.get<int64_t>());
    }
    const auto method = config.value("quant_method", nlohmann::json());
    const FolderFormat* format =
        method.is_string() ? Registry<FolderFormat>::instance().find(method.get<std::string>())
                           : nullptr;
    if (format == nullptr) return;
    const FolderReader::Find find = [&](const std::string& name) -> const SafetensorsTensor* {
      const auto found = file.tensors.find(name);
      return found == file.tensors.end() ? nullptr : &found->second;
    };
    ByteBuffers buffers;
    const auto tensor = format->reader(config)->read("a.weight", shape, find, buffers);
    if (!tensor) return;
    FUZZ_EXPECT(tensor->shape == shape);
    const auto writer = format->writer({&*tensor});
    if (!writer->refusal(*tensor).empty()) return;
    // What was read can be written and read again.
    const auto parts = writer->pack(*tensor);
    std::map<std::string, SafetensorsTensor> again;
    for (const FolderTensor& part : parts) {
      again[part.entry.name] = {std::string(to_string(part.entry.dtype)), part.entry.shape,
                                part.bytes};
    }
    const FolderReader::Find written = [&](const std::string& name) -> const SafetensorsTensor* {
      const auto found = again.find(name);
      return found == again.end() ? nullptr : &found->second;
    };
    const auto copy =
        format->reader(writer->config({&*tensor}, {}))->read("a.weight", shape, written, buffers);
    FUZZ_EXPECT(copy.has_value());
    if (!is_integer_matrix(*tensor)) {
      FUZZ_EXPECT(float_matrix(*copy).codes == float_matrix(*tensor).codes);
      FUZZ_EXPECT(relative_error(*tensor, *copy) < 0x1p-22);
      return;
    }
    const IntegerMatrix matrix = integer_matrix(*tensor);
    FUZZ_EXPECT(integer_matrix(*copy).codes == matrix.codes);
    FUZZ_EXPECT(integer_matrix(*copy).scales == matrix.scales);
    FUZZ_EXPECT(integer_matrix(*copy).zeros == matrix.zeros);
  });
  return 0;
}

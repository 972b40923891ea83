// How quantized matrices lie in Hugging Face folders: one file for each "quant_method".
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/registry.h"
#include "formats/integer_matrix.h"
#include "formats/safetensors.h"

namespace bitsmith {

// A tensor to be written.
struct FolderTensor {
  SafetensorsWriter::Entry entry;
  std::vector<std::byte> bytes;
};

// Writes matrices [outputs, inputs] of linear layers, named "model.layers.0.mlp.up_proj.weight".
class FolderWriter {
 public:
  virtual ~FolderWriter() = default;
  // Why the format cannot hold a matrix as it is coded; empty if it can.
  virtual std::string refusal(const CodedTensor& tensor) const = 0;
  // What stands for one that it can hold.
  virtual std::vector<FolderTensor> pack(const CodedTensor& tensor) const = 0;
  // "quantization_config" of config.json.
  //   packed: those, in order;  plain: names of layers ("lm_head") that are not among them
  virtual nlohmann::json config(const std::vector<const CodedTensor*>& packed,
                                const std::vector<std::string>& plain) const = 0;
  // What matrices must have in common whose layers engines join (joined_module()).
  virtual std::string joined_form(const CodedTensor& tensor) const { return tensor.scheme.label(); }
  // What engines should compute in: "torch_dtype".
  virtual std::string dtype(const std::vector<const CodedTensor*>& /*packed*/) const {
    return "float16";  // as scales are
  }
};

// Reads what one "quantization_config" describes.
class FolderReader {
 public:
  virtual ~FolderReader() = default;
  // A tensor of the folder by name; nullptr if there is none.
  using Find = std::function<const SafetensorsTensor*(const std::string& name)>;
  // The matrix `name` [outputs, inputs]; nothing if the folder holds it as numbers. Bytes that had
  // to be put in another order are added to `buffers`. Throws kCorrupt for parts that do not fit
  // each other and kUnsupported for what no codec of ours holds.
  virtual std::optional<CodedTensor> read(const std::string& name, const Shape& shape,
                                          const Find& find, ByteBuffers& buffers) const = 0;
  // To how many bits the inputs of quantized layers are rounded per token, symmetrically; 0: not at
  // all.
  virtual int64_t token_bits() const { return 0; }
  // What the configuration asks for and is not done.
  virtual std::vector<std::string> notes() const { return {}; }
};

class FolderFormat {
 public:
  static const char* kind() { return "folder format"; }
  virtual ~FolderFormat() = default;
  virtual const PartInfo& info() const = 0;  // id: the "quant_method"
  // `matrices`: all that may be written, for what must be the same of all.
  virtual std::unique_ptr<FolderWriter> writer(
      const std::vector<const CodedTensor*>& matrices) const = 0;
  // The same where what the layers read is rounded to so many bits per token; nullptr if the format
  // cannot say that.
  virtual std::unique_ptr<FolderWriter> rounded_writer(int64_t /*bits*/) const { return nullptr; }
  // Throws kUnsupported for a configuration that it cannot read.
  virtual std::unique_ptr<FolderReader> reader(const nlohmann::json& quantization_config) const = 0;
};

// What formats share.

// "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight".
std::string module_of(const std::string& weight_name);

// The layer that vLLM joins a layer into, which must be coded like its siblings:
// "model.layers.0.mlp.gate_up_proj". Empty for others.
std::string joined_module(const std::string& module);

// A tensor of words (of binary16), in the order of `words`.
FolderTensor folder_tensor(std::string name, DType dtype, Shape shape,
                           std::span<const std::byte> bytes);

// The tensor `name`, of one of the types; kNotFound if the folder lacks it, kCorrupt if its type or
// shape is another.
const SafetensorsTensor& need_tensor(const FolderReader::Find& find, const std::string& name,
                                     std::initializer_list<std::string_view> dtypes,
                                     const Shape& shape);

// MODULE.scales [groups, outputs] of GPTQ and AWQ, which sets m.group: whole groups of the inputs.
const SafetensorsTensor& grouped_scales(const FolderReader::Find& find, const std::string& module,
                                        IntegerMatrix& m);

// The groups of inputs that the tensor `name`, if there is one, tells: m.group_of.
void read_group_of(const std::string& name, const FolderReader::Find& find, IntegerMatrix& m);

// Element i of a tensor of F16, BF16 or F32, as binary16; kUnsupported if that changes it.
uint16_t scale_as_f16(const SafetensorsTensor& tensor, int64_t i, const std::string& name);

// Fields of a configuration; kCorrupt if they are of another type, kUnsupported if out of range.
int64_t config_integer(const nlohmann::json& config, const char* key, int64_t absent, int64_t least,
                       int64_t most);
bool config_flag(const nlohmann::json& config, const char* key, bool absent);

}  // namespace bitsmith

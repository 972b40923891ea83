// The floating-point formats of compressed-tensors: FP8 with scales of rows, MX and NVFP4.
#pragma once

#include <map>
#include <set>

#include "formats/float_matrix.h"
#include "formats/folder_format.h"

namespace bitsmith {

// What "format" is called, and "weights" of a group of "config_groups".
std::string_view float_folder_format(FloatKind kind);
nlohmann::json float_weights_config(FloatKind kind);

// Why a matrix of such a form cannot be written; empty if it can.
std::string float_refusal(const FloatMatrix& form);

// Float32 scales of NVFP4 tensors as they are written: engines join layers (joined_module()) and
// take one scale for all of them, so these get a common one where their E4M3 scales can be told in
// units of it, exactly.
class CommonScales {
 public:
  explicit CommonScales(const std::vector<const CodedTensor*>& matrices);
  // Of a matrix of kNvfp4.
  float of(const CodedTensor& tensor) const;

 private:
  std::map<std::string, float> scales_;  // by tensor, where it is not the tensor's own
};

std::vector<FolderTensor> pack_floats(const CodedTensor& tensor, const CommonScales& scales);

// Extents of blocks that share a scale, "block_structure": [rows, columns].
using BlockStructures = std::set<std::pair<int64_t, int64_t>>;

// The matrix, if MODULE.weight is of FP8, or MODULE.weight_packed of bytes; nothing if not. Scales
// NVFP4 by 1 / weight_global_scale, where the format divides by it: the same unless that is rounded
// (the last bit of float32 may differ).
std::optional<FloatMatrix> read_floats(const std::string& module, const MatrixShape& shape,
                                       const BlockStructures& blocks,
                                       const FolderReader::Find& find);

}  // namespace bitsmith

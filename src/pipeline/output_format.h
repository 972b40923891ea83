// The kinds of files that compress writes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/registry.h"
#include "formats/checkpoint.h"
#include "pipeline/tasks.h"

namespace bitsmith {

// What a kind of file can hold, how large it is, and how it is written.
class OutputFormat {
 public:
  static const char* kind() { return "output format"; }
  virtual ~OutputFormat() = default;
  virtual const PartInfo& info() const = 0;
  // For those who name none.
  virtual const char* usual_recipe() const = 0;

  // Throws, before any work, if such a file cannot hold what the recipe makes of the model.
  virtual void check(const Model& model, const Recipe& recipe) const = 0;
  // The scheme of every task under a type or a mixture of types that the format has a name for
  // ("Q4_K_M"). Throws kInvalidArgument for other names.
  virtual std::vector<Scheme> named_schemes(const std::string& type, const Model& model,
                                            const std::vector<MatrixTask>& tasks) const = 0;

  // How a tensor lies in the file if it is not coded anew.
  virtual Scheme kept(const CodedTensor& tensor) const = 0;
  // What a matrix gets for which `wanted` was asked; nothing: it is kept.
  virtual std::optional<Scheme> fitting(const Scheme& wanted, const MatrixShape& shape) const = 0;
  // What a tensor takes in the file, padding included.
  virtual uint64_t stored_bytes(const MatrixShape& shape, const Scheme& scheme) const = 0;
  // What the file holds beside tensors: exact, or an upper estimate.
  virtual uint64_t overhead_bytes(const Model& model, const Recipe& recipe) const = 0;

  // Writes the file. Of `contents` it leaves out what the format has no place for.
  //   name: what the model is called
  virtual void write(const std::filesystem::path& path, const CheckpointContents& contents,
                     const std::string& name) const = 0;
  virtual Model open(const std::filesystem::path& path) const = 0;
  // Throws kCorrupt, naming the first, if the bytes of a tensor are not what was written.
  virtual void verify(const Model& written, const CheckpointContents& contents,
                      Progress& progress) const = 0;
};

}  // namespace bitsmith

#include "formats/convert.h"

#include <unistd.h>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/output_file.h"
#include "formats/checkpoint.h"
#include "formats/folder_format.h"
#include "formats/gguf_export.h"
#include "formats/huggingface_export.h"
#include "formats/json_text.h"
#include "formats/tensor_error.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;

std::string format_of(const ConvertRequest& request) {
  if (!request.format.empty()) return request.format;
  const std::string ending = request.output.extension().string();
  if (ending == ".gguf") return "gguf";
  if (ending == ".bitsmith") return "bitsmith";
  if (ending.empty()) return kPlainFolder;
  fail(ErrorCode::kInvalidArgument,
       "'{}': the ending '{}' names no format: .gguf, .bitsmith, or none for a folder; or --format",
       request.output.string(), ending);
}

// What GGUF has no type for, as binary16: nothing is ever fitted. (Exact files have float32 there,
// which export_gguf() writes by itself.)
std::vector<std::byte> as_f16(const CodedTensor& tensor, const Scheme& scheme) {
  BITSMITH_ASSERT(scheme.codec->info().id == "f16");
  std::vector<uint16_t> halves;
  for (const float x : tensor.decode_all()) halves.push_back(float_to_f16(x));
  const auto bytes = std::as_bytes(std::span(halves));
  return {bytes.begin(), bytes.end()};
}

void write_bitsmith(const fs::path& path, const Model& model, const ConvertRequest& request) {
  CheckpointContents contents;
  contents.graph = model.graph;
  contents.config = model.config;
  contents.parameters = model.parameters;
  contents.tokenizer_files = model.tokenizer_files;
  if (model.metadata.is_object()) contents.metadata = model.metadata;
  contents.after_read = request.after_write;
  write_checkpoint(path, contents);
}

void write_gguf(const fs::path& path, const Model& model, const ConvertRequest& request) {
  GgufExport options;
  options.name = request.output.stem().string();
  options.exact = !request.lossy;
  options.encode = as_f16;
  options.after_write = request.after_write;
  export_gguf(path, model, options);
}

// export_folder() has a temporary name and compares by itself.
void convert_to_folder(const Model& model, const ConvertRequest& request, ConvertReport& report) {
  FolderExport options;
  options.format = report.format;
  options.dense = request.lossy ? "f16" : "f32";
  options.exact = !request.lossy;
  options.after_write = request.after_write;
  FolderReport folder = export_folder(request.output, model, options);
  report.rows = std::move(folder.tensors);
  report.bytes = folder.bytes;
  report.weights = folder.weights;
}

}  // namespace

ConvertReport convert_model(const Model& model, const ConvertRequest& request) {
  ConvertReport report;
  report.format = format_of(request);
  const bool to_file = report.format == "gguf" || report.format == "bitsmith";
  if (to_file) check_writable(request.output);
  if (!model.unused_tensors.empty() && !request.lossy) {
    fail(ErrorCode::kUnsupported,
         "'{}' has {} tensors that its network does not use, such as {}; --lossy leaves them out",
         model.path.string(), model.unused_tensors.size(),
         quoted_name(model.unused_tensors.front()));
  }
  if (!to_file) {
    convert_to_folder(model, request, report);
    return report;
  }
  const fs::path temporary = request.output.string() + fmt::format(".converting{}", ::getpid());
  struct Remove {
    const fs::path& path;
    ~Remove() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
  } const remove{temporary};

  if (report.format == "bitsmith") {
    write_bitsmith(temporary, model, request);
  } else {
    write_gguf(temporary, model, request);
  }

  const Model written = open_model(temporary);
  for (const auto& [name, tensor] : model.parameters) {
    const CodedTensor& other = written.parameter(name);
    const double error = relative_error(tensor, other);
    if (error != 0 && !request.lossy) {
      fail(ErrorCode::kUnsupported,
           "tensor {} ({}) would change by {:.2e} of its size; --lossy allows that",
           quoted_name(name), tensor.scheme.label(), error);
    }
    report.rows.push_back({name, tensor.scheme.label(), other.scheme.label(), error});
    release_pages(other.bytes);
    if (request.after_compare) request.after_compare(tensor);
  }
  report.bytes = written.parameter_bytes();
  report.weights = written.parameter_count();
  move_file(temporary, request.output);
  return report;
}

}  // namespace bitsmith

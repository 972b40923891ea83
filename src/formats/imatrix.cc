#include "formats/imatrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/output_file.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "formats/json_text.h"

namespace bitsmith {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

void check_numbers(const std::vector<float>& numbers, std::string_view name,
                   std::string_view file) {
  const bool good =
      std::ranges::all_of(numbers, [](float x) { return std::isfinite(x) && x >= 0.0F; });
  if (good) return;
  fail(ErrorCode::kCorrupt, "'{}': {} holds a number that is negative or not finite", file,
       quoted_name(name));
}

std::vector<float> floats_of(const Gguf& gguf, std::string_view name, const GgufTensor& tensor) {
  if (tensor.type->name != "F32" || tensor.shape.size() > 2) {
    fail(ErrorCode::kCorrupt, "'{}': tensor {} should be a matrix of F32", gguf.file,
         quoted_name(name));
  }
  std::vector<float> numbers(tensor.bytes.size() / sizeof(float));
  if (!numbers.empty()) std::memcpy(numbers.data(), tensor.bytes.data(), tensor.bytes.size());
  check_numbers(numbers, name, gguf.file);
  return numbers;
}

ImportanceMatrix read_new(std::span<const std::byte> bytes, std::string_view file) {
  const Gguf gguf = read_gguf(bytes, file);
  if (gguf.text("general.type") != "imatrix") {
    fail(ErrorCode::kCorrupt, "'{}' is a GGUF file, but no importance matrix", file);
  }
  ImportanceMatrix result;
  if (const GgufArray* datasets = gguf.array("imatrix.datasets")) {
    result.datasets.assign(datasets->strings.begin(), datasets->strings.end());
  }
  result.chunk_count = gguf.integer("imatrix.chunk_count").value_or(0);
  result.chunk_size = gguf.integer("imatrix.chunk_size").value_or(0);
  for (const auto& [name, tensor] : gguf.tensors) {
    if (!name.ends_with(kSums)) continue;
    const std::string stem = name.substr(0, name.size() - kSums.size());
    const auto counts = gguf.tensors.find(stem + std::string(kCounts));
    if (counts == gguf.tensors.end()) {
      fail(ErrorCode::kCorrupt, "'{}': {} has no counts", file, quoted_name(stem));
    }
    ImportanceMatrix::Entry entry;
    entry.matrices = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
    entry.sums = floats_of(gguf, name, tensor);
    entry.counts = floats_of(gguf, counts->first, counts->second);
    if (entry.matrices < 1 || entry.counts.size() != static_cast<size_t>(entry.matrices)) {
      fail(ErrorCode::kCorrupt, "'{}': {} has {} matrices and {} counts", file, quoted_name(stem),
           entry.matrices, entry.counts.size());
    }
    result.entries.emplace(stem, std::move(entry));
  }
  return result;
}

// Reads the older format from front to back.
class OldReader {
 public:
  OldReader(std::span<const std::byte> bytes, std::string_view file) : rest_(bytes), file_(file) {}

  ImportanceMatrix read() {
    ImportanceMatrix result;
    const int64_t entries = number("the number of entries");
    // The shortest entry: an empty name, two numbers.
    if (entries > static_cast<int64_t>(rest_.size() / 12)) {
      fail(ErrorCode::kCorrupt, "'{}' is no importance matrix: it would have {} entries", file_,
           entries);
    }
    for (int64_t i = 0; i < entries; ++i) read_entry(result);
    if (rest_.empty()) return result;
    result.chunk_count = number("the number of chunks");
    if (rest_.empty()) return result;
    const auto dataset = take(static_cast<uint64_t>(number("the dataset")), "the dataset");
    result.datasets.emplace_back(reinterpret_cast<const char*>(dataset.data()), dataset.size());
    return result;
  }

 private:
  void read_entry(ImportanceMatrix& result) {
    const auto name = take(static_cast<uint64_t>(number("a name")), "a name");
    const int64_t calls = number("the number of calls");
    const int64_t inputs = number("the number of inputs");
    const auto sums = take(static_cast<uint64_t>(inputs) * sizeof(float), "an entry");
    ImportanceMatrix::Entry entry;
    entry.counts = {static_cast<float>(calls)};
    entry.sums.resize(static_cast<size_t>(inputs));
    if (inputs > 0) std::memcpy(entry.sums.data(), sums.data(), sums.size());
    const std::string text(reinterpret_cast<const char*>(name.data()), name.size());
    check_numbers(entry.sums, text, file_);
    if (!result.entries.emplace(text, std::move(entry)).second) {
      fail(ErrorCode::kCorrupt, "'{}' has the entry {} twice", file_, quoted_name(text));
    }
  }

  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > rest_.size()) {
      fail(ErrorCode::kCorrupt, "'{}': {} needs {} bytes, the file ends after {} of them", file_,
           what, size, rest_.size());
    }
    const auto part = rest_.first(size);
    rest_ = rest_.subspan(size);
    return part;
  }

  // An i32 that is not negative.
  int64_t number(std::string_view what) {
    int32_t value;
    std::memcpy(&value, take(sizeof(value), what).data(), sizeof(value));
    if (value < 0) fail(ErrorCode::kCorrupt, "'{}': {} is {}", file_, what, value);
    return value;
  }

  std::span<const std::byte> rest_;
  std::string_view file_;
};

}  // namespace

std::vector<float> ImportanceMatrix::Entry::mean_squares(int64_t matrix) const {
  const int64_t n = inputs();
  const float count = counts[static_cast<size_t>(matrix)];
  std::vector<float> result(sums.begin() + matrix * n, sums.begin() + (matrix + 1) * n);
  for (float& x : result) x = count > 0.0F ? x / count : 0.0F;
  return result;
}

ImportanceMatrix read_imatrix(std::span<const std::byte> bytes, std::string_view file) {
  const bool is_gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  return is_gguf ? read_new(bytes, file) : OldReader(bytes, file).read();
}

ImportanceMatrix open_imatrix(const std::filesystem::path& path) {
  const MappedFile file(path);
  return read_imatrix(file.bytes(), path.string());
}

void write_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix) {
  const GgufMetadata metadata = {{"general.type", std::string("imatrix")},
                                 {"imatrix.datasets", matrix.datasets},
                                 {"imatrix.chunk_count", static_cast<uint32_t>(matrix.chunk_count)},
                                 {"imatrix.chunk_size", static_cast<uint32_t>(matrix.chunk_size)}};
  const GgmlType* f32 = find_ggml_type("f32");
  std::vector<GgufWriter::Entry> entries;
  for (const auto& [name, entry] : matrix.entries) {
    entries.push_back({name + std::string(kSums), {entry.matrices, entry.inputs()}, f32});
    entries.push_back({name + std::string(kCounts), {entry.matrices, 1}, f32});
  }
  GgufWriter writer(path, metadata, std::move(entries));
  for (const auto& [name, entry] : matrix.entries) {
    writer.append(name + std::string(kSums), std::as_bytes(std::span(entry.sums)));
    writer.append(name + std::string(kCounts), std::as_bytes(std::span(entry.counts)));
  }
  writer.commit();
}

void write_older_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix) {
  OutputFile file(path);
  const auto put = [&](auto number) {
    const auto value = static_cast<int32_t>(number);
    file.write(std::as_bytes(std::span(&value, 1)));
  };
  put(matrix.entries.size());
  const auto chunks = static_cast<float>(std::max<int64_t>(1, matrix.chunk_count));
  for (const auto& [name, entry] : matrix.entries) {
    if (entry.matrices != 1) {
      fail(ErrorCode::kUnsupported,
           "{} are {} matrices (experts), which the older format has no place for; write *.gguf",
           quoted_name(name), entry.matrices);
    }
    put(name.size());
    file.write(name);
    put(chunks);  // calls: one for each chunk
    put(entry.inputs());
    for (const float mean : entry.mean_squares(0)) {
      const float sum = mean * chunks;
      file.write(std::as_bytes(std::span(&sum, 1)));
    }
  }
  const std::string dataset = matrix.datasets.empty() ? "" : matrix.datasets.front();
  put(matrix.chunk_count);
  put(dataset.size());
  file.write(dataset);
  file.commit();
}

}  // namespace bitsmith

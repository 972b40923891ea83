// A scheme, and any bytes as a matrix that it coded.
//     byte 0       rows - 1, of 40 at most
//     bytes 1, 2   columns, below 1024
//     then         the scheme as JSON, a zero byte, and the matrix's bytes, repeated as needed
#include "codecs/codec.h"

#include <algorithm>
#include <cstring>

#include "encoding/coded_storage.h"
#include "formats/json_text.h"
#include "fuzz_target.h"

namespace {

using namespace bitsmith;

bool equal(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

// A row decodes to the same values alone and with the others.
void decode(const CodedTensor& tensor) {
  const std::vector<float> all = tensor.decode_all();
  const auto cols = static_cast<size_t>(tensor.shape[1]);
  std::vector<float> row(cols);
  tensor.decode(tensor.shape[0] - 1, 1, row.data());
  FUZZ_EXPECT(equal(row, std::span(all).last(cols)));
}

// Splitting into symbols loses no bit.
void split_and_join(const CodedTensor& tensor) {
  const Codec& codec = *tensor.scheme.codec;
  const Options& options = tensor.scheme.options;
  const std::vector<SymbolStream> streams = codec.symbol_streams(tensor.matrix(), options);
  std::vector<std::byte> joined(tensor.bytes.size());
  for (size_t i = 0; i < streams.size(); ++i) {
    std::vector<uint8_t> symbols(static_cast<size_t>(streams[i].count));
    codec.split_symbols(tensor.matrix(), options, tensor.bytes, i, 0, symbols);
    for (const uint8_t symbol : symbols) FUZZ_EXPECT(symbol >> streams[i].bits == 0);
    codec.join_symbols(tensor.matrix(), options, i, 0, symbols, joined);
  }
  FUZZ_EXPECT(std::ranges::equal(joined, tensor.bytes));
}

// The bytes as those that entropy coders wrote, with the sizes of the streams and without.
void decode_stored(const CodedTensor& tensor, std::span<const std::byte> stored) {
  ThreadPool pool(1);
  for (const EntropyCoder* coder : Registry<EntropyCoder>::instance().all()) {
    std::vector<std::byte> bytes(tensor.bytes.size());
    std::vector<uint8_t> symbols(std::min<size_t>(bytes.size(), 4096));
    allow_errors([&] { coder->decode(stored, symbols); });
    allow_errors([&] { decode_storage(tensor, stored, *coder, pool, bytes); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const MatrixShape shape{1 + data[0] % 40, data[1] | (data[2] & 3) << 8};
  const std::string_view input = text_of(data + 3, size - 3);
  const size_t end = std::min(input.find('\0'), input.size());
  const auto given = std::as_bytes(std::span(input.substr(std::min(end + 1, input.size()))));
  allow_errors([&] {
    const Scheme scheme = Scheme::from_json(parse_json_text(input.substr(0, end), "input", 4096));
    const uint64_t bytes = scheme.codec->encoded_bytes(shape, scheme.options);
    if (bytes > size_t{1} << 20) return;
    scheme.label();
    std::vector<std::byte> coded(bytes);
    for (size_t i = 0; i < coded.size() && !given.empty(); ++i) coded[i] = given[i % given.size()];
    const CodedTensor tensor{"input", {shape.rows, shape.cols}, scheme, coded};
    decode(tensor);
    split_and_join(tensor);
    decode_stored(tensor, given);
  });
  return 0;
}

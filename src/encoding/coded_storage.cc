#include "encoding/coded_storage.h"

#include <algorithm>

#include "encoding/symbol_blocks.h"

namespace bitsmith {
namespace {

static_assert(kBlockSymbols % kSymbolRange == 0);

uint64_t smallest_size(uint64_t packed_bytes) {
  return (packed_bytes + kLargestExpansion - 1) / kLargestExpansion;
}

}  // namespace

std::vector<std::byte> encode_storage(const CodedTensor& tensor, const EntropyCoder& coder,
                                      ThreadPool& pool) {
  const Codec& codec = *tensor.scheme.codec;
  const Options& options = tensor.scheme.options;
  const MatrixShape shape = tensor.matrix();
  std::vector<std::byte> sizes;
  std::vector<std::byte> out;
  const auto streams = codec.symbol_streams(shape, options);
  for (size_t s = 0; s < streams.size(); ++s) {
    const ReadSymbols read = [&](int64_t begin, std::span<uint8_t> symbols) {
      codec.split_symbols(shape, options, tensor.bytes, s, begin, symbols);
    };
    const auto stream = encode_stream(coder, streams[s].bits, streams[s].count, read, pool);
    append_number(sizes, static_cast<uint64_t>(stream.size()));
    out.insert(out.end(), stream.begin(), stream.end());
  }
  out.insert(out.begin(), sizes.begin(), sizes.end());
  out.resize(std::max<size_t>(out.size(), smallest_size(tensor.bytes.size())));
  return out;
}

void decode_storage(const CodedTensor& tensor, std::span<const std::byte> stored,
                    const EntropyCoder& coder, ThreadPool& pool, std::span<std::byte> bytes) {
  const Codec& codec = *tensor.scheme.codec;
  const Options& options = tensor.scheme.options;
  const MatrixShape shape = tensor.matrix();
  if (stored.size() < smallest_size(bytes.size())) {
    fail(ErrorCode::kCorrupt, "{} entropy-coded bytes cannot become {}: at most {} times as many",
         stored.size(), bytes.size(), kLargestExpansion);
  }
  ByteReader in(stored, "entropy-coded tensor");
  const auto streams = codec.symbol_streams(shape, options);
  std::vector<uint64_t> sizes(streams.size());
  for (uint64_t& size : sizes) size = in.number<uint64_t>();
  for (size_t s = 0; s < streams.size(); ++s) {
    const WriteSymbols write = [&](int64_t begin, std::span<const uint8_t> symbols) {
      codec.join_symbols(shape, options, s, begin, symbols, bytes);
    };
    decode_stream(coder, streams[s].bits, streams[s].count, in.take(sizes[s]), write, pool);
  }
  const bool padded = stored.size() == smallest_size(bytes.size());
  const auto rest = in.rest();
  const auto zero = [](std::byte b) { return b == std::byte{0}; };
  if (!rest.empty() && !(padded && std::ranges::all_of(rest, zero))) {
    fail(ErrorCode::kCorrupt, "bytes follow the last stream of an entropy-coded tensor");
  }
}

}  // namespace bitsmith

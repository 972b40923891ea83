#include "core/gzip.h"

#include <zlib.h>

#include <algorithm>

#include "core/error.h"
#include "core/mapped_file.h"

namespace bitsmith {
namespace {

constexpr int kGzip = 16 + MAX_WBITS;

// Ends an inflation however it is left.
struct Inflation {
  z_stream stream{};
  Inflation() { BITSMITH_ASSERT(::inflateInit2(&stream, kGzip) == Z_OK); }
  ~Inflation() { ::inflateEnd(&stream); }
  Inflation(const Inflation&) = delete;
  Inflation& operator=(const Inflation&) = delete;
};

}  // namespace

std::vector<std::byte> deflate_gzip(std::span<const std::byte> bytes) {
  // zlib counts in 32 bits.
  BITSMITH_ASSERT(bytes.size() < uint64_t{1} << 31);
  z_stream z{};
  constexpr int kMemoryLevel = 8;  // zlib's default
  BITSMITH_ASSERT(::deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, kGzip, kMemoryLevel,
                                 Z_DEFAULT_STRATEGY) == Z_OK);
  std::vector<std::byte> out(::deflateBound(&z, static_cast<uLong>(bytes.size())));
  z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int status = ::deflate(&z, Z_FINISH);
  out.resize(out.size() - z.avail_out);
  ::deflateEnd(&z);
  BITSMITH_ASSERT(status == Z_STREAM_END);
  return out;
}

std::vector<std::byte> inflate_gzip(std::span<const std::byte> bytes, uint64_t limit,
                                    const std::string& file) {
  const auto corrupt = [&](const char* reason) {
    fail(ErrorCode::kCorrupt, "'{}': its gzip data {} (damaged download?)", file, reason);
  };
  // zlib counts in 32 bits, and deflate grows nothing more than 1032-fold.
  constexpr uint64_t kLargestInput = uint64_t{1} << 31;
  if (bytes.size() > kLargestInput) corrupt("is too large");
  limit = std::min(limit, 1032 * uint64_t{bytes.size()} + 64);
  Inflation inflation;
  z_stream& z = inflation.stream;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  std::vector<std::byte> out;
  while (true) {
    const size_t done = out.size();
    if (done >= limit) corrupt("is longer than expected");
    // Doubling: what is taken is bounded by what was really there.
    const uint64_t step = std::min<uint64_t>(std::max<uint64_t>(done, 1 << 16), 1 << 28);
    out.resize(static_cast<size_t>(std::min(limit, done + step)));
    z.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    z.avail_out = static_cast<uInt>(out.size() - done);
    const int status = ::inflate(&z, Z_NO_FLUSH);
    out.resize(out.size() - z.avail_out);
    if (status == Z_STREAM_END) break;
    if (status != Z_OK && status != Z_BUF_ERROR) corrupt("is damaged");
    if (z.avail_out > 0) corrupt("ends too early");
  }
  if (z.avail_in > 0) corrupt("is followed by other bytes");
  return out;
}

FileContent open_content(const std::filesystem::path& path, uint64_t limit) {
  auto file = std::make_shared<MappedFile>(path);
  const auto bytes = file->bytes();
  const bool gzip = bytes.size() > 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
  if (!gzip) return {bytes, std::move(file)};
  auto content =
      std::make_shared<std::vector<std::byte>>(inflate_gzip(bytes, limit, path.string()));
  const std::span<const std::byte> inflated = *content;
  return {inflated, std::move(content)};
}

}  // namespace bitsmith

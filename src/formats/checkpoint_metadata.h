// Names and rules of a checkpoint's metadata that its reader and its writer share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace bitsmith::checkpoint {

inline constexpr std::string_view kFormat = "bitsmith";            // metadata "format"
inline constexpr std::string_view kPrefix = "bitsmith.";           // of all other metadata
inline constexpr std::string_view kFilePrefix = "bitsmith.file/";  // of tensors that hold files

inline constexpr std::string_view kPackedMetadata = "bitsmith.metadata";  // a tensor

inline constexpr std::string_view kVersion = "bitsmith.version";
inline constexpr std::string_view kGraph = "bitsmith.graph";
inline constexpr std::string_view kConfig = "bitsmith.config";
inline constexpr std::string_view kTensors = "bitsmith.tensors";
inline constexpr std::string_view kFiles = "bitsmith.files";
inline constexpr std::string_view kChecksum = "bitsmith.checksum";

// The version of a file that uses nothing newer, and of one with entropy-coded tensors and packed
// metadata. Version 2 had the metadata of such files in the header.
inline constexpr int kFirstVersion = 1;
inline constexpr int kEntropyVersion = 3;

// Whether a metadata key is one of the above, and not free for recipe, quality, ...
bool is_reserved(std::string_view key);

// The number type under which a codec's tensors lie in the container with their own shape; nullopt
// for codecs whose tensors lie there as one U8 entry [bytes].
std::optional<DType> plain_dtype(std::string_view codec_id);

// Whether a file's name is safe to write into a folder: not empty, no separator, not "." or "..".
bool is_plain_file_name(std::string_view name);

// XXH3, 64 bits, seed 0, as 16 hexadecimal digits.
std::string checksum(std::span<const std::byte> bytes);

// The checksum of all metadata but kChecksum: for each entry in the order of its key's bytes, the
// length of the key (u64 LE), the key, the length of the value, the value.
std::string metadata_checksum(const std::map<std::string, std::string>& metadata);

// kUnsupported for more than kMaxMetadataBytes. The entries whose keys are not kept in the header (all but "format", kVersion and kChecksum), as
// in the message of metadata_checksum(), compressed by gzip.
std::vector<std::byte> pack_metadata(const std::map<std::string, std::string>& metadata);
// Whether an entry stays in the header of a file whose metadata are packed.
bool stays_in_header(std::string_view key);
// Adds the entries packed in `bytes`. Throws kCorrupt, naming `file`, for damage, a key that is
// there already or that belongs in the header, and for more than kMaxMetadataBytes.
void unpack_metadata(std::span<const std::byte> bytes, const std::string& file,
                     std::map<std::string, std::string>& metadata);
inline constexpr uint64_t kMaxMetadataBytes = 100'000'000;  // as in the header of a container

// More weights than this in one tensor are refused; far below overflow of any size in bits.
inline constexpr int64_t kMaxElements = int64_t{1} << 48;

}  // namespace bitsmith::checkpoint

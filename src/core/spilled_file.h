// Bytes that had to be rearranged, as a mapped file: on disk if they are many.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "core/mapped_file.h"

namespace bitsmith {

// More than this lies in a file.
inline constexpr size_t kSpilledBytes = size_t{64} << 20;

// As MappedFile::in_memory(); more than kSpilledBytes lie in a file without a name in the folder
// for temporary files (TMPDIR), so that release_pages(), also on what `fill` has written so far,
// gives their memory back. Throws kEnvironment if there is no room.
MappedFile spilled_file(size_t size, const std::function<void(std::span<std::byte>)>& fill);

}  // namespace bitsmith

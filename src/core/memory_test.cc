#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "core/huge_memory.h"
#include "core/mapped_file.h"
#include "core/memory_file.h"
#include "core/system_memory.h"

namespace bitsmith {
namespace {

TEST(HugeMemory, IsZeroedAndAlignedToLargePages) {
  for (const size_t size : {size_t{1}, size_t{2} << 20, (size_t{5} << 20) + 3}) {
    const HugeMemory memory(size);
    ASSERT_EQ(memory.bytes().size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.bytes().data()) % (size_t{2} << 20), 0U);
    EXPECT_TRUE(std::ranges::all_of(memory.bytes(), [](std::byte b) { return b == std::byte{}; }));
    std::ranges::fill(memory.bytes(), std::byte{7});
    EXPECT_EQ(memory.bytes().back(), std::byte{7});
  }
  EXPECT_TRUE(HugeMemory(0).bytes().empty());
}

TEST(HugeMemory, MoreThanThereIsIsAnError) {
  EXPECT_THROW(HugeMemory(SIZE_MAX), Error);
  EXPECT_THROW(HugeMemory(size_t{1} << 60), Error);
}

TEST(MemoryFile, KeepsReleasedPagesAndLosesDiscardedOnes) {
  constexpr size_t kPage = 65536;  // a multiple of every page size in use
  const MemoryFile file(3 * kPage);
  const std::span<std::byte> bytes = file.bytes();
  std::ranges::fill(bytes, std::byte{9});
  release_pages(bytes);
  EXPECT_EQ(std::ranges::count(bytes, std::byte{9}), 3 * kPage);
  // Parts of pages stay.
  file.discard(bytes.subspan(1, 2 * kPage));
  EXPECT_EQ(bytes[0], std::byte{9});
  EXPECT_EQ(bytes[kPage], std::byte{0});
  EXPECT_EQ(bytes[2 * kPage], std::byte{9});
  file.discard(bytes.subspan(1, 1));
  EXPECT_EQ(bytes[1], std::byte{9});
}

TEST(SystemMemory, IsPlausible) {
  const uint64_t before = peak_memory_bytes();
  EXPECT_GT(before, uint64_t{1} << 20);
  constexpr size_t kSize = size_t{64} << 20;
  {
    const HugeMemory memory(kSize);
    std::ranges::fill(memory.bytes(), std::byte{1});
    EXPECT_GE(peak_memory_bytes(), kSize);
  }
  EXPECT_GE(peak_memory_bytes(), before);
  EXPECT_GT(available_memory_bytes(), uint64_t{16} << 20);
  EXPECT_LT(available_memory_bytes(), uint64_t{1} << 50);
}

}  // namespace
}  // namespace bitsmith

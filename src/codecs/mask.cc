#include "codecs/mask.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "tensor/shape.h"

namespace bitsmith {
namespace {

// Calls visit(int64_t gap) for each element that is kept: how many before it are not.
template <class Visit>
void for_each_gap(MaskWords mask, const Visit& visit) {
  int64_t next = 0;  // the element after the last one kept
  for (size_t w = 0; w < mask.size(); ++w) {
    for (uint64_t word = mask[w]; word != 0; word &= word - 1) {
      const int64_t at = static_cast<int64_t>(w) * 64 + std::countr_zero(word);
      visit(at - next);
      next = at + 1;
    }
  }
}

void check_mask(MaskWords mask, int64_t n) {
  BITSMITH_ASSERT(n >= 0 && static_cast<int64_t>(mask.size()) == ceil_div(n, 64));
  BITSMITH_ASSERT(n % 64 == 0 || mask.back() >> (n % 64) == 0);
}

}  // namespace

uint64_t bitmap_bytes(int64_t n) { return static_cast<uint64_t>(ceil_div(n, 8)); }

uint64_t gap_bytes(int64_t gaps, int width) {
  return (static_cast<uint64_t>(gaps) * static_cast<uint64_t>(width) + 7) / 8;
}

int64_t count_gaps(MaskWords mask, int width) {
  int64_t gaps = 0;
  for_each_gap(mask, [&](int64_t gap) { gaps += 1 + gap / ((int64_t{1} << width) - 1); });
  return gaps;
}

int64_t most_gaps(int64_t n, int64_t ones, int width) {
  return ones + (n - ones) / ((int64_t{1} << width) - 1);
}

MaskForm smallest_mask_form(MaskWords mask, int64_t n) {
  check_mask(mask, n);
  std::array<int64_t, kMaxGapBits + 1> gaps{};
  for_each_gap(mask, [&](int64_t gap) {
    for (int w = 1; w <= kMaxGapBits; ++w) {
      gaps[static_cast<size_t>(w)] += 1 + gap / ((int64_t{1} << w) - 1);
    }
  });
  MaskForm best{0, 0, bitmap_bytes(n)};
  for (int w = 1; w <= kMaxGapBits; ++w) {
    const int64_t count = gaps[static_cast<size_t>(w)];
    const MaskForm form{w, count, gap_bytes(count, w)};
    if (count <= n && form.bytes < best.bytes) best = form;
  }
  return best;
}

void encode_mask(MaskWords mask, int64_t n, const MaskForm& form, std::span<std::byte> out) {
  check_mask(mask, n);
  BITSMITH_ASSERT(out.size() >= form.bytes);
  std::ranges::fill(out, std::byte{0});
  if (form.gap_bits == 0) {
    for (int64_t i = 0; i < ceil_div(n, 8); ++i) {
      out[static_cast<size_t>(i)] =
          static_cast<std::byte>(mask[static_cast<size_t>(i / 8)] >> (i % 8 * 8));
    }
    return;
  }
  const uint32_t filler = (1u << form.gap_bits) - 1;
  uint64_t pending = 0;
  int held = 0;
  size_t at = 0;
  const auto put = [&](uint64_t gap) {
    pending |= gap << held;
    for (held += form.gap_bits; held >= 8; held -= 8, pending >>= 8) {
      out[at++] = static_cast<std::byte>(pending);
    }
  };
  for_each_gap(mask, [&](int64_t gap) {
    for (; gap >= filler; gap -= filler) put(filler);
    put(static_cast<uint64_t>(gap));
  });
  if (held > 0) out[at] = static_cast<std::byte>(pending);
}

std::vector<uint64_t> decode_mask(std::span<const std::byte> bytes, int64_t n, int gap_bits,
                                  int64_t ones) {
  BITSMITH_ASSERT(n >= 0 && gap_bits >= 0 && gap_bits <= kMaxGapBits);
  std::vector<uint64_t> mask(static_cast<size_t>(ceil_div(n, 64)));
  if (gap_bits == 0) {
    for (int64_t i = 0; i < n && ones > 0 && i / 8 < static_cast<int64_t>(bytes.size()); ++i) {
      if ((std::to_integer<unsigned>(bytes[static_cast<size_t>(i / 8)]) >> (i % 8) & 1) == 0) {
        continue;
      }
      mask[static_cast<size_t>(i / 64)] |= uint64_t{1} << (i % 64);
      --ones;
    }
    return mask;
  }
  const uint32_t filler = (1u << gap_bits) - 1;
  uint32_t pending = 0;
  int held = 0;
  size_t at = 0;
  for (int64_t position = 0; ones > 0;) {
    for (; held < gap_bits && at < bytes.size(); held += 8) {
      pending |= std::to_integer<uint32_t>(bytes[at++]) << held;
    }
    if (held < gap_bits) break;
    const uint32_t gap = pending & filler;
    pending >>= gap_bits;
    held -= gap_bits;
    position += gap;
    if (gap == filler) continue;
    if (position >= n) break;
    mask[static_cast<size_t>(position / 64)] |= uint64_t{1} << (position % 64);
    ++position;
    --ones;
  }
  return mask;
}

}  // namespace bitsmith

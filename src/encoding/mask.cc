#include "encoding/mask.h"

#include <array>
#include <bit>

#include "encoding/byte_stream.h"
#include "tensor/shape.h"

namespace bitsmith {
namespace {

[[noreturn]] void corrupt(std::string_view reason) {
  fail(ErrorCode::kCorrupt, "mask: {} (damaged file)", reason);
}

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

uint64_t gap_bytes(int64_t gaps, int width) {
  return 9 + (static_cast<uint64_t>(gaps) * static_cast<uint64_t>(width) + 7) / 8;
}

uint64_t bitmap_bytes(int64_t n) { return 1 + static_cast<uint64_t>(ceil_div(n, 8)); }

void check_mask(MaskWords mask, int64_t n) {
  BITSMITH_ASSERT(n >= 0 && static_cast<int64_t>(mask.size()) == ceil_div(n, 64));
  BITSMITH_ASSERT(n % 64 == 0 || mask.back() >> (n % 64) == 0);
}

std::vector<uint64_t> decode_bitmap(std::span<const std::byte> bytes, int64_t n) {
  std::vector<uint64_t> mask(static_cast<size_t>(ceil_div(n, 64)));
  if (!bytes.empty()) std::memcpy(mask.data(), bytes.data(), bytes.size());
  if (n % 64 != 0 && mask.back() >> (n % 64) != 0) corrupt("bits beyond its last element are set");
  return mask;
}

std::vector<uint64_t> decode_gaps(ByteReader& in, int width, int64_t n) {
  const auto gaps = in.number<uint64_t>();
  // In more gaps than elements there would be an empty filler or an element beyond the end.
  if (gaps > static_cast<uint64_t>(n)) corrupt("it has more gaps than elements");
  const auto packed = in.take(gap_bytes(static_cast<int64_t>(gaps), width) - 9);
  std::vector<uint64_t> mask(static_cast<size_t>(ceil_div(n, 64)));
  const uint32_t filler = (1u << width) - 1;
  uint32_t pending = 0;
  int held = 0;
  size_t at = 0;
  int64_t position = 0;
  for (uint64_t i = 0; i < gaps; ++i) {
    for (; held < width; held += 8) pending |= std::to_integer<uint32_t>(packed[at++]) << held;
    const uint32_t gap = pending & filler;
    pending >>= width;
    held -= width;
    position += gap;
    if (position > n || (gap != filler && position == n)) {
      corrupt("an element lies beyond its end");
    }
    if (gap == filler) continue;
    mask[static_cast<size_t>(position / 64)] |= uint64_t{1} << (position % 64);
    ++position;
  }
  if (pending != 0) corrupt("bits after its last gap are not 0");
  return mask;
}

}  // namespace

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

std::vector<std::byte> encode_mask(MaskWords mask, int64_t n, const MaskForm& form) {
  check_mask(mask, n);
  std::vector<std::byte> out;
  out.reserve(form.bytes);
  append_number(out, static_cast<uint8_t>(form.gap_bits));
  if (form.gap_bits == 0) {
    const auto bytes = std::as_bytes(mask).first(static_cast<size_t>(ceil_div(n, 8)));
    out.insert(out.end(), bytes.begin(), bytes.end());
  } else {
    append_number(out, static_cast<uint64_t>(form.gaps));
    const uint32_t filler = (1u << form.gap_bits) - 1;
    uint64_t pending = 0;
    int held = 0;
    const auto put = [&](uint64_t gap) {
      pending |= gap << held;
      for (held += form.gap_bits; held >= 8; held -= 8, pending >>= 8) {
        out.push_back(static_cast<std::byte>(pending));
      }
    };
    for_each_gap(mask, [&](int64_t gap) {
      for (; gap >= filler; gap -= filler) put(filler);
      put(static_cast<uint64_t>(gap));
    });
    if (held > 0) out.push_back(static_cast<std::byte>(pending));
  }
  BITSMITH_ASSERT(out.size() == form.bytes);
  return out;
}

std::vector<uint64_t> decode_mask(std::span<const std::byte> bytes, int64_t n) {
  BITSMITH_ASSERT(n >= 0);
  ByteReader in(bytes, "mask");
  const int width = in.number<uint8_t>();
  if (width > kMaxGapBits) corrupt("its gaps are wider than 16 bits");
  std::vector<uint64_t> mask =
      width == 0 ? decode_bitmap(in.take(bitmap_bytes(n) - 1), n) : decode_gaps(in, width, n);
  if (in.left() != 0) corrupt("bytes follow its end");
  return mask;
}

}  // namespace bitsmith

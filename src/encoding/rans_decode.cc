#include "encoding/rans_decode.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encoding/rans_decode.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitsmith::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3 && HWY_TARGET != HWY_SCALAR && HWY_ARCH_X86
#define BITSMITH_RANS_VECTORS 1

// The next words into the lanes of `mask`, in order; other lanes are 0. Highway 1.0.3 has no
// expand.
HWY_INLINE hn::Vec<hn::Full512<uint32_t>> expand(hn::Full512<uint32_t> /*d*/,
                                                 hn::Vec<hn::Full512<uint32_t>> words,
                                                 uint64_t mask) {
  return hn::Vec<hn::Full512<uint32_t>>{
      _mm512_maskz_expand_epi32(static_cast<__mmask16>(mask), words.raw)};
}
using RansTag = hn::Full512<uint32_t>;

#elif HWY_TARGET == HWY_AVX2
#define BITSMITH_RANS_VECTORS 1

// For each mask of 8 lanes: which word goes to which lane. Made at compile time: code of a target
// must not run before the CPU is known to have it.
using ExpandIndices = std::array<std::array<uint32_t, 8>, 256>;
constexpr ExpandIndices make_expand_indices() {
  ExpandIndices indices{};
  for (uint32_t mask = 0; mask < 256; ++mask) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < 8; ++i) indices[mask][i] = (mask >> i & 1) != 0 ? next++ : 0;
  }
  return indices;
}
alignas(32) constexpr ExpandIndices kExpandIndices = make_expand_indices();

HWY_INLINE hn::Vec<hn::Full256<uint32_t>> expand(hn::Full256<uint32_t> d,
                                                 hn::Vec<hn::Full256<uint32_t>> words,
                                                 uint64_t mask) {
  return hn::TableLookupLanes(words, hn::SetTableIndices(d, kExpandIndices[mask].data()));
}
using RansTag = hn::Full256<uint32_t>;

#endif

#ifdef BITSMITH_RANS_VECTORS
#undef BITSMITH_RANS_VECTORS

size_t decode_rounds(const RansTable& table, RansStates& states, std::span<const std::byte> words,
                     size_t& read, std::span<uint8_t> out) {
  const RansTag d;
  const hn::RebindToSigned<RansTag> di;
  const hn::Rebind<uint16_t, RansTag> d16;
  const hn::Rebind<uint8_t, RansTag> d8;
  constexpr size_t kLanes = hn::MaxLanes(RansTag());
  constexpr size_t kVectors = kRansLanes / kLanes;
  const auto slot_mask = hn::Set(d, static_cast<uint32_t>(kRansSlots - 1));
  hn::Vec<RansTag> state[kVectors];
  for (size_t v = 0; v < kVectors; ++v) state[v] = hn::LoadU(d, states.data() + v * kLanes);
  const size_t available = words.size() / 2;
  size_t done = 0;
  size_t next = read;
  // A vector loads kLanes words wherever its own begin.
  while (out.size() - done >= kRansLanes && available - next >= kRansLanes) {
    for (size_t v = 0; v < kVectors; ++v) {
      const auto slot = hn::And(state[v], slot_mask);
      const auto entry = hn::GatherIndex(d, table.data(), hn::BitCast(di, slot));
      const auto symbol = hn::ShiftRight<24>(entry);
      hn::StoreU(hn::DemoteTo(d8, hn::BitCast(di, symbol)), d8, out.data() + done + v * kLanes);
      const auto stepped = hn::Add(
          hn::Mul(hn::And(entry, slot_mask), hn::ShiftRight<kRansProbabilityBits>(state[v])),
          hn::And(hn::ShiftRight<12>(entry), slot_mask));
      // Below 2^16, the lane takes a word.
      const auto low = hn::Eq(hn::ShiftRight<16>(stepped), hn::Zero(d));
      uint8_t bits[8] = {};
      hn::StoreMaskBits(d, low, bits);
      const uint64_t mask = bits[0] | static_cast<uint64_t>(bits[1]) << 8;
      const auto loaded = hn::PromoteTo(
          d, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(words.data() + 2 * next)));
      const auto taken = hn::Or(hn::ShiftLeft<16>(stepped), expand(d, loaded, mask));
      state[v] = hn::IfThenElse(low, taken, stepped);
      next += hwy::PopCount(mask);
    }
    done += kRansLanes;
  }
  for (size_t v = 0; v < kVectors; ++v) hn::StoreU(state[v], d, states.data() + v * kLanes);
  read = next;
  return done;
}

#else

size_t decode_rounds(const RansTable& table, RansStates& states, std::span<const std::byte> words,
                     size_t& read, std::span<uint8_t> out) {
  const size_t available = words.size() / 2;
  size_t done = 0;
  size_t next = read;
  while (out.size() - done >= kRansLanes && available - next >= kRansLanes) {
    for (size_t lane = 0; lane < kRansLanes; ++lane) {
      uint32_t state = rans_step(table, states[lane], out[done + lane]);
      uint16_t word;
      std::memcpy(&word, words.data() + 2 * next, sizeof(word));
      const bool low = state < kRansLowest;
      state = low ? state << 16 | word : state;
      next += low ? 1 : 0;
      states[lane] = state;
    }
    done += kRansLanes;
  }
  read = next;
  return done;
}

#endif

}  // namespace bitsmith::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitsmith {

HWY_EXPORT(decode_rounds);

size_t rans_decode_rounds(const RansTable& table, RansStates& states,
                          std::span<const std::byte> words, size_t& read, std::span<uint8_t> out) {
  return HWY_DYNAMIC_DISPATCH(decode_rounds)(table, states, words, read, out);
}

}  // namespace bitsmith
#endif  // HWY_ONCE

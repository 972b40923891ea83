// Entropy coder `rans`: asymmetric numeral systems with 32 interleaved states of 32 bits.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "encoding/byte_stream.h"
#include "encoding/entropy_coder.h"
#include "encoding/frequencies.h"
#include "encoding/rans_decode.h"

namespace bitsmith {
namespace {

constexpr std::string_view kOwner = "rANS code";

[[noreturn]] void corrupt(std::string_view reason) {
  fail(ErrorCode::kCorrupt, "{}: {} (damaged file)", kOwner, reason);
}

// The payload:
//     u8 first, u8 last     the smallest and the largest symbol that occurs
//     frequencies f of first .. last, whose sum is 4096: f < 128 as one byte; else 128 + (f >> 8)
//                           and f & 255
//     u32 states [32]
//     u16 words
// Symbol i comes from state i mod 32. With c the sum of the frequencies of all smaller symbols, a
// state x gives the symbol with c <= x mod 4096 < c + f and becomes f (x >> 12) + x mod 4096 - c;
// if that is below 2^16, it becomes itself times 2^16 plus the next word. At the end all states
// are 2^16 and no word is left: where the encoder, which works backwards, began.
//
// Renormalising by whole words of 16 bits happens at most once for each symbol, which is what makes
// the loop one of vectors (Giesen 2014, arXiv:1402.3392).
Histogram read_frequencies(ByteReader& in) {
  const auto first = in.number<uint8_t>();
  const auto last = in.number<uint8_t>();
  if (first >= last) corrupt("its smallest symbol is not below its largest");
  Histogram frequencies{};
  uint32_t sum = 0;
  for (size_t s = first; s <= last; ++s) {
    uint32_t f = in.number<uint8_t>();
    if (f >= 128) f = (f - 128) << 8 | in.number<uint8_t>();
    if (f >= kRansSlots) corrupt("a frequency is 4096 or more");
    frequencies[s] = f;
    sum += f;
  }
  if (sum != kRansSlots) corrupt("its frequencies do not sum to 4096");
  return frequencies;
}

void write_frequencies(const Histogram& frequencies, std::vector<std::byte>& out) {
  const auto used = [](uint32_t f) { return f > 0; };
  const auto first = std::ranges::find_if(frequencies, used) - frequencies.begin();
  auto last = static_cast<std::ptrdiff_t>(frequencies.size()) - 1;
  while (frequencies[static_cast<size_t>(last)] == 0) --last;
  append_number(out, static_cast<uint8_t>(first));
  append_number(out, static_cast<uint8_t>(last));
  for (auto s = static_cast<size_t>(first); s <= static_cast<size_t>(last); ++s) {
    const uint32_t f = frequencies[s];
    if (f >= 128) append_number(out, static_cast<uint8_t>(128 + (f >> 8)));
    append_number(out, static_cast<uint8_t>(f));
  }
}

RansTable make_table(const Histogram& frequencies) {
  RansTable table;
  size_t slot = 0;
  for (uint32_t s = 0; s < frequencies.size(); ++s) {
    for (uint32_t i = 0; i < frequencies[s]; ++i)
      table[slot++] = frequencies[s] | i << 12 | s << 24;
  }
  return table;
}

class Rans final : public EntropyCoder {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t estimate_bytes(const Histogram& counts) const override {
    const Histogram frequencies = normalized_frequencies(counts, kRansSlots);
    double bits = 0;
    for (size_t s = 0; s < counts.size(); ++s) {
      if (counts[s] == 0) continue;
      bits += counts[s] * (kRansProbabilityBits - std::log2(static_cast<double>(frequencies[s])));
    }
    std::vector<std::byte> header;
    write_frequencies(frequencies, header);
    // A state holds 16 bits when it starts, which are not the symbols'.
    return static_cast<uint64_t>(bits / 8) + header.size() + 2 * kRansLanes;
  }

  void encode(std::span<const uint8_t> symbols, const Histogram& counts,
              std::vector<std::byte>& out) const override {
    const Histogram frequencies = normalized_frequencies(counts, kRansSlots);
    write_frequencies(frequencies, out);
    Histogram starts{};
    uint32_t sum = 0;
    for (size_t s = 0; s < starts.size(); ++s) {
      starts[s] = sum;
      sum += frequencies[s];
    }
    RansStates states;
    states.fill(kRansLowest);
    std::vector<uint16_t> words;  // the last is read first
    words.reserve(symbols.size() / 2);
    for (size_t i = symbols.size(); i-- > 0;) {
      uint32_t& state = states[i % kRansLanes];
      const uint32_t f = frequencies[symbols[i]];
      if (state >= f << 20) {
        words.push_back(static_cast<uint16_t>(state));
        state >>= 16;
      }
      state = ((state / f) << kRansProbabilityBits) + state % f + starts[symbols[i]];
    }
    for (const uint32_t state : states) append_number(out, state);
    const size_t begin = out.size();
    out.resize(begin + 2 * words.size());
    for (size_t i = 0; i < words.size(); ++i) {
      std::memcpy(out.data() + begin + 2 * i, &words[words.size() - 1 - i], 2);
    }
  }

  void decode(std::span<const std::byte> bytes, std::span<uint8_t> symbols) const override {
    ByteReader in(bytes, kOwner);
    const RansTable table = make_table(read_frequencies(in));
    RansStates states;
    for (uint32_t& state : states) state = in.number<uint32_t>();
    const auto words = in.rest();
    if (words.size() % 2 != 0) corrupt("half a word is left");
    size_t read = 0;
    size_t done = rans_decode_rounds(table, states, words, read, symbols);
    for (; done < symbols.size(); ++done) {
      uint32_t& state = states[done % kRansLanes];
      state = rans_step(table, state, symbols[done]);
      if (state >= kRansLowest) continue;
      if (2 * read == words.size()) corrupt("its words end too early");
      state = state << 16 | load_number<uint16_t>(words.data() + 2 * read++);
    }
    if (2 * read != words.size()) corrupt("words are left after the last symbol");
    const auto finished = [](uint32_t state) { return state == kRansLowest; };
    if (!std::ranges::all_of(states, finished)) corrupt("its states do not end as they began");
  }

 private:
  PartInfo info_ = {.id = "rans",
                    .summary = "asymmetric numeral systems: within a hair of the entropy",
                    .source =
                        "Duda 2013, arXiv:1311.2540; interleaved as in Giesen 2014, "
                        "arXiv:1402.3392"};
};

const Registration<EntropyCoder, Rans> kRegistration;

}  // namespace
}  // namespace bitsmith

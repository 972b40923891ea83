#include "encoding/symbol_blocks.h"

#include <algorithm>

#include "tensor/shape.h"

namespace bitsmith {
namespace {

constexpr std::string_view kOwner = "entropy-coded block";

enum Form : uint8_t { kPacked = 0, kConstant = 1, kTuples = 2 };

[[noreturn]] void corrupt(std::string_view reason) {
  fail(ErrorCode::kCorrupt, "{}: {} (damaged file)", kOwner, reason);
}

size_t packed_bytes(size_t count, int bits) { return (count * static_cast<size_t>(bits) + 7) / 8; }

void append_packed(std::span<const uint8_t> symbols, int bits, std::vector<std::byte>& out) {
  if (bits == 8) {
    const auto bytes = std::as_bytes(symbols);
    out.insert(out.end(), bytes.begin(), bytes.end());
    return;
  }
  const size_t begin = out.size();
  out.resize(begin + packed_bytes(symbols.size(), bits));
  uint32_t pending = 0;
  int held = 0;
  size_t at = begin;
  for (const uint8_t symbol : symbols) {
    pending |= static_cast<uint32_t>(symbol) << held;
    for (held += bits; held >= 8; held -= 8, pending >>= 8) {
      out[at++] = static_cast<std::byte>(pending);
    }
  }
  if (held > 0) out[at] = static_cast<std::byte>(pending);
}

void read_packed(std::span<const std::byte> bytes, int bits, std::span<uint8_t> symbols) {
  if (bytes.size() != packed_bytes(symbols.size(), bits)) corrupt("packed symbols of a wrong size");
  if (bits == 8) {
    if (!symbols.empty()) std::memcpy(symbols.data(), bytes.data(), bytes.size());
    return;
  }
  const uint32_t mask = (1u << bits) - 1;
  uint32_t pending = 0;
  int held = 0;
  size_t at = 0;
  for (uint8_t& symbol : symbols) {
    if (held < bits) {
      pending |= std::to_integer<uint32_t>(bytes[at++]) << held;
      held += 8;
    }
    symbol = static_cast<uint8_t>(pending & mask);
    pending >>= bits;
    held -= bits;
  }
  if (pending != 0) corrupt("bits after the last symbol are not 0");
}

// Tuples of k symbols of `bits` bits.
std::vector<uint8_t> make_tuples(std::span<const uint8_t> symbols, int bits, size_t k) {
  std::vector<uint8_t> tuples((symbols.size() + k - 1) / k);
  const size_t whole = symbols.size() / k;
  for (size_t i = 0; i < whole; ++i) {
    uint32_t tuple = 0;
    for (size_t j = 0; j < k; ++j) {
      tuple |= static_cast<uint32_t>(symbols[i * k + j]) << (static_cast<int>(j) * bits);
    }
    tuples[i] = static_cast<uint8_t>(tuple);
  }
  for (size_t i = whole * k; i < symbols.size(); ++i) {
    tuples[whole] |= static_cast<uint8_t>(symbols[i] << (static_cast<int>(i - whole * k) * bits));
  }
  return tuples;
}

template <size_t k>
void split_whole_tuples(const uint8_t* tuples, size_t count, int bits, uint8_t* symbols) {
  const auto mask = static_cast<uint8_t>((1u << bits) - 1);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < k; ++j) {
      symbols[i * k + j] = tuples[i] >> (static_cast<int>(j) * bits) & mask;
    }
  }
}

// The inverse of make_tuples; kCorrupt if a tuple has bits beyond its symbols.
void split_tuples(std::span<const uint8_t> tuples, int bits, size_t k, std::span<uint8_t> symbols) {
  const size_t whole = symbols.size() / k;
  const auto split = k == 2   ? split_whole_tuples<2>
                     : k == 3 ? split_whole_tuples<3>
                     : k == 4 ? split_whole_tuples<4>
                     : k == 8 ? split_whole_tuples<8>
                              : nullptr;
  if (split != nullptr) {
    split(tuples.data(), whole, bits, symbols.data());
  } else {
    for (size_t i = 0; i < whole * k; ++i) {
      symbols[i] = static_cast<uint8_t>(tuples[i / k] >> (static_cast<int>(i % k) * bits) &
                                        ((1 << bits) - 1));
    }
  }
  uint8_t used = 0;
  for (const uint8_t tuple : tuples) used |= tuple;
  uint32_t rest = used >> (static_cast<int>(k) * bits);
  if (whole < tuples.size()) {
    uint32_t last = tuples[whole];
    for (size_t i = whole * k; i < symbols.size(); ++i, last >>= bits) {
      symbols[i] = static_cast<uint8_t>(last & ((1u << bits) - 1));
    }
    rest |= last;
  }
  if (rest != 0) corrupt("a tuple holds more than its symbols");
}

struct Tuples {
  size_t k = 0;
  std::vector<uint8_t> tuples;
  Histogram counts{};
  uint64_t estimate_bytes = 0;
};

// The largest tuples that cost at most 1/256 more than the best.
Tuples choose_tuples(const EntropyCoder& coder, int bits, std::span<const uint8_t> symbols) {
  std::vector<Tuples> candidates;
  uint64_t best = ~uint64_t{0};
  for (size_t k = 1; k * static_cast<size_t>(bits) <= 8; ++k) {
    Tuples candidate{k, make_tuples(symbols, bits, k), {}, 0};
    candidate.counts = count_symbols(candidate.tuples);
    if (std::ranges::count_if(candidate.counts, [](uint32_t n) { return n > 0; }) < 2) continue;
    candidate.estimate_bytes = coder.estimate_bytes(candidate.counts);
    best = std::min(best, candidate.estimate_bytes);
    candidates.push_back(std::move(candidate));
  }
  while (!candidates.empty() && candidates.back().estimate_bytes > best + best / 256) {
    candidates.pop_back();
  }
  return candidates.empty() ? Tuples{} : std::move(candidates.back());
}

// The symbols of block b of a stream of `count`.
int64_t block_size(int64_t count, int64_t b) {
  return std::min(kBlockSymbols, count - b * kBlockSymbols);
}

}  // namespace

void encode_block(const EntropyCoder& coder, int bits, std::span<const uint8_t> symbols,
                  std::vector<std::byte>& out) {
  BITSMITH_ASSERT(bits >= 1 && bits <= 8 && symbols.size() <= static_cast<size_t>(kBlockSymbols));
  if (!symbols.empty() &&
      std::ranges::all_of(symbols, [&](uint8_t s) { return s == symbols.front(); })) {
    append_number(out, uint8_t{kConstant});
    append_number(out, symbols.front());
    return;
  }
  const size_t begin = out.size();
  const size_t packed = packed_bytes(symbols.size(), bits);
  const Tuples chosen = choose_tuples(coder, bits, symbols);
  const auto worthwhile = [&](uint64_t bytes) { return bytes + packed / 128 < packed; };
  if (chosen.k > 0 && worthwhile(chosen.estimate_bytes)) {
    append_number(out, uint8_t{kTuples});
    append_number(out, static_cast<uint8_t>(chosen.k));
    coder.encode(chosen.tuples, chosen.counts, out);
    if (worthwhile(out.size() - begin)) return;
    out.resize(begin);
  }
  append_number(out, uint8_t{kPacked});
  append_packed(symbols, bits, out);
}

void decode_block(const EntropyCoder& coder, int bits, std::span<const std::byte> block,
                  std::span<uint8_t> symbols) {
  ByteReader in(block, kOwner);
  switch (in.number<uint8_t>()) {
    case kPacked:
      read_packed(in.rest(), bits, symbols);
      return;
    case kConstant: {
      const auto symbol = in.number<uint8_t>();
      if (in.left() != 0 || symbol >> bits != 0) corrupt("a constant that is no symbol");
      std::ranges::fill(symbols, symbol);
      return;
    }
    case kTuples: {
      const size_t k = in.number<uint8_t>();
      if (k == 0 || k * static_cast<size_t>(bits) > 8) corrupt("tuples beyond 8 bits");
      if (k == 1 && bits == 8) {
        coder.decode(in.rest(), symbols);
        return;
      }
      std::vector<uint8_t> tuples((symbols.size() + k - 1) / k);
      coder.decode(in.rest(), tuples);
      split_tuples(tuples, bits, k, symbols);
      return;
    }
    default:
      corrupt("it has an unknown form");
  }
}

std::vector<std::byte> encode_stream(const EntropyCoder& coder, int bits, int64_t count,
                                     const ReadSymbols& read, ThreadPool& pool) {
  const int64_t blocks = ceil_div(count, kBlockSymbols);
  std::vector<std::vector<std::byte>> coded(static_cast<size_t>(blocks));
  pool.run(blocks, [&](int64_t b, int) {
    std::vector<uint8_t> symbols(static_cast<size_t>(block_size(count, b)));
    read(b * kBlockSymbols, symbols);
    encode_block(coder, bits, symbols, coded[static_cast<size_t>(b)]);
  });
  std::vector<std::byte> out;
  append_number(out, static_cast<uint64_t>(count));
  for (const auto& block : coded) append_number(out, static_cast<uint32_t>(block.size()));
  for (auto& block : coded) {
    out.insert(out.end(), block.begin(), block.end());
    block = {};
  }
  return out;
}

void decode_stream(const EntropyCoder& coder, int bits, int64_t count,
                   std::span<const std::byte> bytes, const WriteSymbols& write, ThreadPool& pool) {
  ByteReader in(bytes, "entropy-coded stream");
  if (in.number<uint64_t>() != static_cast<uint64_t>(count)) {
    corrupt(fmt::format("its stream does not hold the {} symbols that the tensor has", count));
  }
  const int64_t blocks = ceil_div(count, kBlockSymbols);
  const auto sizes = in.take(sizeof(uint32_t) * static_cast<uint64_t>(blocks));
  std::vector<std::span<const std::byte>> coded(static_cast<size_t>(blocks));
  for (size_t b = 0; b < coded.size(); ++b) {
    coded[b] = in.take(load_number<uint32_t>(sizes.data() + sizeof(uint32_t) * b));
  }
  if (in.left() != 0) corrupt("bytes follow the last block of its stream");
  pool.run(blocks, [&](int64_t b, int) {
    std::vector<uint8_t> symbols(static_cast<size_t>(block_size(count, b)));
    decode_block(coder, bits, coded[static_cast<size_t>(b)], symbols);
    write(b * kBlockSymbols, symbols);
  });
}

}  // namespace bitsmith

// Entropy coder `huffman`: canonical prefix codes of at most 12 bits in four interleaved streams.
#include <algorithm>
#include <cstring>

#include "encoding/byte_stream.h"
#include "encoding/code_lengths.h"
#include "encoding/entropy_coder.h"

namespace bitsmith {
namespace {

// Words of at most 12 bits: a table of 4096 entries decodes them in one step and stays in the
// first-level cache. Beyond that a symbol is rarer than 1 in 4096, and the limit costs nothing.
constexpr int kMaxLength = 12;
constexpr size_t kTableSize = size_t{1} << kMaxLength;
constexpr size_t kStreams = 4;
constexpr std::string_view kOwner = "huffman code";

[[noreturn]] void corrupt(std::string_view reason) {
  fail(ErrorCode::kCorrupt, "{}: {} (damaged file)", kOwner, reason);
}

// The payload:
//     u8 first, u8 last        the smallest and the largest symbol that occurs
//     lengths of the words of first .. last, 4 bits each, the first in the low half of a byte
//     u32 bytes of stream 0, 1, 2
//     streams 0 to 3; q = ceil(n / 4), stream s holds symbols [s q, min(n, (s + 1) q))
// Words are canonical: ordered by length, then symbol, each the one before plus 1, extended with
// zeros where the length grows. A stream fills bytes from their lowest bit; a word's highest bit
// comes first.
struct Word {
  uint16_t bits = 0;  // in the order of the stream: the first bit lowest
  uint8_t length = 0;
};

std::array<Word, 256> make_words(const CodeLengths& lengths) {
  std::array<Word, 256> words{};
  uint32_t next = 0;
  for (int length = 1; length <= kMaxLength; ++length) {
    for (size_t s = 0; s < lengths.size(); ++s) {
      if (lengths[s] != length) continue;
      uint32_t reversed = 0;
      for (int i = 0; i < length; ++i) reversed |= (next >> i & 1u) << (length - 1 - i);
      words[s] = {static_cast<uint16_t>(reversed), static_cast<uint8_t>(length)};
      ++next;
    }
    next <<= 1;
  }
  return words;
}

// The words at the front of 12 bits: one, and a second if it is whole.
struct Entry {
  uint8_t symbols[2] = {0, 0};
  uint8_t lengths = 0;  // low half: of the first word; high half: of all words
  uint8_t count = 0;
};
static_assert(sizeof(Entry) == 4);
using Table = std::array<Entry, kTableSize>;

void fill_table(const std::array<Word, 256>& words, Table& table) {
  for (size_t s = 0; s < words.size(); ++s) {
    const Word word = words[s];
    if (word.length == 0) continue;
    const Entry entry{{static_cast<uint8_t>(s), 0}, word.length, 1};
    for (size_t i = word.bits; i < kTableSize; i += size_t{1} << word.length) table[i] = entry;
  }
  // Entries of single words are read while pairs are written: at a smaller or the same index.
  Table single = table;
  for (size_t i = 0; i < kTableSize; ++i) {
    Entry& entry = table[i];
    const int length = entry.lengths;
    const Entry& second = single[i >> length];
    const int both = length + second.lengths;
    entry.lengths = static_cast<uint8_t>(length | length << 4);
    if (both > kMaxLength) continue;
    entry.symbols[1] = second.symbols[0];
    entry.lengths = static_cast<uint8_t>(length | both << 4);
    entry.count = 2;
  }
}

class BitWriter {
 public:
  explicit BitWriter(std::vector<std::byte>& out) : out_(out) {}
  void put(Word word) {
    pending_ |= uint64_t{word.bits} << count_;
    count_ += word.length;
    if (count_ >= 32) {
      append_number(out_, static_cast<uint32_t>(pending_));
      pending_ >>= 32;
      count_ -= 32;
    }
  }
  void finish() {
    for (; count_ > 0; count_ -= 8) {
      out_.push_back(static_cast<std::byte>(pending_));
      pending_ >>= 8;
    }
  }

 private:
  std::vector<std::byte>& out_;
  uint64_t pending_ = 0;
  int count_ = 0;
};

// One stream while it is decoded.
struct Stream {
  const std::byte* bytes = nullptr;
  size_t size = 0;
  size_t position = 0;  // in bits
  uint8_t* out = nullptr;
  uint8_t* end = nullptr;

  // Whether step() stays inside bytes and output.
  bool roomy() const { return position / 8 + 8 <= size && end - out >= 8; }

  // Four look-ups, 4 to 8 symbols.
  void step(const Table& table) {
    auto bits = load_number<uint64_t>(bytes + position / 8) >> (position & 7);
    for (int i = 0; i < 4; ++i) {
      const Entry entry = table[bits & (kTableSize - 1)];
      std::memcpy(out, entry.symbols, 2);
      out += entry.count;
      bits >>= entry.lengths >> 4;
      position += entry.lengths >> 4;
    }
  }

  // One symbol at a time, to the end of the output.
  void finish(const Table& table) {
    while (out < end) {
      uint64_t bits = 0;
      const size_t at = position / 8;
      if (at < size) std::memcpy(&bits, bytes + at, std::min<size_t>(size - at, 8));
      const Entry entry = table[bits >> (position & 7) & (kTableSize - 1)];
      *out++ = entry.symbols[0];
      position += entry.lengths & 15;
      if (position > 8 * size) corrupt("a stream ends too early");
    }
    if ((position + 7) / 8 != size) corrupt("a stream goes on after its last symbol");
    if (position % 8 != 0 && std::to_integer<int>(bytes[size - 1]) >> (position % 8) != 0) {
      corrupt("bits after the last symbol are not 0");
    }
  }
};

CodeLengths read_lengths(ByteReader& in) {
  const auto first = in.number<uint8_t>();
  const auto last = in.number<uint8_t>();
  if (first >= last) corrupt("its smallest symbol is not below its largest");
  const auto halves = in.take(static_cast<uint64_t>(last - first) / 2 + 1);
  CodeLengths lengths{};
  uint32_t filled = 0;  // of the code space, in units of 2^-12
  for (size_t i = 0; first + i <= last; ++i) {
    const int length = std::to_integer<int>(halves[i / 2]) >> (i % 2 * 4) & 15;
    if (length > kMaxLength) corrupt("a word is longer than 12 bits");
    lengths[first + i] = static_cast<uint8_t>(length);
    if (length > 0) filled += uint32_t{1} << (kMaxLength - length);
  }
  if (filled != kTableSize) corrupt("its words do not fill the code space");
  return lengths;
}

class Huffman final : public EntropyCoder {
 public:
  const PartInfo& info() const override { return info_; }

  uint64_t estimate_bytes(const Histogram& counts) const override {
    const CodeLengths lengths = limited_code_lengths(counts, kMaxLength);
    uint64_t bits = 0;
    for (size_t s = 0; s < counts.size(); ++s) bits += uint64_t{counts[s]} * lengths[s];
    return bits / 8 + 2 + (last_symbol(lengths) - first_symbol(lengths)) / 2 + 1 + 16;
  }

  void encode(std::span<const uint8_t> symbols, const Histogram& counts,
              std::vector<std::byte>& out) const override {
    const CodeLengths lengths = limited_code_lengths(counts, kMaxLength);
    const std::array<Word, 256> words = make_words(lengths);
    const size_t first = first_symbol(lengths);
    const size_t last = last_symbol(lengths);
    append_number(out, static_cast<uint8_t>(first));
    append_number(out, static_cast<uint8_t>(last));
    for (size_t s = first; s <= last; s += 2) {
      const int high = s < last ? lengths[s + 1] : 0;
      append_number(out, static_cast<uint8_t>(lengths[s] | high << 4));
    }
    const size_t sizes = out.size();
    out.resize(out.size() + (kStreams - 1) * sizeof(uint32_t));
    const size_t part = (symbols.size() + kStreams - 1) / kStreams;
    for (size_t s = 0; s < kStreams; ++s) {
      const size_t begin = std::min(symbols.size(), s * part);
      const size_t count = std::min(part, symbols.size() - begin);
      const size_t start = out.size();
      BitWriter writer(out);
      for (const uint8_t symbol : symbols.subspan(begin, count)) writer.put(words[symbol]);
      writer.finish();
      const auto size = static_cast<uint32_t>(out.size() - start);
      if (s + 1 < kStreams) std::memcpy(out.data() + sizes + 4 * s, &size, sizeof(size));
    }
  }

  void decode(std::span<const std::byte> bytes, std::span<uint8_t> symbols) const override {
    ByteReader in(bytes, kOwner);
    Table table;
    fill_table(make_words(read_lengths(in)), table);
    std::array<uint32_t, kStreams - 1> sizes{};
    for (uint32_t& size : sizes) size = in.number<uint32_t>();
    const size_t part = (symbols.size() + kStreams - 1) / kStreams;
    std::array<Stream, kStreams> streams;
    for (size_t s = 0; s < kStreams; ++s) {
      const auto code = s + 1 < kStreams ? in.take(sizes[s]) : in.rest();
      const size_t begin = std::min(symbols.size(), s * part);
      const size_t count = std::min(part, symbols.size() - begin);
      uint8_t* out = symbols.data() + begin;
      streams[s] = {code.data(), code.size(), 0, out, out + count};
    }
    Stream a = streams[0];  // locals, which the compiler keeps in registers
    Stream b = streams[1];
    Stream c = streams[2];
    Stream d = streams[3];
    while (a.roomy() && b.roomy() && c.roomy() && d.roomy()) {
      a.step(table);
      b.step(table);
      c.step(table);
      d.step(table);
    }
    for (Stream* stream : {&a, &b, &c, &d}) {
      while (stream->roomy()) stream->step(table);
      stream->finish(table);
    }
  }

 private:
  static size_t first_symbol(const CodeLengths& lengths) {
    return static_cast<size_t>(std::ranges::find_if(lengths, [](int l) { return l > 0; }) -
                               lengths.begin());
  }
  static size_t last_symbol(const CodeLengths& lengths) {
    size_t last = lengths.size() - 1;
    while (last > 0 && lengths[last] == 0) --last;
    return last;
  }

  PartInfo info_ = {.id = "huffman",
                    .summary = "canonical prefix codes of at most 12 bits: fast to decode",
                    .source = "Huffman 1952; Larmore and Hirschberg 1990 (limited lengths)"};
};

const Registration<EntropyCoder, Huffman> kRegistration;

}  // namespace
}  // namespace bitsmith

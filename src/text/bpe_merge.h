// The merging loop that both kinds of byte-pair encoding share.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <optional>
#include <unordered_set>
#include <vector>

#include "text/tokenizer.h"

namespace bitsmith::text {

// What two neighbouring symbols merge into.
struct Merge {
  int32_t rank;  // the lowest rank in the text is applied first; equal ranks from the left
  TokenId result;
};

// A symbol of a word, at begin..end of it, in any unit that orders neighbours: each symbol begins
// where the one before it ends.
struct Symbol {
  TokenId id;
  int32_t begin, end;
};

// Between which characters a merge can happen at all. Where none can, a text falls into parts that
// never interact: merging them one by one gives the same symbols, with small heaps.
class Seams {
 public:
  void allow(char32_t left, char32_t right) {
    if (left < kDirect && right < kDirect) {
      direct_.set(left * kDirect + right);
    } else {
      others_.insert(key(left, right));
    }
  }
  bool allowed(char32_t left, char32_t right) const {
    if (left < kDirect && right < kDirect) return direct_.test(left * kDirect + right);
    return others_.contains(key(left, right));
  }

 private:
  static constexpr size_t kDirect = 256;
  static uint64_t key(char32_t left, char32_t right) { return uint64_t{left} << 32 | right; }
  std::bitset<kDirect * kDirect> direct_;
  std::unordered_set<uint64_t> others_;
};

// Merges neighbours until no two have a merge. Its buffers serve many calls.
// A linked list of symbols and a heap of candidates: O(n log n) time, O(n) memory. A candidate is
// stale, and skipped, when one of its symbols has been merged since.
class Merger {
 public:
  // Merges symbols[begin..end) in place and appends what remains to `merged`.
  //   find(left, right) -> std::optional<Merge>, for two neighbouring Symbols
  template <class Find>
  void merge(std::vector<Symbol>& symbols, size_t begin, size_t end, Find&& find,
             std::vector<Symbol>& merged) {
    Symbol* const part = symbols.data() + begin;
    const auto count = static_cast<int32_t>(end - begin);
    links_.resize(end - begin);
    heap_.clear();
    const auto consider = [&](int32_t left, int32_t right) {
      if (const std::optional<Merge> merge = find(part[left], part[right])) {
        heap_.push_back({merge->rank, left, part[right].end, merge->result});
        return true;
      }
      return false;
    };
    for (int32_t i = 0; i < count; ++i) {
      link(i) = {i - 1, i + 1 < count ? i + 1 : -1, false};
      if (i > 0) consider(i - 1, i);
    }
    std::make_heap(heap_.begin(), heap_.end());
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate top = heap_.back();
      heap_.pop_back();
      const int32_t right = link(top.left).next;
      // A symbol grows only to the right, by taking its whole neighbour: if the neighbour still
      // ends where it did, the pair is the one that the candidate was made for.
      if (link(top.left).gone || right < 0 || part[right].end != top.end) continue;
      part[top.left].id = top.result;
      part[top.left].end = top.end;
      link(right).gone = true;
      const int32_t before = link(top.left).previous, after = link(right).next;
      link(top.left).next = after;
      if (after >= 0) link(after).previous = top.left;
      if (before >= 0 && consider(before, top.left)) std::push_heap(heap_.begin(), heap_.end());
      if (after >= 0 && consider(top.left, after)) std::push_heap(heap_.begin(), heap_.end());
    }
    for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = link(i).next) merged.push_back(part[i]);
  }

 private:
  struct Links {
    int32_t previous, next;  // -1: none
    bool gone;               // merged into its left neighbour
  };
  struct Candidate {
    int32_t rank, left, end;  // index of the left symbol, end of the right one
    TokenId result;
    bool operator<(const Candidate& other) const {  // the heap's top is the largest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  Links& link(int32_t i) { return links_[static_cast<size_t>(i)]; }

  std::vector<Links> links_;
  std::vector<Candidate> heap_;
};

// Merges all symbols of a word.
//   joinable(left, right): whether a merge may ever cross between two neighbouring Symbols
template <class Joinable, class Find>
std::vector<Symbol> merge_symbols(std::vector<Symbol> symbols, Joinable&& joinable, Find&& find) {
  std::vector<Symbol> merged;
  Merger merger;
  for (size_t begin = 0; begin < symbols.size();) {
    size_t end = begin + 1;
    while (end < symbols.size() && joinable(symbols[end - 1], symbols[end])) ++end;
    merger.merge(symbols, begin, end, find, merged);
    begin = end;
  }
  return merged;
}

}  // namespace bitsmith::text

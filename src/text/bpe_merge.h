// The merging loop that both kinds of byte-pair encoding share.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <utility>
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

// Merges neighbours until no two have a merge.
//   find(left, right) -> std::optional<Merge>, for two neighbouring Symbols
// A linked list of symbols and a heap of candidates: O(n log n) time, O(n) memory. A candidate is
// stale, and skipped, when one of its symbols has been merged since.
template <class Find>
void merge_symbols(std::vector<Symbol>& symbols, Find&& find) {
  struct Links {
    int32_t previous, next;  // -1: none
  };
  struct Candidate {
    int32_t rank, left, end;  // index of the left symbol, end of the right one
    TokenId result;
    bool operator<(const Candidate& other) const {  // the heap's top is the largest
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const auto count = static_cast<int32_t>(symbols.size());
  if (count < 2) return;
  std::vector<Links> links(symbols.size());
  const auto symbol = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto link = [&](int32_t i) -> Links& { return links[static_cast<size_t>(i)]; };

  std::vector<Candidate> candidates;
  const auto candidate = [&](int32_t left, int32_t right) -> std::optional<Candidate> {
    const std::optional<Merge> merge = find(symbol(left), symbol(right));
    if (!merge) return std::nullopt;
    return Candidate{merge->rank, left, symbol(right).end, merge->result};
  };
  for (int32_t i = 0; i < count; ++i) {
    link(i) = {i - 1, i + 1 < count ? i + 1 : -1};
    if (i == 0) continue;
    if (const auto found = candidate(i - 1, i)) candidates.push_back(*found);
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(candidates));

  std::vector<bool> gone(symbols.size(), false);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    if (gone[static_cast<size_t>(top.left)]) continue;
    const int32_t right = link(top.left).next;
    // A symbol grows only to the right, by taking its whole neighbour: if the neighbour still ends
    // where it did, the pair is the one that the candidate was made for.
    if (right < 0 || symbol(right).end != top.end) continue;
    symbol(top.left).id = top.result;
    symbol(top.left).end = top.end;
    gone[static_cast<size_t>(right)] = true;
    link(top.left).next = link(right).next;
    if (link(right).next >= 0) link(link(right).next).previous = top.left;
    const int32_t before = link(top.left).previous, after = link(top.left).next;
    if (before >= 0) {
      if (const auto found = candidate(before, top.left)) queue.push(*found);
    }
    if (after >= 0) {
      if (const auto found = candidate(top.left, after)) queue.push(*found);
    }
  }
  size_t kept = 0;
  for (int32_t i = 0; i >= 0; i = link(i).next) symbols[kept++] = symbol(i);
  symbols.resize(kept);
}

}  // namespace bitsmith::text

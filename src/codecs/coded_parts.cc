#include "codecs/coded_parts.h"

#include <algorithm>

namespace bitsmith {

void CodedParts::add(Scheme scheme, const MatrixShape& shape) {
  const uint64_t size = scheme.codec->encoded_bytes(shape, scheme.options);
  parts_.push_back({std::move(scheme), shape, total_bytes_, size});
  total_bytes_ += size;
}

void CodedParts::decode(const CodedPart& part, std::span<const std::byte> bytes, int64_t row_begin,
                        int64_t row_count, float* out) const {
  BITSMITH_ASSERT(bytes.size() == total_bytes_);
  part.scheme.codec->decode(part.shape, part.scheme.options,
                            bytes.subspan(part.offset_bytes, part.size_bytes), row_begin, row_count,
                            out);
}

std::vector<SymbolStream> CodedParts::symbol_streams() const {
  std::vector<SymbolStream> streams;
  if (own_bytes_ > 0) streams.push_back({8, static_cast<int64_t>(own_bytes_)});
  for (const CodedPart& part : parts_) {
    const auto own = part.scheme.codec->symbol_streams(part.shape, part.scheme.options);
    streams.insert(streams.end(), own.begin(), own.end());
  }
  return streams;
}

std::pair<const CodedPart*, size_t> CodedParts::part_of(size_t stream) const {
  if (own_bytes_ > 0 && stream-- == 0) return {nullptr, 0};
  for (const CodedPart& part : parts_) {
    const size_t count = part.scheme.codec->symbol_streams(part.shape, part.scheme.options).size();
    if (stream < count) return {&part, stream};
    stream -= count;
  }
  BITSMITH_ASSERT(false);
  return {nullptr, 0};
}

void CodedParts::split_symbols(std::span<const std::byte> bytes, size_t stream, int64_t begin,
                               std::span<uint8_t> symbols) const {
  const auto [part, own] = part_of(stream);
  if (part == nullptr) {
    std::ranges::transform(bytes.subspan(static_cast<size_t>(begin), symbols.size()),
                           symbols.begin(),
                           [](std::byte b) { return std::to_integer<uint8_t>(b); });
    return;
  }
  part->scheme.codec->split_symbols(part->shape, part->scheme.options,
                                    bytes.subspan(part->offset_bytes, part->size_bytes), own, begin,
                                    symbols);
}

void CodedParts::join_symbols(size_t stream, int64_t begin, std::span<const uint8_t> symbols,
                              std::span<std::byte> bytes) const {
  const auto [part, own] = part_of(stream);
  if (part == nullptr) {
    std::ranges::transform(symbols, bytes.begin() + begin, [](uint8_t s) { return std::byte{s}; });
    return;
  }
  part->scheme.codec->join_symbols(part->shape, part->scheme.options, own, begin, symbols,
                                   bytes_of(*part, bytes));
}

ProductCost largest_cost(const std::vector<Scheme>& schemes) {
  ProductCost largest{0, 0, 0, 0, true};
  for (const Scheme& scheme : schemes) {
    const ProductCost cost = scheme.codec->product_cost(scheme.options);
    largest.multiplications = std::max(largest.multiplications, cost.multiplications);
    largest.shifts = std::max(largest.shifts, cost.shifts);
    largest.additions = std::max(largest.additions, cost.additions);
    largest.bits = std::max(largest.bits, cost.bits);
    largest.skips_zeros = largest.skips_zeros && cost.skips_zeros;
  }
  return largest;
}

void fit_all_groups(Encoder& encoder, int64_t cols, int64_t row_begin, int64_t row_count,
                    const float* w, int64_t stride, const FitOptions& fit) {
  const int64_t group_cols = encoder.group_cols();
  for (int64_t begin = 0; begin < cols; begin += group_cols) {
    FitOptions group_fit = fit;
    if (fit.importance != nullptr) group_fit.importance += begin;
    encoder.fit_group(begin / group_cols, row_begin, row_count, w + begin * stride, stride,
                      group_fit);
  }
}

}  // namespace bitsmith

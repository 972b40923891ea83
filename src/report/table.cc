#include "report/table.h"

#include <algorithm>

#include "core/error.h"

namespace bitsmith {
namespace {

size_t width(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

void append_line(std::string& out, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + '\n';
}

}  // namespace

Column left(std::string title) { return {std::move(title), Column::Align::kLeft}; }
Column right(std::string title) { return {std::move(title), Column::Align::kRight}; }

void Table::add_row(std::vector<std::string> cells) {
  BITSMITH_ASSERT(cells.size() == columns_.size() && !cells.empty());
  rows_.push_back(std::move(cells));
}

void Table::add_rule() { rows_.emplace_back(); }

std::string Table::text() const {
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(width(column.title));
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  }
  size_t total = widths.empty() ? 0 : 2 * (widths.size() - 1);
  for (const size_t w : widths) total += w;

  std::string out;
  const auto append_cells = [&](const auto& cell_of) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string& cell = cell_of(c);
      const std::string padding(widths[c] - width(cell), ' ');
      if (c > 0) line += "  ";
      line += columns_[c].align == Column::Align::kLeft ? cell + padding : padding + cell;
    }
    append_line(out, std::move(line));
  };
  append_cells([&](size_t c) -> const std::string& { return columns_[c].title; });
  append_line(out, std::string(total, '-'));
  for (const auto& row : rows_) {
    if (row.empty()) {
      append_line(out, std::string(total, '-'));
    } else {
      append_cells([&](size_t c) -> const std::string& { return row[c]; });
    }
  }
  return out;
}

void FactList::add(std::string name, std::string value) {
  facts_.emplace_back(std::move(name), std::move(value));
}

std::string FactList::text() const {
  size_t widest = 0;
  for (const auto& [name, value] : facts_) widest = std::max(widest, width(name));
  std::string out;
  for (const auto& [name, value] : facts_) {
    append_line(out, name + std::string(widest - width(name) + 2, ' ') + value);
  }
  return out;
}

}  // namespace bitsmith

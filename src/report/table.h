// Aligned text tables, as all commands print them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bitsmith {

struct Column {
  enum class Align { kLeft, kRight };
  std::string title;  // with the unit: "tokens/s"
  Align align = Align::kLeft;
};
Column left(std::string title);
Column right(std::string title);  // for numbers

// Two spaces between columns, a title row; widths are counted in UTF-8 code points.
//     role          tensors    weights      size
//     ------------------------------------------
//     attention.q         6    393,216  786.4 kB
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void add_row(std::vector<std::string> cells);  // one for each column
  void add_rule();                               // a line, before totals
  bool empty() const { return rows_.empty(); }
  std::string text() const;  // every line ends with '\n', none with spaces

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

// "name:  value" lines with the values aligned.
class FactList {
 public:
  void add(std::string name, std::string value);
  std::string text() const;

 private:
  std::vector<std::pair<std::string, std::string>> facts_;
};

}  // namespace bitsmith

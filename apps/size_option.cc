#include "size_option.h"

#include <charconv>
#include <cmath>
#include <map>
#include <sstream>

#include "core/error.h"

namespace bitsmith {
namespace {

// Reads a number from the front of `text` and removes it; false if there is none.
bool take_number(std::string_view& text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value)) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

}  // namespace

uint64_t parse_size(const std::string& text, const std::string& option) {
  static const std::map<std::string, double, std::less<>> kUnits = {{"", 1},
                                                                    {"B", 1},
                                                                    {"KB", 1e3},
                                                                    {"MB", 1e6},
                                                                    {"GB", 1e9},
                                                                    {"TB", 1e12},
                                                                    {"KiB", 1024.0},
                                                                    {"MiB", 1048576.0},
                                                                    {"GiB", 1073741824.0},
                                                                    {"TiB", 1099511627776.0}};
  std::string_view rest = text;
  double value = 0;
  const bool number = take_number(rest, value);
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  const auto unit = kUnits.find(rest);
  if (!number || unit == kUnits.end() || !(value * unit->second >= 1) ||
      value * unit->second > 1e18) {
    fail(ErrorCode::kInvalidArgument, "{} '{}': expected a size such as 180MB, 1.5GB or 512MiB",
         option, text);
  }
  return static_cast<uint64_t>(value * unit->second);
}

std::vector<double> parse_numbers(const std::string& text, const std::string& option) {
  const auto refuse = [&] {
    fail(ErrorCode::kInvalidArgument, "{} '{}': expected numbers such as 2..6, 2..6:0.5 or 2,2.5,3",
         option, text);
  };
  std::vector<double> numbers;
  const size_t dots = text.find("..");
  if (dots != std::string::npos) {
    const size_t colon = text.find(':', dots);
    std::string_view first = std::string_view(text).substr(0, dots);
    std::string_view last = std::string_view(text).substr(dots + 2, colon - dots - 2);
    std::string_view step_text =
        colon == std::string::npos ? "1" : std::string_view(text).substr(colon + 1);
    double begin = 0;
    double end = 0;
    double step = 0;
    if (!take_number(first, begin) || !take_number(last, end) || !take_number(step_text, step) ||
        !first.empty() || !last.empty() || !step_text.empty() || !(step > 0) || end < begin ||
        (end - begin) / step > 1000) {
      refuse();
    }
    for (int i = 0; begin + i * step <= end + 1e-9; ++i) numbers.push_back(begin + i * step);
    return numbers;
  }
  std::istringstream stream(text + ",");  // the end of the last one
  for (std::string part; std::getline(stream, part, ',');) {
    std::string_view rest = part;
    double value = 0;
    if (!take_number(rest, value) || !rest.empty()) refuse();
    numbers.push_back(value);
  }
  return numbers;
}

}  // namespace bitsmith

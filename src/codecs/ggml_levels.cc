#include "codecs/ggml_levels.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"

namespace bitsmith {

LevelGrid::LevelGrid(const GgmlFormat& format)
    : count(format.used_codes), first_code(format.first_code) {
  const auto first = format.levels.begin() + format.first_code;
  std::vector<std::pair<float, uint8_t>> used;
  for (int i = 0; i < format.used_codes; ++i) {
    used.emplace_back(first[i], static_cast<uint8_t>(format.first_code + i));
  }
  uniform = true;
  for (size_t i = 1; i < used.size(); ++i) uniform &= used[i].first == used[i - 1].first + 1.0F;
  if (uniform) {
    zero = -used.front().first;
    max_index = static_cast<float>(count - 1);
    return;
  }
  std::ranges::stable_sort(used, {}, &std::pair<float, uint8_t>::first);
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  used.erase(std::unique(used.begin(), used.end(), same), used.end());
  count = static_cast<int>(used.size());
  BITSMITH_ASSERT(count <= kMaxTable);
  for (size_t i = 0; i < used.size(); ++i) {
    levels[i] = used[i].first;
    codes[i] = used[i].second;
    if (i + 1 < used.size()) middles[i] = 0.5F * (used[i].first + used[i + 1].first);
  }
}

}  // namespace bitsmith

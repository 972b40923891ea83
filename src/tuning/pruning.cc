#include "tuning/pruning.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bitsmith {
namespace {

// How much larger the magnitude of a kept weight counts.
constexpr double kHysteresis = 1.1;

// One matrix's weights as they are ranked.
struct Ranked {
  TunedParameter* parameter;
  std::vector<double> magnitude;  // of each weight, a kept one's times kHysteresis
  std::vector<bool> held;
};

Ranked rank(TunedParameter& parameter, const PruneOptions& options) {
  Ranked result{&parameter, {}, {}};
  const at::Tensor numbers = parameter.numbers.contiguous();
  const float* w = numbers.data_ptr<float>();
  const auto count = static_cast<size_t>(numbers.numel());
  result.held.assign(count, false);
  if (parameter.held.defined()) {
    const at::Tensor held = parameter.held.contiguous();
    const bool* flags = held.data_ptr<bool>();
    result.held.assign(flags, flags + count);
  }
  result.magnitude.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const double magnitude = std::fabs(static_cast<double>(w[i]));
    // Without regrowth a held weight is behind all others.
    result.magnitude[i] = !result.held[i]  ? kHysteresis * magnitude
                          : options.regrow ? magnitude
                                           : -1.0;
  }
  return result;
}

// Indices by rising magnitude.
std::vector<size_t> ascending(const std::vector<double>& magnitude) {
  std::vector<size_t> order(magnitude.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return magnitude[a] < magnitude[b]; });
  return order;
}

void hold(const Ranked& ranked, const std::vector<bool>& held, bool learn) {
  TunedParameter& parameter = *ranked.parameter;
  at::Tensor flags = at::zeros(parameter.shape, at::kBool);
  std::copy(held.begin(), held.end(), flags.data_ptr<bool>());
  parameter.held = flags;
  parameter.held_values = at::zeros(parameter.shape);
  parameter.held_learn = learn;
}

void prune_blocks(const Ranked& ranked, double sparsity, const PruneOptions& options) {
  const auto rows = static_cast<size_t>(std::max<int64_t>(ranked.parameter->shape[0], 1));
  const size_t cols = ranked.magnitude.size() / rows;
  const auto block = static_cast<size_t>(options.block);
  std::vector<bool> held(ranked.magnitude.size(), false);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t begin = 0; begin < cols; begin += block) {
      const size_t width = std::min(block, cols - begin);
      const auto first = ranked.magnitude.begin() + static_cast<std::ptrdiff_t>(row * cols + begin);
      const std::vector<double> part(first, first + static_cast<std::ptrdiff_t>(width));
      const auto count = static_cast<size_t>(sparsity * static_cast<double>(width) + 1e-9);
      const std::vector<size_t> order = ascending(part);
      for (size_t i = 0; i < count; ++i) held[row * cols + begin + order[i]] = true;
    }
  }
  hold(ranked, held, options.regrow);
}

// Turns magnitudes into LAMP scores: both rise together within a matrix.
void to_lamp(std::vector<double>& magnitude) {
  const std::vector<size_t> order = ascending(magnitude);
  double rest = 0;
  for (size_t i = order.size(); i-- > 0;) {
    double& m = magnitude[order[i]];
    if (m < 0) continue;
    rest += m * m;
    m = rest > 0 ? m * m / rest : 0;
  }
}

}  // namespace

double sparsity_at(const PruneOptions& options, int64_t done, int64_t total) {
  const double share = static_cast<double>(done) / static_cast<double>(std::max<int64_t>(total, 1));
  if (share < options.begin) return 0;
  if (share >= options.end) return options.sparsity;
  const double rest = 1 - (share - options.begin) / (options.end - options.begin);
  return options.sparsity * (1 - rest * rest * rest);
}

void prune(TunedNetwork& network, double sparsity, const PruneOptions& options) {
  std::vector<Ranked> matrices;
  for (TunedParameter* parameter : network.matrices())
    matrices.push_back(rank(*parameter, options));
  if (options.block > 0) {
    for (const Ranked& ranked : matrices) prune_blocks(ranked, sparsity, options);
    return;
  }
  if (options.scope == PruneScope::kLamp) {
    for (Ranked& ranked : matrices) to_lamp(ranked.magnitude);
  }
  if (options.scope == PruneScope::kLayer) {
    for (const Ranked& ranked : matrices) {
      const size_t count = ranked.magnitude.size();
      const auto pruned = static_cast<size_t>(std::llround(sparsity * static_cast<double>(count)));
      const std::vector<size_t> order = ascending(ranked.magnitude);
      std::vector<bool> held(count, false);
      for (size_t i = 0; i < pruned; ++i) held[order[i]] = true;
      hold(ranked, held, options.regrow);
    }
    return;
  }
  std::vector<double> all;
  for (const Ranked& ranked : matrices) {
    all.insert(all.end(), ranked.magnitude.begin(), ranked.magnitude.end());
  }
  const auto pruned = static_cast<size_t>(std::llround(sparsity * static_cast<double>(all.size())));
  const std::vector<size_t> order = ascending(all);
  std::vector<bool> held(all.size(), false);
  for (size_t i = 0; i < pruned; ++i) held[order[i]] = true;
  auto next = held.begin();
  for (const Ranked& ranked : matrices) {
    const auto end = next + static_cast<std::ptrdiff_t>(ranked.magnitude.size());
    hold(ranked, std::vector<bool>(next, end), options.regrow);
    next = end;
  }
}

Density density_of(const TunedNetwork& network) {
  Density density;
  for (const TunedParameter& parameter : network.parameters()) {
    if (!parameter.is_matrix) continue;
    const at::Tensor value = parameter.value();
    density.kept += value.ne(0).sum().item<int64_t>();
    density.weights += value.numel();
  }
  return density;
}

}  // namespace bitsmith

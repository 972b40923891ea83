#include "tuning/coding.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace bitsmith {
namespace {

constexpr int64_t kChunkRows = 64;

// Weights that are coded as one, by their positions.
struct Unit {
  int64_t begin = 0;
  int64_t end = 0;
  bool held = false;
  double power = 0;  // the sum of their squares
};

// The share of the units with a weight that could be free which is to be held: those that are held
// already, then the largest.
std::vector<Unit> units_to_hold(const at::Tensor& value, const at::Tensor& could_be_free,
                                const at::Tensor& held, int64_t block_cols, double share) {
  const MatrixShape shape = matrix_shape(value.sizes().vec());
  const float* w = value.data_ptr<float>();
  std::vector<Unit> units;
  for (int64_t row = 0; row < shape.rows; ++row) {
    for (int64_t col = 0; col < shape.cols; col += block_cols) {
      Unit unit{row * shape.cols + col, row * shape.cols + std::min(col + block_cols, shape.cols),
                true, 0};
      bool counts = false;
      for (int64_t i = unit.begin; i < unit.end; ++i) {
        counts = counts || could_be_free.data_ptr<bool>()[i];
        unit.held = unit.held && held.data_ptr<bool>()[i];
        unit.power += static_cast<double>(w[i]) * static_cast<double>(w[i]);
      }
      if (counts) units.push_back(unit);
    }
  }
  std::ranges::stable_sort(units, [](const Unit& a, const Unit& b) {
    return a.held != b.held ? a.held : a.power > b.power;
  });
  units.resize(static_cast<size_t>(std::llround(share * static_cast<double>(units.size()))));
  return units;
}

std::span<const float> numbers_of(const at::Tensor& plain) {
  return {plain.data_ptr<float>(), static_cast<size_t>(plain.numel())};
}

}  // namespace

CodedMatrix::CodedMatrix(const Scheme& scheme, const Shape& shape, const at::Tensor& values,
                         int search_steps, ThreadPool& pool)
    : scheme_(scheme),
      shape_(shape),
      matrix_(matrix_shape(shape)),
      encoder_(scheme.codec->encoder(matrix_, scheme.options)) {
  const at::Tensor plain = values.contiguous();
  const FitOptions fit{.search_steps = search_steps};
  encoder_->prepare(numbers_of(plain), fit, pool);
  const auto [rows, cols] = matrix_;
  const int64_t group = encoder_->group_cols();
  pool.run(ceil_div(rows, kChunkRows), [&, rows = rows, cols = cols](int64_t chunk, int) {
    const int64_t row = chunk * kChunkRows;
    const int64_t count = std::min(kChunkRows, rows - row);
    std::vector<float> w(static_cast<size_t>(std::min(group, cols) * count));
    for (int64_t begin = 0; begin < cols; begin += group) {
      const int64_t width = std::min(group, cols - begin);
      for (int64_t c = 0; c < width; ++c) {
        for (int64_t r = 0; r < count; ++r) {
          w[static_cast<size_t>(c * count + r)] =
              plain.data_ptr<float>()[(row + r) * cols + begin + c];
        }
      }
      encoder_->fit_group(begin / group, row, count, w.data(), count, fit);
    }
  });
}

at::Tensor CodedMatrix::quantize(const at::Tensor& values, ThreadPool& pool) {
  const at::Tensor plain = values.contiguous();
  at::Tensor result = at::empty(shape_);
  const auto [rows, cols] = matrix_;
  const int64_t block = encoder_->block_cols();
  pool.run(ceil_div(rows, kChunkRows), [&, rows = rows, cols = cols](int64_t chunk, int) {
    const int64_t row = chunk * kChunkRows;
    const int64_t count = std::min(kChunkRows, rows - row);
    std::vector<float> w(static_cast<size_t>(block * count));
    std::vector<float> q(w.size());
    for (int64_t begin = 0; begin < cols; begin += block) {
      const int64_t width = std::min(block, cols - begin);
      std::ranges::fill(w, 0.0F);
      for (int64_t c = 0; c < width; ++c) {
        for (int64_t r = 0; r < count; ++r) {
          w[static_cast<size_t>(c * count + r)] =
              plain.data_ptr<float>()[(row + r) * cols + begin + c];
        }
      }
      encoder_->quantize(begin, row, count, w.data(), q.data(), count);
      for (int64_t c = 0; c < width; ++c) {
        for (int64_t r = 0; r < count; ++r) {
          result.data_ptr<float>()[(row + r) * cols + begin + c] =
              q[static_cast<size_t>(c * count + r)];
        }
      }
    }
  });
  return result;
}

std::vector<std::byte> CodedMatrix::bytes() const {
  std::vector<std::byte> bytes(scheme_.codec->encoded_bytes(matrix_, scheme_.options));
  encoder_->finish(bytes);
  return bytes;
}

WeightQuantizer::WeightQuantizer(TunedNetwork& network,
                                 const std::map<std::string, Scheme>& schemes, int search_steps,
                                 ThreadPool& pool)
    : network_(network) {
  for (TunedParameter* parameter : network.matrices()) {
    const auto scheme = schemes.find(parameter->name);
    if (scheme == schemes.end()) continue;
    const at::Tensor value = parameter->value();
    matrices_.emplace(parameter->name,
                      CodedMatrix(scheme->second, parameter->shape, value, search_steps, pool));
    free_[parameter->name] = parameter->held.defined() ? parameter->held.logical_not()
                                                       : at::ones(parameter->shape, at::kBool);
  }
}

void WeightQuantizer::hold_share(double share, ThreadPool& pool) {
  for (TunedParameter* parameter : network_.matrices()) {
    const auto matrix = matrices_.find(parameter->name);
    if (matrix == matrices_.end()) continue;
    hold_share_of(*parameter, matrix->second, share, pool);
  }
}

void WeightQuantizer::hold_share_of(TunedParameter& parameter, CodedMatrix& matrix, double share,
                                    ThreadPool& pool) const {
  const at::Tensor value = parameter.value().contiguous();
  const at::Tensor quantized = matrix.quantize(value, pool);
  at::Tensor held =
      parameter.held.defined() ? parameter.held.clone() : at::zeros(parameter.shape, at::kBool);
  at::Tensor values = at::where(held, value, at::zeros({}));
  if (share >= 1) {
    held.fill_(true);
    values = quantized;
  } else {
    const at::Tensor could = free_.at(parameter.name).contiguous();
    for (const Unit& unit : units_to_hold(value, could, held, matrix.block_cols(), share)) {
      for (int64_t i = unit.begin; i < unit.end; ++i) {
        held.data_ptr<bool>()[i] = true;
        values.data_ptr<float>()[i] = quantized.data_ptr<float>()[i];
      }
    }
  }
  parameter.held = held;
  parameter.held_values = values;
  parameter.held_learn = false;
}

void WeightQuantizer::hold_straight_through(ThreadPool& pool) {
  for (TunedParameter* parameter : network_.matrices()) {
    const auto matrix = matrices_.find(parameter->name);
    if (matrix == matrices_.end()) continue;
    const at::Tensor& free = free_.at(parameter->name);
    parameter->held_values =
        matrix->second.quantize(at::where(free, parameter->numbers, at::zeros({})), pool);
    parameter->held = at::ones(parameter->shape, at::kBool);
    parameter->held_learn = true;
  }
}

int64_t share_values(TunedParameter& parameter) {
  const at::Tensor value = parameter.value().contiguous();
  const float* w = value.data_ptr<float>();
  std::vector<float> table(w, w + value.numel());
  std::erase(table, 0.0F);
  std::ranges::sort(table);
  table.erase(std::ranges::unique(table).begin(), table.end());
  at::Tensor codes = at::empty(parameter.shape, at::kLong);
  for (int64_t i = 0; i < value.numel(); ++i) {
    const auto place = std::ranges::lower_bound(table, w[i]);
    codes.data_ptr<int64_t>()[i] = w[i] == 0.0F ? -1 : place - table.begin();
  }
  parameter.held = at::Tensor();
  parameter.held_values = at::Tensor();
  parameter.held_learn = false;
  parameter.codes = codes;
  parameter.reset(at::tensor(at::ArrayRef<float>(table)));
  return static_cast<int64_t>(table.size());
}

}  // namespace bitsmith

// Operators of graph/operators_elementwise.h, on tensors of any layout.
#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/kernels/elementwise.h"
#include "runtime/network/network_operator.h"
#include "runtime/network/strided_loop.h"
#include "runtime/network/unary.h"

namespace bitsmith {
namespace {

constexpr int64_t kBlock = 256;  // elements computed beside the output, which may be an input

// What functions of one element are given beside it: up to two numbers of the node.
struct Numbers {
  float a = 0;
  float b = 0;
};

using Unary = float (*)(float x, const Numbers& n);
using Binary = float (*)(float a, float b);

// y[i * y_step] = kFunction(x[i * x_step])
using UnaryRun = void (*)(const Numbers& n, const float* x, int64_t x_step, int64_t count, float* y,
                          int64_t y_step);
template <Unary kFunction>
void run_unary(const Numbers& n, const float* x, int64_t x_step, int64_t count, float* y,
               int64_t y_step) {
  float block[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t size = std::min(kBlock, count - begin);
    const float* in = x + begin * x_step;
    if (x_step == 1) {
      for (int64_t i = 0; i < size; ++i) block[i] = kFunction(in[i], n);
    } else {
      for (int64_t i = 0; i < size; ++i) block[i] = kFunction(in[i * x_step], n);
    }
    float* out = y + begin * y_step;
    if (y_step == 1) {
      std::copy_n(block, size, out);
    } else {
      for (int64_t i = 0; i < size; ++i) out[i * y_step] = block[i];
    }
  }
}

// The same of two elements.
using BinaryRun = void (*)(const float* a, int64_t a_step, const float* b, int64_t b_step,
                           int64_t count, float* y, int64_t y_step);
template <Binary kFunction>
void run_binary(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t count,
                float* y, int64_t y_step) {
  float block[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t size = std::min(kBlock, count - begin);
    const float* p = a + begin * a_step;
    const float* q = b + begin * b_step;
    if (a_step == 1 && b_step == 1) {
      for (int64_t i = 0; i < size; ++i) block[i] = kFunction(p[i], q[i]);
    } else if (a_step == 1 && b_step == 0) {
      for (int64_t i = 0; i < size; ++i) block[i] = kFunction(p[i], *q);
    } else if (a_step == 0 && b_step == 1) {
      for (int64_t i = 0; i < size; ++i) block[i] = kFunction(*p, q[i]);
    } else {
      for (int64_t i = 0; i < size; ++i) block[i] = kFunction(p[i * a_step], q[i * b_step]);
    }
    float* out = y + begin * y_step;
    if (y_step == 1) {
      std::copy_n(block, size, out);
    } else {
      for (int64_t i = 0; i < size; ++i) out[i * y_step] = block[i];
    }
  }
}

// The same for what has a kernel for neighbouring elements.
template <Unary kFunction>
void run_clamp(const Numbers& n, const float* x, int64_t x_step, int64_t count, float* y,
               int64_t y_step) {
  if (x_step == 1 && y_step == 1) {
    clamp(x, n.a, n.b, count, y);
  } else {
    run_unary<kFunction>(n, x, x_step, count, y, y_step);
  }
}

using Kernel = void (*)(const float* a, const float* b, int64_t count, float* y) noexcept;
template <Binary kFunction, Kernel kKernel>
void run_kernel(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t count,
                float* y, int64_t y_step) {
  if (a_step == 1 && b_step == 1 && y_step == 1) {
    kKernel(a, b, count, y);
  } else {
    run_binary<kFunction>(a, a_step, b, b_step, count, y, y_step);
  }
}

// NaN stays NaN in all of them.
inline float sigmoid(float x, const Numbers&) { return 1 / (1 + std::exp(-x)); }
inline float silu_of(float x, const Numbers&) { return x / (1 + std::exp(-x)); }
inline float clip(float x, const Numbers& n) { return x < n.a ? n.a : x > n.b ? n.b : x; }
inline float hard_swish(float x, const Numbers&) { return x * clip(x * (1.0f / 6) + 0.5f, {0, 1}); }
inline float hard_sigmoid(float x, const Numbers& n) { return clip(n.a * x + n.b, {0, 1}); }
inline float leaky_relu(float x, const Numbers& n) { return x < 0 ? n.a * x : x; }
inline float elu(float x, const Numbers& n) { return x < 0 ? n.a * std::expm1(x) : x; }
inline float scale_of(float x, const Numbers& n) { return n.a * x; }
inline float soft_cap(float x, const Numbers& n) { return n.a * std::tanh(x / n.a); }
inline float tanh_of(float x, const Numbers&) { return std::tanh(x); }
inline float gelu(float x, const Numbers&) {
  return x / 2 * (1 + std::erf(x * 0.70710678118654752f));
}
inline float gelu_tanh(float x, const Numbers&) {
  return x / 2 * (1 + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}
inline float softplus(float x, const Numbers&) {
  return (x < 0 ? 0 : x) + std::log1p(std::exp(-std::abs(x)));
}
inline float abs_of(float x, const Numbers&) { return std::abs(x); }
inline float exp_of(float x, const Numbers&) { return std::exp(x); }
inline float log_of(float x, const Numbers&) { return std::log(x); }
inline float sqrt_of(float x, const Numbers&) { return std::sqrt(x); }
inline float erf_of(float x, const Numbers&) { return std::erf(x); }
inline float sin_of(float x, const Numbers&) { return std::sin(x); }
inline float cos_of(float x, const Numbers&) { return std::cos(x); }
inline float floor_of(float x, const Numbers&) { return std::floor(x); }
inline float ceil_of(float x, const Numbers&) { return std::ceil(x); }
inline float truncate(float x, const Numbers&) { return std::trunc(x); }
inline float round_even(float x, const Numbers&) { return std::nearbyint(x); }

inline float sum(float a, float b) { return a + b; }
inline float difference(float a, float b) { return a - b; }
inline float product(float a, float b) { return a * b; }
inline float quotient(float a, float b) { return a / b; }
inline float power(float a, float b) { return std::pow(a, b); }
inline float smaller(float a, float b) { return a < b || std::isnan(a) ? a : b; }
inline float larger(float a, float b) { return a > b || std::isnan(a) ? a : b; }
inline float is_equal(float a, float b) { return a == b ? 1 : 0; }
inline float is_less(float a, float b) { return a < b ? 1 : 0; }

Numbers numbers_of(std::string_view op, const Node& node) {
  // The first of these attributes that the node has.
  const auto number = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (node.attributes.contains(name)) return static_cast<float>(node.number(name));
    }
    return 0.0f;
  };
  Numbers numbers;
  numbers.a = op == "clip" ? number({"low"}) : number({"slope", "alpha", "factor", "cap"});
  numbers.b = op == "relu" ? std::numeric_limits<float>::infinity() : number({"high", "offset"});
  return numbers;
}

template <UnaryRun kRun, int64_t kCost>
class UnaryStep final : public NetworkStep {
 public:
  UnaryStep(NetworkPreparation& p, const Node& node)
      : x_(p.input(node, 0)), y_(p.output(node)), numbers_(numbers_of(node.op, node)) {}

  void run(NetworkFrame& frame) const override {
    const StridedLoop<2> loop(y_.extents(frame), {y_.strides(frame), x_.strides(frame)});
    loop.run(*frame.pool, kCost, [&](const std::array<int64_t, 2>& at, int64_t count) {
      kRun(numbers_, x_.data(frame) + at[1], loop.step(1), count, y_.data(frame) + at[0],
           loop.step(0));
    });
  }

 private:
  Operand x_, y_;
  Numbers numbers_;
};

template <BinaryRun kRun, int64_t kCost>
class BinaryStep final : public NetworkStep {
 public:
  BinaryStep(NetworkPreparation& p, const Node& node)
      : a_(p.input(node, 0)), b_(p.input(node, 1)), y_(p.output(node)) {
    clamped_ = node.attributes.contains("low");  // an activation joined to the sum
    if (!clamped_) return;
    limits_.a = static_cast<float>(node.number("low"));
    limits_.b = node.attributes.contains("high") ? static_cast<float>(node.number("high"))
                                                 : std::numeric_limits<float>::infinity();
  }

  void run(NetworkFrame& frame) const override {
    const Shape extents = y_.extents(frame);
    const auto strides = [&](const Operand& x) {
      return broadcast_strides(x.extents(frame), x.strides(frame), extents.size());
    };
    const StridedLoop<3> loop(extents, {y_.strides(frame), strides(a_), strides(b_)});
    loop.run(*frame.pool, kCost, [&](const std::array<int64_t, 3>& at, int64_t count) {
      const float* a = a_.data(frame) + at[1];
      const float* b = b_.data(frame) + at[2];
      float* y = y_.data(frame) + at[0];
      if (clamped_ && loop.step(0) == 1 && loop.step(1) == 1 && loop.step(2) == 1) {
        add_clamped(a, b, limits_.a, limits_.b, count, y);
        return;
      }
      kRun(a, loop.step(1), b, loop.step(2), count, y, loop.step(0));
      if (clamped_) run_clamp<clip>(limits_, y, loop.step(0), count, y, loop.step(0));
    });
  }

 private:
  Operand a_, b_, y_;
  bool clamped_ = false;
  Numbers limits_;
};

class Select final : public NetworkStep {
 public:
  Select(NetworkPreparation& p, const Node& node)
      : condition_(p.input(node, 0)),
        a_(p.input(node, 1)),
        b_(p.input(node, 2)),
        y_(p.output(node)) {}

  void run(NetworkFrame& frame) const override {
    const Shape extents = y_.extents(frame);
    const auto strides = [&](const Operand& x) {
      return broadcast_strides(x.extents(frame), x.strides(frame), extents.size());
    };
    const StridedLoop<4> loop(extents,
                              {y_.strides(frame), strides(condition_), strides(a_), strides(b_)});
    loop.run(*frame.pool, 2, [&](const std::array<int64_t, 4>& at, int64_t count) {
      float* y = y_.data(frame) + at[0];
      const float* condition = condition_.data(frame) + at[1];
      const float* a = a_.data(frame) + at[2];
      const float* b = b_.data(frame) + at[3];
      for (int64_t i = 0; i < count; ++i) {
        y[i * loop.step(0)] =
            condition[i * loop.step(1)] != 0 ? a[i * loop.step(2)] : b[i * loop.step(3)];
      }
    });
  }

 private:
  Operand condition_, a_, b_, y_;
};

// By the operator's id.
std::map<std::string, UnaryRun, std::less<>>& unary_runs() {
  static std::map<std::string, UnaryRun, std::less<>> runs;
  return runs;
}

// kCost: simple float operations.
template <Unary kFunction, int64_t kCost, UnaryRun kRun = run_unary<kFunction>>
NetworkOperator unary(const char* id) {
  unary_runs()[id] = kRun;
  return {{id, "element by element", "", {}},
          LayoutRule::kFollow,
          make_step<UnaryStep<kRun, kCost>>,
          {0}};
}

template <Binary kFunction, int64_t kCost = 1, BinaryRun kRun = run_binary<kFunction>>
NetworkOperator binary(const char* id) {
  return {{id, "element by element, broadcast", "", {}},
          LayoutRule::kFollow,
          make_step<BinaryStep<kRun, kCost>>,
          {0, 1}};
}

const NetworkOperators operators = {
    unary<clip, 1, run_clamp<clip>>("relu"),
    unary<sigmoid, 20>("sigmoid"),
    unary<silu_of, 20>("silu"),
    unary<clip, 1, run_clamp<clip>>("clip"),
    unary<hard_swish, 3>("hard_swish"),
    unary<hard_sigmoid, 2>("hard_sigmoid"),
    unary<leaky_relu, 1>("leaky_relu"),
    unary<elu, 20>("elu"),
    unary<tanh_of, 20>("tanh"),
    unary<scale_of, 1>("scale"),
    unary<soft_cap, 20>("soft_cap"),
    unary<gelu, 20>("gelu"),
    unary<gelu_tanh, 20>("gelu_tanh"),
    unary<softplus, 40>("softplus"),
    unary<abs_of, 1>("abs"),
    unary<exp_of, 20>("exp"),
    unary<log_of, 20>("log"),
    unary<sqrt_of, 4>("sqrt"),
    unary<erf_of, 20>("erf"),
    unary<sin_of, 20>("sin"),
    unary<cos_of, 20>("cos"),
    unary<floor_of, 4>("floor"),
    unary<ceil_of, 4>("ceil"),
    unary<truncate, 4>("truncate"),
    unary<round_even, 4>("round"),
    binary<sum, 1, run_kernel<sum, add>>("add"),
    binary<difference>("subtract"),
    binary<product, 1, run_kernel<product, multiply>>("multiply"),
    binary<quotient, 4>("divide"),
    binary<power, 40>("power"),
    binary<smaller>("minimum"),
    binary<larger>("maximum"),
    binary<is_equal>("equal"),
    binary<is_less>("less"),
    {{"select", "elements of one tensor or another, by a condition", "", {}},
     LayoutRule::kFollow,
     make_step<Select>},
};

}  // namespace

bool is_unary(std::string_view op) { return unary_runs().contains(op); }

void apply_unary(std::string_view op, const Node& node, std::span<float> x) {
  const auto run = unary_runs().find(op);
  BITSMITH_ASSERT(run != unary_runs().end());
  run->second(numbers_of(op, node), x.data(), 1, static_cast<int64_t>(x.size()), x.data(), 1);
}

}  // namespace bitsmith

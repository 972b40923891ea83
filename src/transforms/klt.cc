// Transform `klt`: the residual stream in the basis of its principal directions, the smallest of
// which can be deleted.
#include <algorithm>
#include <cmath>

#include "calibration/blas.h"
#include "core/error.h"
#include "graph/operators.h"
#include "transforms/edits.h"
#include "transforms/layer_inputs.h"
#include "transforms/residual_stream.h"
#include "transforms/transform.h"

// LAPACK: eigenvalues, ascending, and vectors of a symmetric matrix, column-major, in place.
extern "C" void dsyevd_(const char* job, const char* triangle, const int* n, double* a,
                        const int* lda, double* values, double* work, const int* work_size,
                        int* integer_work, const int* integer_work_size, int* info);

namespace bitsmith {
namespace {

// The eigenvectors of a symmetric matrix [n, n] as columns of a row-major one, of falling
// eigenvalue. O(n³), on one thread, so that the result does not depend on their number.
std::vector<float> eigenbasis(std::vector<double> matrix, int n, ThreadPool& pool) {
  const auto size = static_cast<size_t>(n);
  std::vector<double> values(size);
  run_blas_tasks(pool, 1, [&](int64_t, int) {
    const int work_size = 1 + 6 * n + 2 * n * n;
    const int integer_size = 3 + 5 * n;
    std::vector<double> work(static_cast<size_t>(work_size));
    std::vector<int> integers(static_cast<size_t>(integer_size));
    int info = 0;
    dsyevd_("V", "L", &n, matrix.data(), &n, values.data(), work.data(), &work_size,
            integers.data(), &integer_size, &info);
    BITSMITH_ASSERT(info == 0);
  });
  // Vector k lies at matrix[k * n], of the k-th smallest eigenvalue.
  std::vector<float> basis(size * size);
  for (size_t k = 0; k < size; ++k) {
    for (size_t i = 0; i < size; ++i) {
      basis[i * size + k] = static_cast<float>(matrix[(size - 1 - k) * size + i]);
    }
  }
  return basis;
}

// One matrix Q [n, n], of whose directions the first are kept.
class DenseBasis final : public StreamBasis {
 public:
  DenseBasis(std::vector<float> q, int64_t channels, int64_t kept)
      : q_(std::make_shared<const std::vector<float>>(std::move(q))),
        channels_(channels),
        kept_(kept) {}

  int64_t kept(int64_t) const override { return kept_; }
  ParameterEdit of_inputs(int64_t) const override { return edits::multiply_inputs(q_); }
  ParameterEdit of_outputs(int64_t) const override { return edits::multiply_outputs(q_); }

  // A linear layer: its matrix is coded like those of all others.
  ValueId add_operator(Network& network, ValueId value, bool inverse) const override {
    const std::string name =
        fmt::format("{}.{}", network.graph.value(value).name, inverse ? "from_klt" : "to_klt");
    const auto n = static_cast<size_t>(channels_);
    const auto k = static_cast<size_t>(kept_);
    std::vector<float> weights(n * k);  // of y = x Wᵀ: Q's first columns, or those transposed
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < k; ++j) {
        weights[inverse ? i * k + j : j * n + i] = (*q_)[i * n + j];
      }
    }
    const Shape shape = inverse ? Shape{channels_, kept_} : Shape{kept_, channels_};
    const ValueId matrix =
        network.add_computed(name + ".weight", shape, std::move(weights), "rotation");
    return ops::linear(network.graph, name, value, matrix, kNoValue);
  }

 private:
  std::shared_ptr<const std::vector<float>> q_;
  int64_t channels_;
  int64_t kept_;
};

class Klt final : public Transform {
 public:
  const PartInfo& info() const override { return info_; }
  bool needs_statistics(const Options&) const override { return true; }

  void apply(Network& network, const Options& options, ThreadPool& pool) const override {
    constexpr int64_t kMost = 1 << 15;  // the work array of LAPACK is counted in an int
    ResidualStream stream(network, [](int64_t channels) { return channels <= kMost; });
    const int64_t channels = stream.channels();
    if (channels == 0 || stream.readers().empty()) {
      fail(ErrorCode::kUnsupported,
           "transform 'klt': the network has no residual stream of one width that begins at an "
           "embedding and that linear layers read");
    }
    const auto deleted =
        static_cast<int64_t>(options.number("delete") * static_cast<double>(channels));
    const int64_t step = options.integer("multiple");
    // A multiple below what is asked for; all if that is none.
    const int64_t kept =
        deleted == 0 ? channels : std::max(step, (channels - deleted) / step * step);
    const size_t nodes = network.graph.nodes.size();
    stream.change(
        DenseBasis(directions(network, stream, channels, pool), channels, std::min(kept, channels)),
        pool);
    network.place_new_nodes(nodes);
  }

 private:
  // Of the sum over layers of the second moments of the stream as its norms leave it, without their
  // gains, each as much as any other.
  static std::vector<float> directions(Network& network, const ResidualStream& stream,
                                       int64_t channels, ThreadPool& pool) {
    const auto n = static_cast<size_t>(channels);
    std::vector<double> sum(n * n);
    for (size_t i = 0; i < n; ++i) sum[i * n + i] = static_cast<double>(n - i);
    if (network.layer_inputs == nullptr) {
      return eigenbasis(std::move(sum), static_cast<int>(channels), pool);
    }
    std::ranges::fill(sum, 0.0);
    ValueId last = kNoValue;  // layers that read the same norm count once
    for (const ResidualStream::Reader& reader : stream.readers()) {
      if (reader.gains != kNoValue && reader.gains == last) continue;
      last = reader.gains;
      std::vector<double> scale(n, 1.0);
      if (reader.gains != kNoValue) {
        const std::vector<float> gains = network.values(reader.gains, pool);
        for (size_t c = 0; c < n; ++c) {
          scale[c] = gains[c] == 0 ? 0 : 1 / static_cast<double>(gains[c]);
        }
      }
      const std::vector<double>& moment = network.layer_inputs->second_moment(reader.node);
      double trace = 0;
      for (size_t c = 0; c < n; ++c) trace += moment[c * n + c] * scale[c] * scale[c];
      if (!(trace > 0)) continue;
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < n; ++j) {
          sum[i * n + j] += moment[i * n + j] * scale[i] * scale[j] / trace;
        }
      }
    }
    return eigenbasis(std::move(sum), static_cast<int>(channels), pool);
  }

  PartInfo info_{
      .id = "klt",
      .summary =
          "the residual stream in the basis of its principal directions, the smallest deleted",
      .source =
          "Ashkboos et al. 2024 (SliceGPT), arXiv:2401.15024; differs: one basis for all layers, "
          "of their pooled second moments, so that no matrix is added where the stream goes past "
          "a layer; the Karhunen-Loeve rotation alone if nothing is deleted",
      .options = {{"delete", 0.0,
                   "the part of the directions that is deleted, which changes the function: the "
                   "network gets a smaller hidden size",
                   0, 0.95},
                  {"multiple", int64_t{8},
                   "the hidden size that is left is a multiple of this, below what is asked for", 1,
                   4096}}};
};

const Registration<Transform, Klt> registration;

}  // namespace
}  // namespace bitsmith

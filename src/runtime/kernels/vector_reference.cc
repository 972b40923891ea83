// The specification of the kernels for vector codebooks: one number at a time.
#include "runtime/kernels/vector_job.h"

namespace bitsmith {

void multiply_vectors_reference(const VectorJob& job, const PanelRange& range) noexcept {
  multiply_numbers_reference(job, range, [&](int64_t row, int64_t col) {
    const int64_t block = col / job.dim;
    int32_t number = 0;
    for (int stage = 0; stage < job.stages; ++stage) {
      const size_t code = job.codes[row / 16 * job.planes->panel_code_bytes +
                                    job.planes->planes[static_cast<size_t>(stage)].offset_bytes +
                                    block / 4 * 64 + row % 16 * 4 + block % 4];
      number += job.table(stage, col % job.dim)[code];
    }
    return number;
  });
}

}  // namespace bitsmith

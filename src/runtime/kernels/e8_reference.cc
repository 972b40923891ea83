// The specification of the kernels for the lattice E8: one number at a time.
#include "runtime/kernels/e8_job.h"

namespace bitsmith {

void multiply_e8_reference(const E8Job& job, const PanelRange& range) noexcept {
  multiply_numbers_reference(job, range, [&](int64_t row, int64_t col) {
    const int64_t block = col / 8;
    const uint8_t* code = job.codes + row / 16 * job.planes->panel_code_bytes + block / 4 * 64 +
                          row % 16 * 4 + block % 4;
    float point[8];
    E8Codebook::instance().decode(
        static_cast<uint16_t>(code[0] | code[job.planes->planes[1].offset_bytes] << 8), point);
    return static_cast<int32_t>(4.0F * point[col % 8]) + E8Job::kOffset;
  });
}

}  // namespace bitsmith

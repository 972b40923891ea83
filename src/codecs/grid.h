// Codecs whose codes are levels of a fixed grid times a scale per group: minifloats, powers of two…
#pragma once

#include <string>
#include <vector>

#include "codecs/grouped.h"
#include "codecs/level_matrix.h"
#include "codecs/scales.h"

namespace bitsmith {

// A finite set of levels and the search for the nearest one.
class Grid {
 public:
  // levels[code] for code in [0, levels.size()), at least one, in any order; a level that appears
  // twice (a negative zero) keeps its first code. A number midway between two levels becomes the
  // one whose code has the lowest bit 0, or else the upper one.
  // The code `unused` (-1: none) is decoded but never chosen.
  explicit Grid(std::vector<float> levels, int unused = -1);

  const std::vector<float>& levels() const { return levels_; }  // by code
  float level(int code) const { return levels_[static_cast<size_t>(code)]; }
  // The code of the level nearest to x. Defined for every x; O(log levels), no branches.
  int nearest(float x) const {
    size_t rank = 0;
    for (size_t step = half_; step > 0; step >>= 1) {
      rank += x >= thresholds_[rank + step - 1] ? step : 0;
    }
    return codes_[rank];
  }
  float lowest() const { return lowest_; }
  float highest() const { return highest_; }
  bool symmetric() const { return symmetric_; }
  // Whether float32 arithmetic tells all levels apart: none are closer than 2^-20 of themselves.
  bool is_resolved() const { return resolved_; }

 private:
  std::vector<float> levels_;      // by code
  std::vector<float> thresholds_;  // 2^n - 1: the smallest x of each rank above 0, then infinity
  std::vector<int> codes_;         // by rank
  size_t half_ = 0;                // 2^(n-1), or 0 for a single level
  float lowest_ = 0;
  float highest_ = 0;
  bool symmetric_ = true;
  bool resolved_ = true;
};

// How the scale of a group is chosen without a solver's search.
//   kExtreme     the weight of largest magnitude on the outermost level: nearest scale (E4M3,
//                E5M3), truncated (binary16, so that the extreme reaches that level). E8M0: as
//                kFloor.
//   kFloor       E8M0: 2^(floor(log2 extreme) - floor(log2 outermost level)), the rule of OCP
//                Microscaling formats 1.0, section 6.3: the extreme may be cut by up to a half
//   kCeil        E8M0: the smallest scale that cuts nothing
//   kEven        E8M0: as kFloor, of the extreme with its mantissa rounded: 1.75 and above up
//   kFourOverSix E4M3: the extreme on the outermost level or on 2/3 of it, whichever has the
//                smaller error (Cook et al. 2025, arXiv:2512.02010)
//   kBest        the least error of all scales near it
// All rules but kBest: where a neighbouring scale represents the group exactly,
// that one is taken, so that coding decoded values again changes nothing.
enum class ScaleRule : uint8_t { kExtreme, kFloor, kCeil, kEven, kFourOverSix, kBest };

// What the options of a grid codec mean.
struct GridFormat {
  std::vector<Grid> grids;  // one, or up to 256 to choose from
  // Who chooses among several grids; a chooser that is a group stores one byte.
  bool grid_per_group = false;
  int bits = 0;
  int64_t group = 0;
  ScaleFormat scale = ScaleFormat::kF16;
  ScaleRule rule = ScaleRule::kExtreme;
};

// w = scale of the group * level of the code. Layout: grouped.h, with
//     header      binary32 tensor scale, if the scale has one (scales.h); then one byte: the index
//                 of the grid, if there are several and the tensor chooses
//     codes       `bits` bits each
//     parameters  the scale; then the index of the grid, 1 byte, if there are several and the group
//                 chooses
class GridCodec : public Codec, public LevelCodec {
 public:
  uint64_t encoded_bytes(const MatrixShape& shape, const Options& options) const override;
  std::unique_ptr<Encoder> encoder(const MatrixShape& shape, const Options& options) const override;
  void decode(const MatrixShape& shape, const Options& options, std::span<const std::byte> bytes,
              int64_t row_begin, int64_t row_count, float* out) const override;
  bool is_idempotent(const Options& options) const override;
  // Nothing where groups choose among grids.
  std::optional<LevelMatrix> level_matrix(const MatrixShape& shape, const Options& options,
                                          std::span<const std::byte> bytes) const override;

 protected:
  virtual GridFormat format(const Options& options) const = 0;
  GroupedLayout layout(const MatrixShape& shape, const GridFormat& format) const;

 private:
  // What the header of a tensor's bytes says.
  struct Header {
    float tensor_scale = 1.0F;
    size_t grid = 0;
  };
  static Header read_header(const GridFormat& format, const uint8_t* in);
};

// The levels of two's sign-magnitude codes: the highest bit of `bits` is the sign; magnitudes[m]
// for m in [0, 2^(bits-1)).
std::vector<float> signed_levels(const std::vector<float>& magnitudes);

// Divides magnitudes by the power of two that brings the largest into [1, 2), so that scales of
// usual weights are in the middle of every scale's range.
std::vector<float> normalized(std::vector<float> levels);

// A level rounded to 16 bits of mantissa.
float short_level(double level);

}  // namespace bitsmith

// Multilinear look-ups in lattices of feature vectors: the three planes of a tri-plane, or one dense grid.
//
// Lattices are stored with the channels last, so that a corner is one run of memory. Gradients of a grid are scattered
// slab by slab (a slab is a run of its sheets): a slab writes to its own sheets and to the first one of the next, so all
// even slabs can run side by side, and then all odd ones. The points alone decide where slabs begin.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "volume.h"

namespace gen3d {

template <int K>
struct Lattice {
  static constexpr int kCorners = 1 << K;
  static constexpr int kSheets = K == 2 ? 3 : 1;
  int32_t size[K];  // the slowest axis first
  int32_t channels;

  // Which coordinate of a point runs along axis k of a sheet: the planes are xy, xz and yz.
  static int coordinate(int sheet, int k) {
    if (K == 3) return 2 - k;
    constexpr int kPlanes[3][2] = {{1, 0}, {2, 0}, {2, 1}};
    return kPlanes[sheet][k];
  }

  int64_t floats() const {
    int64_t count = channels;
    for (int k = 0; k < K; ++k) count *= size[k];
    return count;
  }
};

// Where a coordinate lies between the texels of an axis, the border clamped.
struct Texel {
  int32_t whole;
  float fraction;
  bool inside;

  Texel(float coordinate, int32_t size) {
    const float raw = ((coordinate + 1.0f) * static_cast<float>(size) - 1.0f) * 0.5f;
    const float top = static_cast<float>(size - 1);
    const float position = raw < 0.0f ? 0.0f : raw > top ? top : raw;
    whole = std::max(std::min(static_cast<int32_t>(positive_part(position)), size - 2), 0);
    fraction = position - static_cast<float>(whole);
    inside = raw >= 0.0f && raw <= top;
  }
};

template <int K>
GEN3D_INLINE float corner_weight(const float* fraction, int corner) {
  float product = 1.0f;
  for (int k = 0; k < K; ++k) product *= corner >> k & 1 ? fraction[k] : 1.0f - fraction[k];
  return product;
}

template <int K>
struct Cell {
  int64_t offset[1 << K];  // of the corners' feature vectors; bit k of a corner's number: the upper one along axis k
  float fraction[K], texels_per_unit[K];

  Cell(const Lattice<K>& lattice, int sheet, const float* point) {
    int64_t low[K], high[K], stride = lattice.channels;
    for (int k = K - 1; k >= 0; --k) {
      const int32_t size = lattice.size[k];
      const Texel texel(point[Lattice<K>::coordinate(sheet, k)], size);
      fraction[k] = texel.fraction;
      texels_per_unit[k] = texel.inside ? 0.5f * static_cast<float>(size) : 0.0f;
      low[k] = texel.whole * stride;
      high[k] = std::min(texel.whole + 1, size - 1) * stride;
      stride *= size;
    }
    for (int c = 0; c < 1 << K; ++c) {
      offset[c] = sheet * lattice.floats();
      for (int k = 0; k < K; ++k) offset[c] += c >> k & 1 ? high[k] : low[k];
    }
  }

  float weight(int corner) const { return corner_weight<K>(fraction, corner); }

  __attribute__((always_inline)) inline void interpolate(const float* values, int channels, float* out) const {
    const float* from[1 << K];
    float share[1 << K];
    for (int c = 0; c < 1 << K; ++c) {
      from[c] = values + offset[c];
      share[c] = weight(c);
    }
#pragma omp simd
    for (int i = 0; i < channels; ++i) {
      float sum = 0.0f;
      for (int c = 0; c < 1 << K; ++c) sum += share[c] * from[c][i];
      out[i] = sum;
    }
  }

  float slope(int corner, int axis) const {
    float product = corner >> axis & 1 ? texels_per_unit[axis] : -texels_per_unit[axis];
    for (int k = 0; k < K; ++k) {
      if (k != axis) product *= corner >> k & 1 ? fraction[k] : 1.0f - fraction[k];
    }
    return product;
  }
};

constexpr int kAhead = 16;      // points whose gradients are fetched early: a slab's points are not neighbours in memory
constexpr int kCacheLine = 16;  // floats

// From a cell's lowest corner to each of its corners, in floats; an axis of one texel has no other corner.
template <int K>
struct CornerSteps {
  int64_t step[1 << K] = {};

  explicit CornerSteps(const Lattice<K>& lattice) {
    for (int c = 0; c < 1 << K; ++c) {
      int64_t stride = lattice.channels;
      for (int k = K - 1; k >= 0; stride *= lattice.size[k--]) step[c] += (c >> k & 1) && lattice.size[k] > 1 ? stride : 0;
    }
  }
};

// Where some points lie on each of the three planes, found for all of them side by side: in turn with the sums, it would
// wait for them.
struct PlaneBlock {
  static constexpr int kPoints = 16, kSheets = Lattice<2>::kSheets, kCorners = Lattice<2>::kCorners;
  int32_t row[kSheets][kPoints], cell[kSheets][kPoints];  // of the lowest corner; cells are counted in texels
  float weight[kSheets][kCorners][kPoints];

  PlaneBlock(const Lattice<2>& lattice, const float* coordinates, int count) {
    float axis[3][kPoints] = {};  // a gather from the points as they lie would be slower
    for (int i = 0; i < count; ++i) {
      for (int k = 0; k < 3; ++k) axis[k][i] = coordinates[3 * i + k];
    }
    for (int sheet = 0; sheet < kSheets; ++sheet) {
      const float* down = axis[Lattice<2>::coordinate(sheet, 0)];
      const float* across = axis[Lattice<2>::coordinate(sheet, 1)];
#pragma omp simd
      for (int i = 0; i < kPoints; ++i) {
        const Texel y(down[i], lattice.size[0]), x(across[i], lattice.size[1]);
        row[sheet][i] = y.whole;
        cell[sheet][i] = y.whole * lattice.size[1] + x.whole;
        weight[sheet][0][i] = (1.0f - y.fraction) * (1.0f - x.fraction);
        weight[sheet][1][i] = y.fraction * (1.0f - x.fraction);
        weight[sheet][2][i] = (1.0f - y.fraction) * x.fraction;
        weight[sheet][3][i] = y.fraction * x.fraction;
      }
    }
  }
};

// Calls run(block, i, n, sheet) for points n = begin..end, each the i-th of its block, on each of the planes.
template <class Run>
GEN3D_INLINE void on_planes(const Lattice<2>& lattice, const float* coordinates, int64_t begin, int64_t end, Run run) {
  for (int64_t first = begin; first < end; first += PlaneBlock::kPoints) {
    const int count = static_cast<int>(std::min<int64_t>(PlaneBlock::kPoints, end - first));
    const PlaneBlock block(lattice, coordinates + 3 * first, count);
    for (int i = 0; i < count; ++i) {
      for (int sheet = 0; sheet < PlaneBlock::kSheets; ++sheet) run(block, i, first + i, sheet);
    }
  }
}

// Adds the gradients of points first..last to the rows begin..end of three planes. All: to every row.
template <int Channels, bool All>
void add_to_rows(const Lattice<2>& lattice, int64_t first, int64_t last, const float* coordinates,
                 const float* out_grad, float* values_grad, int32_t begin, int32_t end) {
  const int channels = Channels ? Channels : lattice.channels;
  const CornerSteps<2> corners(lattice);
  on_planes(lattice, coordinates, first, last, [&](const PlaneBlock& block, int i, int64_t n, int sheet) {
    const float* grad = out_grad + (n * PlaneBlock::kSheets + sheet) * channels;
    float* low = values_grad + sheet * lattice.floats() + int64_t{block.cell[sheet][i]} * channels;
    for (int c = 0; c < PlaneBlock::kCorners; ++c) {
      const int32_t row = block.row[sheet][i] + (c & 1);
      if (!All && (row < begin || row >= end)) continue;  // or below a plane of one row, where nothing weighs
      const float weight = block.weight[sheet][c][i];
      float* to = low + corners.step[c];
#pragma omp simd
      for (int k = 0; k < channels; ++k) to[k] += weight * grad[k];
    }
  });
}

// Adds the gradients of three planes, given those of the features [N, 3 * channels]. Reading these is what takes long,
// so that each half of many points goes to planes of its own, however many threads there are: the input alone decides
// in which order a texel's sum is made. Of more than two threads each owns a band of rows.
template <int Channels>
void scatter(const Lattice<2>& lattice, int64_t points, const float* coordinates, const float* out_grad,
             float* values_grad, int threads) {
  const int64_t floats = PlaneBlock::kSheets * lattice.floats();
  const int halves = points * lattice.channels > lattice.floats() ? 2 : 1;
  const std::unique_ptr<float[]> second(halves == 2 ? new float[floats] : nullptr);
  const int bands = (threads + halves - 1) / halves;
#pragma omp parallel num_threads(threads)
  {
    if (second) {
#pragma omp for simd schedule(static)
      for (int64_t i = 0; i < floats; ++i) second[i] = 0.0f;
    }
#pragma omp for schedule(static, 1)
    for (int task = 0; task < halves * bands; ++task) {
      const int half = task / bands, band = task % bands;
      const int64_t rows = lattice.size[0];
      const int32_t begin = static_cast<int32_t>(rows * band / bands);
      const int32_t end = static_cast<int32_t>(rows * (band + 1) / bands);
      const auto add = bands == 1 ? add_to_rows<Channels, true> : add_to_rows<Channels, false>;
      add(lattice, points * half / halves, points * (half + 1) / halves, coordinates, out_grad,
          half ? second.get() : values_grad, begin, end);
    }
    if (second) {
#pragma omp for simd schedule(static)
      for (int64_t i = 0; i < floats; ++i) values_grad[i] += second[i];
    }
  }
}

// A point as the scatter to a grid wants it: which cell, and where in it.
struct Placed {
  int32_t point, cell;  // the cell's lowest corner, counted in voxels
  float fraction[3];
};

// The points sorted by the slab they lie in, in ascending order within each: a counting sort, shared out by parts.
struct PointsBySlab {
  std::vector<int64_t> starts;  // of each slab in the order, and the number of points
  std::vector<Placed> order;

  PointsBySlab(const Lattice<3>& lattice, int64_t points, const float* coordinates, int threads) : order(points) {
    const int64_t rows = lattice.size[0];
    std::vector<int32_t> row(points);
    std::vector<int64_t> counts(kParts * rows, 0);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int part = 0; part < kParts; ++part) {
      for (int64_t n = points * part / kParts; n < points * (part + 1) / kParts; ++n) {
        row[n] = Texel(coordinates[3 * n + Lattice<3>::coordinate(0, 0)], lattice.size[0]).whole;
        ++counts[part * rows + row[n]];
      }
    }
    std::vector<int32_t> slab(rows);
    const int slabs = cut(rows, points, counts, slab);
    std::vector<int64_t> next(kParts * slabs, 0);
    for (int part = 0; part < kParts; ++part) {
      for (int64_t y = 0; y < rows; ++y) next[part * slabs + slab[y]] += counts[part * rows + y];
    }
    int64_t sum = 0;
    for (int s = 0; s < slabs; ++s) {
      starts.push_back(sum);
      for (int part = 0; part < kParts; ++part) sum += std::exchange(next[part * slabs + s], sum);
    }
    starts.push_back(sum);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int part = 0; part < kParts; ++part) {
      for (int64_t n = points * part / kParts; n < points * (part + 1) / kParts; ++n) {
        Placed& placed = order[next[part * slabs + slab[row[n]]]++];
        placed.point = static_cast<int32_t>(n);
        placed.cell = 0;
        for (int k = 0; k < 3; ++k) {
          const Texel texel(coordinates[3 * n + Lattice<3>::coordinate(0, k)], lattice.size[k]);
          placed.cell = placed.cell * lattice.size[k] + texel.whole;
          placed.fraction[k] = texel.fraction;
        }
      }
    }
  }

 private:
  static constexpr int kParts = 16, kSlabs = 16;

  // Gives every row a slab, so that slabs hold about as many points each, and returns how many slabs there are.
  static int cut(int64_t rows, int64_t points, const std::vector<int64_t>& counts, std::vector<int32_t>& slab) {
    int current = 0;
    int64_t held = 0;
    for (int64_t y = 0; y < rows; ++y) {
      slab[y] = current;
      for (int part = 0; part < kParts; ++part) held += counts[part * rows + y];
      if (held * kSlabs < points || y + 1 == rows) continue;
      held = 0;
      ++current;
    }
    return current + 1;
  }
};

// Adds the gradients of a grid, given those of the features [N, channels].
template <int Channels>
void scatter(const Lattice<3>& lattice, int64_t points, const float* coordinates, const float* out_grad,
             float* values_grad, int threads) {
  constexpr int kCorners = Lattice<3>::kCorners;
  const int channels = Channels ? Channels : lattice.channels;
  const CornerSteps<3> corners(lattice);
  const PointsBySlab sorted(lattice, points, coordinates, threads);
  const int slabs = static_cast<int>(sorted.starts.size()) - 1;
  for (int parity = 0; parity < 2; ++parity) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int slab = parity; slab < slabs; slab += 2) {
      const int64_t last = sorted.starts[slab + 1] - 1;
      for (int64_t s = sorted.starts[slab]; s <= last; ++s) {
        const float* later_grad = out_grad + int64_t{sorted.order[std::min(s + kAhead, last)].point} * channels;
        for (int i = 0; i < channels; i += kCacheLine) __builtin_prefetch(later_grad + i);
        const Placed& placed = sorted.order[s];
        const float* grad = out_grad + int64_t{placed.point} * channels;
        float* cell = values_grad + int64_t{placed.cell} * channels;
        for (int c = 0; c < kCorners; ++c) {
          const float weight = corner_weight<3>(placed.fraction, c);
          float* to = cell + corners.step[c];
#pragma omp simd
          for (int i = 0; i < channels; ++i) to[i] += weight * grad[i];
        }
      }
    }
  }
}

}  // namespace gen3d

// Multilinear look-ups in lattices of feature vectors: the three planes of a tri-plane, or one dense grid.
//
// Lattices are stored with the channels last, so that a corner is one run of memory. Gradients are scattered slab by slab
// (a slab is a run of rows of a plane or of sheets of a grid): a slab writes to its own rows and to the first one of the
// next, so all even slabs can run side by side, and then all odd ones. The points alone decide where slabs begin.
#pragma once

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
    const float position = raw > 0.0f ? (raw < top ? raw : top) : 0.0f;
    whole = std::max(std::min(static_cast<int32_t>(position), size - 2), 0);
    fraction = position - static_cast<float>(whole);
    inside = raw >= 0.0f && raw <= top;
  }
};

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

  float weight(int corner) const {
    float product = 1.0f;
    for (int k = 0; k < K; ++k) product *= corner >> k & 1 ? fraction[k] : 1.0f - fraction[k];
    return product;
  }

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

// The points sorted by the slab they lie in, in ascending order within each: a counting sort, shared out by parts.
template <int K>
struct PointsBySlab {
  std::vector<int64_t> starts;  // of each slab in the order, and the number of points
  std::vector<int32_t> order;

  PointsBySlab(const Lattice<K>& lattice, int sheet, int64_t points, const float* coordinates, int threads)
      : order(points) {
    const int rows = lattice.size[0];
    std::vector<int32_t> row(points);
    std::vector<int64_t> counts(kParts * rows, 0);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int part = 0; part < kParts; ++part) {
      for (int64_t n = points * part / kParts; n < points * (part + 1) / kParts; ++n) {
        row[n] = Texel(coordinates[3 * n + Lattice<K>::coordinate(sheet, 0)], rows).whole;
        ++counts[part * rows + row[n]];
      }
    }
    std::vector<int32_t> slab(rows);
    const int slabs = cut(rows, points, counts, slab);
    std::vector<int64_t> next(kParts * slabs, 0);
    for (int part = 0; part < kParts; ++part) {
      for (int y = 0; y < rows; ++y) next[part * slabs + slab[y]] += counts[part * rows + y];
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
        order[next[part * slabs + slab[row[n]]]++] = static_cast<int32_t>(n);
      }
    }
  }

 private:
  static constexpr int kParts = 16, kSlabs = 16;

  // Gives every row a slab, so that slabs hold about as many points each, and returns how many slabs there are.
  static int cut(int rows, int64_t points, const std::vector<int64_t>& counts, std::vector<int32_t>& slab) {
    int current = 0;
    int64_t held = 0;
    for (int y = 0; y < rows; ++y) {
      slab[y] = current;
      for (int part = 0; part < kParts; ++part) held += counts[part * rows + y];
      if (held * kSlabs < points || y + 1 == rows) continue;
      held = 0;
      ++current;
    }
    return current + 1;
  }
};

constexpr int kAhead = 16;      // points whose gradients are fetched early: a slab's points are not neighbours in memory
constexpr int kCacheLine = 16;  // floats

// Adds the gradients of the values, given those of the features [N, sheets * channels].
template <int K, int Channels>
void scatter(const Lattice<K>& lattice, int64_t points, const float* coordinates, const float* out_grad,
                     float* values_grad, int threads) {
  const int channels = Channels ? Channels : lattice.channels;
  const int64_t width = int64_t{channels} * Lattice<K>::kSheets;
  for (int sheet = 0; sheet < Lattice<K>::kSheets; ++sheet) {
    const PointsBySlab<K> sorted(lattice, sheet, points, coordinates, threads);
    const int slabs = static_cast<int>(sorted.starts.size()) - 1;
    for (int parity = 0; parity < 2; ++parity) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
      for (int slab = parity; slab < slabs; slab += 2) {
        for (int64_t s = sorted.starts[slab]; s < sorted.starts[slab + 1]; ++s) {
          const int64_t n = sorted.order[s];
          const int64_t later = sorted.order[std::min(s + kAhead, sorted.starts[slab + 1] - 1)];
          const float* later_grad = out_grad + later * width + int64_t{sheet} * channels;
          for (int i = 0; i < channels; i += kCacheLine) __builtin_prefetch(later_grad + i);
          __builtin_prefetch(coordinates + 3 * later);
          const Cell<K> cell(lattice, sheet, coordinates + 3 * n);
          const float* grad = out_grad + n * width + int64_t{sheet} * channels;
          for (int c = 0; c < Lattice<K>::kCorners; ++c) {
            const float weight = cell.weight(c);
            float* to = values_grad + cell.offset[c];
#pragma omp simd
            for (int i = 0; i < channels; ++i) to[i] += weight * grad[i];
          }
        }
      }
    }
  }
}

}  // namespace gen3d

// Multi-resolution hash grids (Mueller et al. 2022): features, their derivatives by the points, and the gradients.
#include <vector>

#include "volume.h"

namespace gen3d {
namespace {

constexpr int kBlock = 64;  // points whose cells are looked up together, a lane each
constexpr uint32_t kPrimeY = 2654435761u, kPrimeZ = 805459861u;

struct Level {
  int64_t offset;  // of its first row in the table, in floats
  int32_t resolution;
  uint32_t rows;
};

// The corners around a block of points: bit 0, 1, 2 of a corner's number says whether it is the upper one in x, y, z.
struct Cells {
  uint32_t row[8][kBlock];
  float weight[8][kBlock], fraction[3][kBlock];

  void locate(const float* points, int count, const Level& level) {
    uint32_t low[3][kBlock] = {};
    const float resolution = static_cast<float>(level.resolution);
    for (int k = 0; k < 3; ++k) {
      float position[kBlock] = {};
      for (int i = 0; i < count; ++i) position[i] = points[3 * i + k];
      for (int i = 0; i < kBlock; ++i) {
        const float clamped = position[i] < -1.0f ? -1.0f : position[i] > 1.0f ? 1.0f : position[i];
        const float scaled = (clamped * 0.5f + 0.5f) * resolution;
        const int32_t whole = std::min(static_cast<int32_t>(positive_part(scaled)), level.resolution - 1);
        low[k][i] = static_cast<uint32_t>(whole);
        fraction[k][i] = scaled - static_cast<float>(whole);
      }
    }
    for (int c = 0; c < 8; ++c) {
      const uint32_t dx = c & 1, dy = c >> 1 & 1, dz = c >> 2;
      for (int i = 0; i < kBlock; ++i) {
        weight[c][i] = (dx ? fraction[0][i] : 1.0f - fraction[0][i]) * (dy ? fraction[1][i] : 1.0f - fraction[1][i]) *
                       (dz ? fraction[2][i] : 1.0f - fraction[2][i]);
      }
      find_rows(low, dx, dy, dz, level, row[c]);
    }
  }

  static void find_rows(const uint32_t (&low)[3][kBlock], uint32_t dx, uint32_t dy, uint32_t dz, const Level& level,
                        uint32_t* rows) {
    const uint64_t side = static_cast<uint64_t>(level.resolution) + 1;
    if (side * side * side <= level.rows) {
      const uint32_t s = static_cast<uint32_t>(side);
      for (int i = 0; i < kBlock; ++i) rows[i] = ((low[2][i] + dz) * s + low[1][i] + dy) * s + low[0][i] + dx;
      return;
    }
    for (int i = 0; i < kBlock; ++i) {
      rows[i] = (low[0][i] + dx) ^ ((low[1][i] + dy) * kPrimeY) ^ ((low[2][i] + dz) * kPrimeZ);
    }
    if ((level.rows & (level.rows - 1)) == 0) {
      for (int i = 0; i < kBlock; ++i) rows[i] &= level.rows - 1;
    } else {
      for (int i = 0; i < kBlock; ++i) rows[i] %= level.rows;
    }
  }
};

// Cells per unit of the points' coordinates; none outside the cube, whose border is what points there see.
GEN3D_INLINE float cells_per_unit(float coordinate, const Level& level) {
  return coordinate < -1.0f || coordinate > 1.0f ? 0.0f : 0.5f * static_cast<float>(level.resolution);
}

template <int F>
struct Features {
  typedef float Type __attribute__((vector_size(F * sizeof(float))));
};
template <>
struct Features<1> {
  typedef float Type;
};

template <class Vector>
GEN3D_INLINE Vector load_features(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class Vector>
GEN3D_INLINE void store_features(float* to, Vector value) {
  std::memcpy(to, &value, sizeof value);
}

// The derivatives by the position, counted in cells, of a trilinear interpolation between eight corners.
template <class Value>
GEN3D_INLINE void derivatives(const Value (&corner)[8], float x, float y, float z, Value (&along)[3]) {
  Value step[4], row[4];  // between neighbours in x, and where x is on each of those edges
  for (int j = 0; j < 4; ++j) {
    step[j] = corner[2 * j + 1] - corner[2 * j];
    row[j] = corner[2 * j] + x * step[j];
  }
  const Value low = row[1] - row[0], high = row[3] - row[2];
  const Value near = row[0] + y * low, far = row[2] + y * high;
  const Value step_near = step[0] + y * (step[1] - step[0]), step_far = step[2] + y * (step[3] - step[2]);
  along[0] = step_near + z * (step_far - step_near);
  along[1] = low + z * (high - low);
  along[2] = far - near;
}

std::vector<Level> levels_of(int32_t count, int64_t rows, int32_t features, const int32_t* resolutions) {
  std::vector<Level> levels(count);
  for (int32_t l = 0; l < count; ++l) levels[l] = {l * rows * features, resolutions[l], static_cast<uint32_t>(rows)};
  return levels;
}

template <class Run>
void with_features(int features, Run run) {
  switch (features) {
    case 1: return run(Constant<1>());
    case 2: return run(Constant<2>());
    case 4: return run(Constant<4>());
    default: return run(Constant<8>());
  }
}

// The chunks of points are shared out; within a chunk level follows level, so that a level's rows stay in the cache.
template <class Visit>
void for_each_block(int64_t points, const std::vector<Level>& levels, const float* coordinates, int threads,
                    Visit visit) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t begin = 0; begin < points; begin += kChunk) {
    Cells cells;
    const int64_t end = std::min(begin + kChunk, points);
    for (size_t l = 0; l < levels.size(); ++l) {
      for (int64_t first = begin; first < end; first += kBlock) {
        const int count = static_cast<int>(std::min<int64_t>(kBlock, end - first));
        cells.locate(coordinates + 3 * first, count, levels[l]);
        for (int i = 0; i < count; ++i) visit(static_cast<int>(l), first + i, cells, i);
      }
    }
  }
}

}  // namespace
}  // namespace gen3d

// out [N, L F], and jacobian [N, L F, 3] by the points unless it is null. table [L, T, F]; F is 1, 2, 4 or 8.
GEN3D_API void gen3d_volume_hash(int64_t points, const float* coordinates, const float* table, int32_t level_count,
                                 int64_t rows, int32_t features, const int32_t* resolutions, float* out,
                                 float* jacobian, int32_t threads) {
  using namespace gen3d;
  const std::vector<Level> levels = levels_of(level_count, rows, features, resolutions);
  with_features(features, [&](auto constant) {
    constexpr int F = decltype(constant)::value;
    typedef typename Features<F>::Type Vector;
    const int64_t width = int64_t{level_count} * F;
    for_each_block(points, levels, coordinates, threads, [&](int l, int64_t n, const Cells& cells, int i) {
      const float* values = table + levels[l].offset;
      Vector corner[8], sum = {};
      for (int c = 0; c < 8; ++c) {
        corner[c] = load_features<Vector>(values + int64_t{cells.row[c][i]} * F);
        sum += cells.weight[c][i] * corner[c];
      }
      store_features(out + n * width + l * F, sum);
      if (!jacobian) return;
      Vector along[3];
      derivatives(corner, cells.fraction[0][i], cells.fraction[1][i], cells.fraction[2][i], along);
      for (int k = 0; k < 3; ++k) {
        float lanes[F];
        store_features(lanes, along[k] * cells_per_unit(coordinates[3 * n + k], levels[l]));
        for (int f = 0; f < F; ++f) jacobian[(n * width + l * F + f) * 3 + k] = lanes[f];
      }
    });
  });
}

// table_grad [L, T, F] of out_grad [N, L F] and, unless it is null, jacobian_grad [N, L F, 3]. Threads own levels.
GEN3D_API void gen3d_volume_hash_table_backward(int64_t points, const float* coordinates, int32_t level_count,
                                                int64_t rows, int32_t features, const int32_t* resolutions,
                                                const float* out_grad, const float* jacobian_grad, float* table_grad,
                                                int32_t threads) {
  using namespace gen3d;
  const std::vector<Level> levels = levels_of(level_count, rows, features, resolutions);
  with_features(features, [&](auto constant) {
    constexpr int F = decltype(constant)::value;
    typedef typename Features<F>::Type Vector;
    const int64_t width = int64_t{level_count} * F;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int32_t task = 0; task < level_count; ++task) {
      const int32_t l = level_count - 1 - task;  // the finest, which miss the cache most, first
      float* grad = table_grad + levels[l].offset;
      std::fill(grad, grad + rows * F, 0.0f);
      Cells cells;
      for (int64_t first = 0; first < points; first += kBlock) {
        const int count = static_cast<int>(std::min<int64_t>(kBlock, points - first));
        cells.locate(coordinates + 3 * first, count, levels[l]);
        for (int i = 0; i < count; ++i) {
          const int64_t n = first + i;
          const Vector feature_grad = load_features<Vector>(out_grad + n * width + l * F);
          const auto add = [&](int c, Vector value) {
            float* row = grad + int64_t{cells.row[c][i]} * F;
            store_features(row, load_features<Vector>(row) + value);
          };
          if (!jacobian_grad) {
            for (int c = 0; c < 8; ++c) add(c, cells.weight[c][i] * feature_grad);
            continue;
          }
          Vector slope_grad[3];
          for (int k = 0; k < 3; ++k) {
            float lanes[F];
            for (int f = 0; f < F; ++f) lanes[f] = jacobian_grad[(n * width + l * F + f) * 3 + k];
            slope_grad[k] = load_features<Vector>(lanes) * cells_per_unit(coordinates[3 * n + k], levels[l]);
          }
          const float x = cells.fraction[0][i], y = cells.fraction[1][i], z = cells.fraction[2][i];
          for (int c = 0; c < 8; ++c) {
            const float wx = c & 1 ? x : 1 - x, wy = c & 2 ? y : 1 - y, wz = c & 4 ? z : 1 - z;
            const float sx = c & 1 ? 1.0f : -1.0f, sy = c & 2 ? 1.0f : -1.0f, sz = c & 4 ? 1.0f : -1.0f;
            add(c, wz * (wy * (wx * feature_grad + sx * slope_grad[0]) + wx * sy * slope_grad[1]) +
                       wx * wy * sz * slope_grad[2]);
          }
        }
      }
    }
  });
}

// points_grad [N, 3] of out_grad [N, L F].
GEN3D_API void gen3d_volume_hash_points_backward(int64_t points, const float* coordinates, const float* table,
                                                 int32_t level_count, int64_t rows, int32_t features,
                                                 const int32_t* resolutions, const float* out_grad, float* points_grad,
                                                 int32_t threads) {
  using namespace gen3d;
  const std::vector<Level> levels = levels_of(level_count, rows, features, resolutions);
  std::fill(points_grad, points_grad + 3 * points, 0.0f);
  with_features(features, [&](auto constant) {
    constexpr int F = decltype(constant)::value;
    const int64_t width = int64_t{level_count} * F;
    for_each_block(points, levels, coordinates, threads, [&](int l, int64_t n, const Cells& cells, int i) {
      const float *values = table + levels[l].offset, *grad = out_grad + n * width + l * F;
      float corner[8], along[3];
      for (int c = 0; c < 8; ++c) {
        const float* row = values + int64_t{cells.row[c][i]} * F;
        corner[c] = 0.0f;
        for (int f = 0; f < F; ++f) corner[c] += row[f] * grad[f];
      }
      derivatives(corner, cells.fraction[0][i], cells.fraction[1][i], cells.fraction[2][i], along);
      for (int k = 0; k < 3; ++k) {
        points_grad[3 * n + k] += along[k] * cells_per_unit(coordinates[3 * n + k], levels[l]);
      }
    });
  });
}

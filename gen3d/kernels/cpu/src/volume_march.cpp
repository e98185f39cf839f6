// Rays through a two-level occupancy grid of [-1, 1]^3. Threads own rays.
//
// The first pass notes in a bit for every step of a ray whether it is sampled, the second writes the samples to their
// places: marching twice could, by another rounding, find another number of them.
#include <cmath>

#include "volume.h"

namespace gen3d {
namespace {

constexpr float kTiny = 1e-12f;  // stands for directions parallel to a face

// A ray that is not finite misses the cube.
struct Ray {
  float origin[3], direction[3], enter, leave;

  Ray(const float* from, const float* along) : enter(0.0f), leave(INFINITY) {
    for (int k = 0; k < 3; ++k) {
      if (!std::isfinite(from[k]) || !std::isfinite(along[k])) leave = -INFINITY;
      origin[k] = from[k];
      direction[k] = along[k];
      const float slope = std::fabs(along[k]) < kTiny ? kTiny : along[k];
      const float one = (-1.0f - from[k]) / slope, other = (1.0f - from[k]) / slope;
      enter = std::max(enter, std::min(one, other));
      leave = std::min(leave, std::max(one, other));
    }
  }

  float at(float t, int k) const { return origin[k] + t * direction[k]; }
};

struct Occupancy {
  const uint8_t *fine, *coarse;
  int32_t resolution, coarse_resolution;
};

// The first step from k on that may lie outside the coarse cell: never beyond the cell, at times short of its end.
int32_t skip(const Ray& ray, const int32_t (&coarse)[3], int32_t coarse_resolution, int32_t k, float step,
             float jitter) {
  constexpr float kSlack = 0.01f;  // of a step: more than the rounding of all that follows
  float leave = INFINITY;
  for (int a = 0; a < 3; ++a) {
    if (std::fabs(ray.direction[a]) < kTiny) continue;
    const int32_t side = coarse[a] + (ray.direction[a] > 0.0f);
    const float plane = 2.0f * static_cast<float>(side) / static_cast<float>(coarse_resolution) - 1.0f;
    leave = std::min(leave, (plane - ray.origin[a]) / ray.direction[a]);
  }
  const float next = std::ceil((leave - ray.enter) / step - jitter - kSlack);
  return next > static_cast<float>(k) ? std::max(k + 1, static_cast<int32_t>(std::min(next, 1e9f))) : k + 1;
}

}  // namespace
}  // namespace gen3d

// Sets the bits of the sampled steps in hits [R, words] and their numbers in counts [R]. fine and coarse: [S, S, S]
// bytes, z first. 64 words hold the steps of every ray.
GEN3D_API void gen3d_volume_march(int64_t rays, const float* origins, const float* directions, const float* jitter,
                                  float step, const uint8_t* fine, int32_t resolution, const uint8_t* coarse,
                                  int32_t coarse_resolution, int32_t words, uint64_t* hits, int64_t* counts,
                                  int32_t threads) {
  using namespace gen3d;
  const int32_t block = resolution / coarse_resolution;
#pragma omp parallel for schedule(dynamic, 256) num_threads(threads)
  for (int64_t r = 0; r < rays; ++r) {
    const Ray ray(origins + 3 * r, directions + 3 * r);
    uint64_t* bits = hits + r * words;
    std::fill(bits, bits + words, uint64_t{0});
    counts[r] = 0;
    for (int32_t k = 0; k < 64 * words;) {
      const float t = ray.enter + (static_cast<float>(k) + jitter[r]) * step;
      if (!(t < ray.leave)) break;
      int32_t cell[3], coarse_cell[3];
      for (int a = 0; a < 3; ++a) {
        const float scaled = (ray.at(t, a) + 1.0f) * 0.5f * static_cast<float>(resolution);
        cell[a] = static_cast<int32_t>(std::min(positive_part(scaled), static_cast<float>(resolution - 1)));
        coarse_cell[a] = cell[a] / block;
      }
      const auto index = [](const int32_t (&c)[3], int64_t side) { return (c[2] * side + c[1]) * side + c[0]; };
      if (!coarse[index(coarse_cell, coarse_resolution)]) {
        k = skip(ray, coarse_cell, coarse_resolution, k, step, jitter[r]);
        continue;
      }
      if (fine[index(cell, resolution)]) {
        bits[k / 64] |= uint64_t{1} << k % 64;
        ++counts[r];
      }
      ++k;
    }
  }
}

// The samples that the bits stand for: positions [N, 3], t [N], delta [N] and ray [N]; offsets [R + 1].
GEN3D_API void gen3d_volume_samples(int64_t rays, const float* origins, const float* directions, const float* jitter,
                                    float step, int32_t words, const uint64_t* hits, const int64_t* offsets,
                                    float* positions, float* t, float* delta, int64_t* ray_index, int32_t threads) {
  using namespace gen3d;
#pragma omp parallel for schedule(dynamic, 256) num_threads(threads)
  for (int64_t r = 0; r < rays; ++r) {
    const Ray ray(origins + 3 * r, directions + 3 * r);
    int64_t n = offsets[r];
    for (int32_t word = 0; word < words; ++word) {
      for (uint64_t left = hits[r * words + word]; left; left &= left - 1) {
        const float k = static_cast<float>(64 * word + __builtin_ctzll(left));
        t[n] = ray.enter + (k + jitter[r]) * step;
        delta[n] = std::min(step, ray.leave - ray.enter - k * step);
        for (int a = 0; a < 3; ++a) positions[3 * n + a] = ray.at(t[n], a);
        ray_index[n++] = r;
      }
    }
  }
}

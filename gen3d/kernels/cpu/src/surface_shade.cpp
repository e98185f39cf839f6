// Light, depth and unit normals at the points of a mesh that pixels see: what is drawn of them, in one pass over them.
#include <algorithm>
#include <cmath>

#include "simd.h"

namespace gen3d {
namespace {

constexpr float kShortest = 1e-12f;  // a normal is divided by no less, as PyTorch does
constexpr int kChannels = 5;         // beside the colours: alpha, depth and normal
constexpr int kGeometry = 6;         // position and normal

struct Lights {
  int32_t count;
  const float* towards;  // [count, 3], as long as the light is strong
  float ambient;

  // Light on a unit normal; `slope`, where given, becomes its derivative.
  float on(const float* normal, float* slope) const {
    float light = ambient;
    for (int l = 0; l < count; ++l) {
      const float* to = towards + 3 * l;
      const float lambert = normal[0] * to[0] + normal[1] * to[1] + normal[2] * to[2];
      if (lambert < 0.0f) continue;
      light += lambert;
      for (int k = 0; slope && k < 3; ++k) slope[k] += to[k];
    }
    return light;
  }
};

// The axis of the camera that sees a pixel, and how far the world's origin lies along it.
const double* axis_of(const double* projections, int64_t pixel, int64_t area) {
  return projections + 12 * (pixel / area) + 8;
}

float inverse_length(const float* normal) {
  const float length = std::sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
  return 1.0f / std::max(length, kShortest);
}

// A point as it is lit.
struct Point {
  const float* position;  // [3], and behind it the normal and, where they are not apart, the colours
  const float* color;
  float inverse;  // of the normal's length
  float unit[3];
  float light;
};

// Point `n` of surface [N, width] and colors [N, channels] or null; `slope` as for `Lights::on`.
Point lit(const float* surface, int32_t width, const float* colors, int32_t channels, int64_t n, const Lights& lights,
          float* slope) {
  Point point;
  point.position = surface + n * width;
  point.color = colors ? colors + n * channels : point.position + kGeometry;
  const float* normal = point.position + 3;
  point.inverse = inverse_length(normal);
  for (int k = 0; k < 3; ++k) point.unit[k] = normal[k] * point.inverse;
  point.light = lights.on(point.unit, slope);
  return point;
}

}  // namespace
}  // namespace gen3d

// values [N, channels + 5] (lit colours, 1, depth, unit normal) of surface [N, width] (positions, normals, and the
// colours where `colors` [N, channels] is null). pixels [N] are flat over views of `area` pixels; projections
// [B, 3, 4] = K times world-to-camera in OpenCV axes.
GEN3D_API void gen3d_surface_shade(int64_t points, int32_t width, int32_t channels, const float* surface,
                                   const float* colors, const int64_t* pixels, const double* projections, int64_t area,
                                   int32_t light_count, const float* lights, float ambient, float* values,
                                   int32_t threads) {
  using namespace gen3d;
  const Lights studio = {light_count, lights, ambient};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t n = 0; n < points; ++n) {
    const Point point = lit(surface, width, colors, channels, n, studio, nullptr);
    float* out = values + n * (channels + kChannels);
    for (int c = 0; c < channels; ++c) out[c] = point.color[c] * point.light;
    const double* axis = axis_of(projections, pixels[n], area);
    const float* position = point.position;
    out[channels] = 1.0f;
    const double depth = axis[0] * position[0] + axis[1] * position[1] + axis[2] * position[2] + axis[3];
    out[channels + 1] = static_cast<float>(depth);
    std::copy(point.unit, point.unit + 3, out + channels + 2);
  }
}

// The gradients of `gen3d_surface_shade`, of values_grad [N, channels + 5]: surface_grad [N, width], and colors_grad
// [N, channels] where the colours are apart.
GEN3D_API void gen3d_surface_shade_backward(int64_t points, int32_t width, int32_t channels, const float* surface,
                                            const float* colors, const int64_t* pixels, const double* projections,
                                            int64_t area, int32_t light_count, const float* lights, float ambient,
                                            const float* values_grad, float* surface_grad, float* colors_grad,
                                            int32_t threads) {
  using namespace gen3d;
  const Lights studio = {light_count, lights, ambient};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t n = 0; n < points; ++n) {
    float slope[3] = {};
    const Point point = lit(surface, width, colors, channels, n, studio, slope);
    const float *grad = values_grad + n * (channels + kChannels), *normal_grad = grad + channels + 2;
    float* out = surface_grad + n * width;
    float* color_out = colors ? colors_grad + n * channels : out + kGeometry;
    float light_grad = 0.0f;
    for (int c = 0; c < channels; ++c) {
      light_grad += grad[c] * point.color[c];
      color_out[c] = grad[c] * point.light;
    }
    const double* axis = axis_of(projections, pixels[n], area);
    float unit_grad[3], along = 0.0f;
    for (int k = 0; k < 3; ++k) {
      out[k] = static_cast<float>(axis[k]) * grad[channels + 1];
      unit_grad[k] = normal_grad[k] + light_grad * slope[k];
      along += unit_grad[k] * point.unit[k];
    }
    if (point.inverse * kShortest >= 1.0f) along = 0.0f;  // divided by a constant
    for (int k = 0; k < 3; ++k) out[3 + k] = (unit_grad[k] - along * point.unit[k]) * point.inverse;
    if (colors) std::fill(out + kGeometry, out + width, 0.0f);  // channels that nothing reads
  }
}

// Vertex attributes at the points of a mesh that pixels see, and the gradients of both the attributes and the vertices.
#include <algorithm>
#include <vector>

#include "simd.h"
#include "surface.h"

namespace gen3d {
namespace {

Homogeneous cross(const Homogeneous& p, const Homogeneous& q) {
  return {p.y * q.z - p.z * q.y, p.z * q.x - p.x * q.z, p.x * q.y - p.y * q.x};
}

double dot(const Homogeneous& p, const Homogeneous& q) { return p.x * q.x + p.y * q.y + p.z * q.z; }

void add_scaled(Homogeneous& sum, double factor, const Homogeneous& p) {
  sum.x += factor * p.x;
  sum.y += factor * p.y;
  sum.z += factor * p.z;
}

// The barycentrics b_i = u_i / sum(u), u_i = d . (P_j x P_k), of the point that the ray d of a pixel meets, and how
// the corners P of the triangle move them.
struct Footprint {
  Homogeneous corner[3], ray;
  double bary[3], sum;

  Footprint(const Homogeneous (&corners)[3], double x, double y) : ray{x, y, 1.0} {
    std::copy(corners, corners + 3, corner);
    double weight[3];
    for (int i = 0; i < 3; ++i) weight[i] = dot(ray, cross(corner[(i + 1) % 3], corner[(i + 2) % 3]));
    sum = weight[0] + weight[1] + weight[2];
    for (int i = 0; i < 3; ++i) bary[i] = weight[i] / sum;
  }

  // Adds the corners' gradients, given that with respect to the barycentrics.
  void backward(const double (&bary_gradient)[3], Homogeneous (&corner_gradient)[3]) const {
    const double mean =
        bary_gradient[0] * bary[0] + bary_gradient[1] * bary[1] + bary_gradient[2] * bary[2];
    for (int i = 0; i < 3; ++i) {
      const int j = (i + 1) % 3, k = (i + 2) % 3;
      const double factor = (bary_gradient[i] - mean) / sum;  // of u_i
      add_scaled(corner_gradient[j], factor, cross(corner[k], ray));
      add_scaled(corner_gradient[k], factor, cross(ray, corner[j]));
    }
  }
};

// The points sorted by face, in ascending order within each: a counting sort.
struct PointsByFace {
  std::vector<int32_t> starts, order;

  PointsByFace(int64_t points, int64_t faces, const int64_t* pixels, const int32_t* face)
      : starts(faces + 1, 0), order(points) {
    for (int64_t n = 0; n < points; ++n) ++starts[face[pixels[n]] + 1];
    for (int64_t f = 0; f < faces; ++f) starts[f + 1] += starts[f];
    std::vector<int32_t> next(starts.begin(), starts.end() - 1);
    for (int64_t n = 0; n < points; ++n) order[next[face[pixels[n]]]++] = static_cast<int32_t>(n);
  }

  bool seen(int64_t f) const { return starts[f] < starts[f + 1]; }
};

// Sums the gradients of the corners [F, 3, width] around every vertex. Those of faces that no pixel sees hold nothing.
void gather_corners(int64_t count, const int32_t* starts, const int32_t* corners, const PointsByFace& points,
                    const std::vector<float>& slots, int width, float* out, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t v = 0; v < count; ++v) {
    float* sum = out + v * width;
    std::fill(sum, sum + width, 0.0f);
    for (int32_t i = starts[v]; i < starts[v + 1]; ++i) {
      if (!points.seen(corners[i] / 3)) continue;
      const float* slot = slots.data() + static_cast<int64_t>(corners[i]) * width;
      for (int c = 0; c < width; ++c) sum[c] += slot[c];
    }
  }
}

}  // namespace
}  // namespace gen3d

// values [N, C] of attributes [A, C] at the N points. pixels [N] index face [B, H, W]; bary [N, 3]; attribute_faces
// [F, 3] names the rows of a face's corners.
GEN3D_API void gen3d_surface_interpolate(int64_t points, const int64_t* pixels, const int32_t* face, const float* bary,
                                         const int32_t* attribute_faces, const float* attributes, int32_t channels,
                                         float* values, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t n = 0; n < points; ++n) {
    const int32_t* rows = attribute_faces + 3 * static_cast<int64_t>(face[pixels[n]]);
    const float *a = attributes + static_cast<int64_t>(rows[0]) * channels,
                *b = attributes + static_cast<int64_t>(rows[1]) * channels,
                *c = attributes + static_cast<int64_t>(rows[2]) * channels;
    const float *w = bary + 3 * n;
    float* out = values + n * channels;
    for (int i = 0; i < channels; ++i) out[i] = w[0] * a[i] + w[1] * b[i] + w[2] * c[i];
  }
}

// The gradients of `gen3d_surface_interpolate`: attributes_grad [A, C] and vertices_grad [V, 3], of values_grad [N, C].
// Either may be null. starts and corners list the corners at each vertex, attribute_* those at each attribute row.
GEN3D_API void gen3d_surface_interpolate_backward(
    int64_t points, int64_t faces_count, int64_t vertex_count, int64_t attribute_count, const int64_t* pixels,
    const int32_t* face, const float* vertices, const int32_t* faces, const int32_t* starts, const int32_t* corners,
    const float* attributes, const int32_t* attribute_faces, const int32_t* attribute_starts,
    const int32_t* attribute_corners, int32_t channels, const double* projections, int32_t width, int32_t height,
    const float* values_grad, float* attributes_grad, float* vertices_grad, int32_t threads) {
  using namespace gen3d;
  const PointsByFace sorted(points, faces_count, pixels, face);
  std::vector<float> vertex_slots(vertices_grad ? 9 * faces_count : 0);
  std::vector<float> attribute_slots(attributes_grad ? 3 * channels * faces_count : 0);
#pragma omp parallel num_threads(threads)
  {
    std::vector<double> attribute_sums(3 * channels);
#pragma omp for schedule(dynamic, 64)
    for (int64_t f = 0; f < faces_count; ++f) {
      if (!sorted.seen(f)) continue;
      double vertex_sums[9] = {};
      std::fill(attribute_sums.begin(), attribute_sums.end(), 0.0);
      Homogeneous projected[3] = {}, corner_gradient[3] = {};
      int64_t view = -1;
      const auto finish_view = [&] {  // from the corners' projections in one view to the corners
        for (int c = 0; c < 3; ++c) {
          double point_gradient[3];
          unproject_gradient(projections + 12 * view, corner_gradient[c], point_gradient);
          for (int k = 0; k < 3; ++k) vertex_sums[3 * c + k] += point_gradient[k];
          corner_gradient[c] = {};
        }
      };
      for (int32_t i = sorted.starts[f]; i < sorted.starts[f + 1]; ++i) {
        const int64_t n = sorted.order[i], pixel = pixels[n], pixel_view = pixel / (int64_t{width} * height);
        if (pixel_view != view) {
          if (view >= 0) finish_view();
          view = pixel_view;
          for (int c = 0; c < 3; ++c) {
            projected[c] = project(projections + 12 * view, vertices + 3 * int64_t{faces[3 * f + c]});
          }
        }
        const Footprint footprint(projected, pixel % width + 0.5, pixel / width % height + 0.5);
        const float* grad = values_grad + n * channels;
        if (attributes_grad) {
          for (int c = 0; c < 3; ++c) {
            for (int k = 0; k < channels; ++k) attribute_sums[c * channels + k] += footprint.bary[c] * grad[k];
          }
        }
        if (!vertices_grad) continue;
        double bary_gradient[3] = {};
        for (int c = 0; c < 3; ++c) {
          const float* row = attributes + int64_t{attribute_faces[3 * f + c]} * channels;
          for (int k = 0; k < channels; ++k) bary_gradient[c] += static_cast<double>(grad[k]) * row[k];
        }
        footprint.backward(bary_gradient, corner_gradient);
      }
      finish_view();
      if (vertices_grad) std::copy(vertex_sums, vertex_sums + 9, vertex_slots.begin() + 9 * f);
      if (attributes_grad) {
        std::copy(attribute_sums.begin(), attribute_sums.end(), attribute_slots.begin() + 3 * channels * f);
      }
    }
  }
  if (vertices_grad) gather_corners(vertex_count, starts, corners, sorted, vertex_slots, 3, vertices_grad, threads);
  if (attributes_grad) {
    gather_corners(attribute_count, attribute_starts, attribute_corners, sorted, attribute_slots, channels,
                   attributes_grad, threads);
  }
}

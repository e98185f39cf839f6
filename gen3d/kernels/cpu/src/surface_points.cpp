// Vertex attributes at the points of a mesh that pixels see, and the gradients of both the attributes and the vertices.
#include <algorithm>
#include <memory>
#include <vector>

#include "channels.h"
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

// A triangle in one view. A pixel's ray d meets it at the barycentrics b_i = u_i / sum(u), u_i = d . (P_j x P_k), where
// P are the corners: linear in d, so that the pixels' gradients are added up before they go to the corners.
class Triangle {
 public:
  void place(const Homogeneous& first, const Homogeneous& second, const Homogeneous& third) {
    corner_[0] = first, corner_[1] = second, corner_[2] = third;
    for (int i = 0; i < 3; ++i) {
      normal_[i] = cross(corner_[(i + 1) % 3], corner_[(i + 2) % 3]);
      gradient_[i] = {};
    }
  }

  // The barycentrics where the ray meets it; returns the sum of the u_i.
  double meet(const Homogeneous& ray, double (&bary)[3]) const {
    for (int i = 0; i < 3; ++i) bary[i] = dot(ray, normal_[i]);
    const double sum = bary[0] + bary[1] + bary[2];
    for (int i = 0; i < 3; ++i) bary[i] /= sum;
    return sum;
  }

  // Adds the gradient with respect to the barycentrics that `meet` gave.
  void add(const Homogeneous& ray, const double (&bary)[3], double sum, const double (&bary_gradient)[3]) {
    const double mean = bary_gradient[0] * bary[0] + bary_gradient[1] * bary[1] + bary_gradient[2] * bary[2];
    for (int i = 0; i < 3; ++i) add_scaled(gradient_[i], (bary_gradient[i] - mean) / sum, ray);
  }

  // The gradient of corner j, by the two products it is in.
  Homogeneous corner_gradient(int j) const {
    const int k = (j + 1) % 3, i = (j + 2) % 3;
    Homogeneous sum = cross(corner_[k], gradient_[i]);
    add_scaled(sum, 1.0, cross(gradient_[k], corner_[i]));
    return sum;
  }

 private:
  Homogeneous corner_[3], normal_[3], gradient_[3];  // gradient_: of P_j x P_k
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

// What the points of each face mean for `width` numbers at each of its corners, and which corners meet where. Faces that
// no point sees have slots too, which hold nothing.
struct Corners {
  int32_t width;
  const int32_t *starts, *corners;  // of each row that corners share
  int64_t rows;
  float* out;  // [rows, width], or null where nobody asks
  std::unique_ptr<float[]> slots;

  Corners(int64_t faces, int32_t width, const int32_t* starts, const int32_t* corners, int64_t rows, float* out)
      : width(width), starts(starts), corners(corners), rows(rows), out(out),
        slots(out ? new float[3 * width * faces] : nullptr) {}

  void set(int64_t face, const double* sums) const {
    if (out) std::copy(sums, sums + 3 * width, slots.get() + 3 * width * face);
  }

  // Sums the slots of a row.
  void gather(int64_t row, const PointsByFace& points) const {
    float* sum = out + row * width;
    std::fill(sum, sum + width, 0.0f);
    for (int32_t i = starts[row]; i < starts[row + 1]; ++i) {
      if (!points.seen(corners[i] / 3)) continue;
      const float* slot = slots.get() + int64_t{corners[i]} * width;
      for (int c = 0; c < width; ++c) sum[c] += slot[c];
    }
  }
};

// Where the points lie: flat indices over views of `area` pixels.
struct Pixels {
  const int64_t* index;
  int32_t width;
  int64_t area;

  int64_t view(int64_t point) const { return index[point] / area; }

  Homogeneous ray(int64_t point) const {
    const int64_t pixel = index[point] % area;
    return {pixel % width + 0.5, pixel / width + 0.5, 1.0};
  }
};

struct Mesh {
  const float* vertices;
  const int32_t* faces;
  const float* attributes;
  const int32_t* attribute_faces;
  const double* projections;
};

// Sets the slots of a face that is seen, of the gradients of its points' values [N, Channels]; where Channels is 0,
// their number is that of `of_attributes`. sums: room for three corners.
template <int Channels>
void face_backward(int64_t f, const Mesh& mesh, const Pixels& pixels, const PointsByFace& sorted,
                   const float* values_grad, std::vector<double>& sums, const Corners& of_vertices,
                   const Corners& of_attributes) {
  const int channels = Channels ? Channels : of_attributes.width;
  std::fill(sums.begin(), sums.end(), 0.0);
  double vertex_sums[9] = {};
  const float* rows[3];
  for (int c = 0; c < 3; ++c) rows[c] = mesh.attributes + int64_t{mesh.attribute_faces[3 * f + c]} * channels;
  Triangle triangle;
  int64_t view = -1;
  const auto finish_view = [&] {  // from the corners' projections in one view to the corners
    for (int c = 0; c < 3; ++c) {
      double point_gradient[3];
      unproject_gradient(mesh.projections + 12 * view, triangle.corner_gradient(c), point_gradient);
      for (int k = 0; k < 3; ++k) vertex_sums[3 * c + k] += point_gradient[k];
    }
  };
  for (int32_t i = sorted.starts[f]; i < sorted.starts[f + 1]; ++i) {
    const int64_t n = sorted.order[i], point_view = pixels.view(n);
    if (point_view != view) {
      if (view >= 0) finish_view();
      view = point_view;
      const auto corner = [&](int c) {
        return project(mesh.projections + 12 * view, mesh.vertices + 3 * int64_t{mesh.faces[3 * f + c]});
      };
      triangle.place(corner(0), corner(1), corner(2));
    }
    const Homogeneous ray = pixels.ray(n);
    double bary[3], bary_gradient[3] = {};
    const double sum = triangle.meet(ray, bary);
    const float* grad = values_grad + n * channels;
    for (int c = 0; of_attributes.out && c < 3; ++c) {
      double* corner_sums = sums.data() + c * channels;
      for (int k = 0; k < channels; ++k) corner_sums[k] += bary[c] * grad[k];
    }
    if (!of_vertices.out) continue;
    for (int k = 0; k < channels; ++k) {
      for (int c = 0; c < 3; ++c) bary_gradient[c] += static_cast<double>(grad[k]) * rows[c][k];
    }
    triangle.add(ray, bary, sum, bary_gradient);
  }
  finish_view();
  of_vertices.set(f, vertex_sums);
  of_attributes.set(f, sums.data());
}

}  // namespace
}  // namespace gen3d

// values [N, C] of attributes [A, C] at the N points. pixels [N] index face [B, H, W] and bary [B, H, W, 3];
// attribute_faces [F, 3] names the rows of a face's corners.
GEN3D_API void gen3d_surface_interpolate(int64_t points, const int64_t* pixels, const int32_t* face, const float* bary,
                                         const int32_t* attribute_faces, const float* attributes, int32_t channels,
                                         float* values, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t n = 0; n < points; ++n) {
    const int32_t* rows = attribute_faces + 3 * static_cast<int64_t>(face[pixels[n]]);
    const float *a = attributes + static_cast<int64_t>(rows[0]) * channels,
                *b = attributes + static_cast<int64_t>(rows[1]) * channels,
                *c = attributes + static_cast<int64_t>(rows[2]) * channels;
    const float* w = bary + 3 * pixels[n];
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
  const Mesh mesh = {vertices, faces, attributes, attribute_faces, projections};
  const Pixels seen_at = {pixels, width, int64_t{width} * height};
  const Corners of_vertices(faces_count, 3, starts, corners, vertex_count, vertices_grad);
  const Corners of_attributes(faces_count, channels, attribute_starts, attribute_corners, attribute_count,
                              attributes_grad);
  with_channels<3, 6, 9>(channels, [&](auto constant) {
#pragma omp parallel num_threads(threads)
    {
      std::vector<double> sums(3 * channels);
#pragma omp for schedule(dynamic, 64)
      for (int64_t f = 0; f < faces_count; ++f) {
        if (!sorted.seen(f)) continue;
        face_backward<decltype(constant)::value>(f, mesh, seen_at, sorted, values_grad, sums, of_vertices,
                                                 of_attributes);
      }
      for (const Corners* of : {&of_vertices, &of_attributes}) {
        if (!of->out) continue;
#pragma omp for schedule(static) nowait
        for (int64_t row = 0; row < of->rows; ++row) of->gather(row, sorted);
      }
    }
  });
}

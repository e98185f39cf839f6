// Differentiable mesh rendering after the z-buffer of mesh.cpp: what surface_points.cpp and surface_edges.cpp share.
//
// `gen3d/kernels/reference/surface.py` states the same mathematics in PyTorch. No kernel adds from two threads to one
// number: sums run in an order that the mesh and the image alone decide, so results are the same bits for any number
// of threads.
//
// Numbers may be anything: what is not finite stays so in values and gradients, and makes no index. Indices and sizes are
// trusted: `gen3d/kernels/cpu/surface.py` checks them.
#pragma once

#include <cstdint>

namespace gen3d {

// Pixel coordinates times depth, and depth: K X_camera.
struct Homogeneous {
  double x, y, z;
};

// projection: [3, 4] row by row.
inline Homogeneous project(const double* projection, const float* point) {
  double row[3];
  for (int i = 0; i < 3; ++i) {
    const double* m = projection + 4 * i;
    row[i] = m[0] * point[0] + m[1] * point[1] + m[2] * point[2] + m[3];
  }
  return {row[0], row[1], row[2]};
}

// The gradient with respect to the point from that with respect to its projection.
inline void unproject_gradient(const double* projection, const Homogeneous& gradient, double* point_gradient) {
  for (int i = 0; i < 3; ++i) {
    point_gradient[i] =
        projection[i] * gradient.x + projection[4 + i] * gradient.y + projection[8 + i] * gradient.z;
  }
}

}  // namespace gen3d

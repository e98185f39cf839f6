// Projecting 3D Gaussians onto the image plane (EWA splatting, Zwicker et al. 2001), forward and backward.
//
// sigma_2d = J W R S S^T R^T W^T J^T + blur I, with J the Jacobian of the perspective division at the mean. Writing
// u and v for the two rows of J W R S gives sigma_2d = [[u.u, u.v], [u.v, v.v]] + blur I: six numbers instead of two
// matrix products.
#include <algorithm>
#include <cmath>

#include "simd.h"
#include "splats.h"

namespace gen3d {
namespace {

// How far x/z and y/z may leave the view before the Jacobian is held fixed: far outside, the linearisation explodes.
struct ViewLimits {
  float x_low, x_high, y_low, y_high;
};

ViewLimits view_limits(const SplatCamera& camera) {
  const float margin_x = kViewMargin * static_cast<float>(camera.width) / camera.fx,
              margin_y = kViewMargin * static_cast<float>(camera.height) / camera.fy;
  return {-camera.cx / camera.fx - margin_x, (camera.width - camera.cx) / camera.fx + margin_x,
          -camera.cy / camera.fy - margin_y, (camera.height - camera.cy) / camera.fy + margin_y};
}

struct Gaussian {
  const float *mean, *quat, *scale;
};

struct CameraPoint {
  float x, y, z;
};

GEN3D_INLINE CameraPoint to_camera(const float* mean, const float* w) {
  return {w[0] * mean[0] + w[1] * mean[1] + w[2] * mean[2] + w[3],
          w[4] * mean[0] + w[5] * mean[1] + w[6] * mean[2] + w[7],
          w[8] * mean[0] + w[9] * mean[1] + w[10] * mean[2] + w[11]};
}

// Everything about the linearised Gaussian that both directions need.
struct Linearised {
  float quat[4], inverse_norm;              // unit quaternion (w, x, y, z)
  float axes[3][3];                         // W R: camera-space directions of the Gaussian's axes, in columns
  float slope_x, slope_y;                   // x/z and y/z, clamped
  bool inside_x, inside_y;                  // not clamped
  float jx, jxz, jy, jyz;                   // J = [[jx, 0, jxz], [0, jy, jyz]]
  float u[3], v[3];                         // rows of J W R S
  float cov_xx, cov_xy, cov_yy, inverse_det;
};

GEN3D_INLINE Linearised linearise(const Gaussian& gaussian, CameraPoint point, const SplatCamera& camera,
                                  const ViewLimits& limits) {
  Linearised l;
  const float* q = gaussian.quat;
  l.inverse_norm = 1.0f / std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3] + 1e-24f);
  for (int i = 0; i < 4; ++i) l.quat[i] = q[i] * l.inverse_norm;
  const float w = l.quat[0], x = l.quat[1], y = l.quat[2], z = l.quat[3];
  const float rotation[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                                {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                                {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
  const float* view = camera.world_to_camera;
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c)
      l.axes[r][c] =
          view[4 * r] * rotation[0][c] + view[4 * r + 1] * rotation[1][c] + view[4 * r + 2] * rotation[2][c];

  const float inverse_z = 1.0f / point.z, slope_x = point.x * inverse_z, slope_y = point.y * inverse_z;
  l.slope_x = std::min(std::max(slope_x, limits.x_low), limits.x_high);
  l.slope_y = std::min(std::max(slope_y, limits.y_low), limits.y_high);
  l.inside_x = l.slope_x == slope_x;
  l.inside_y = l.slope_y == slope_y;
  l.jx = camera.fx * inverse_z;
  l.jy = camera.fy * inverse_z;
  l.jxz = -l.jx * l.slope_x;
  l.jyz = -l.jy * l.slope_y;
  for (int c = 0; c < 3; ++c) {
    l.u[c] = (l.jx * l.axes[0][c] + l.jxz * l.axes[2][c]) * gaussian.scale[c];
    l.v[c] = (l.jy * l.axes[1][c] + l.jyz * l.axes[2][c]) * gaussian.scale[c];
  }
  const float uu = l.u[0] * l.u[0] + l.u[1] * l.u[1] + l.u[2] * l.u[2],
              vv = l.v[0] * l.v[0] + l.v[1] * l.v[1] + l.v[2] * l.v[2];
  l.cov_xy = l.u[0] * l.v[0] + l.u[1] * l.v[1] + l.u[2] * l.v[2];
  l.cov_xx = uu + kBlur;
  l.cov_yy = vv + kBlur;
  // Lagrange's identity |u|^2 |v|^2 - (u.v)^2 = |u x v|^2: large flat Gaussians would cancel to noise otherwise.
  const float cross[3] = {l.u[1] * l.v[2] - l.u[2] * l.v[1], l.u[2] * l.v[0] - l.u[0] * l.v[2],
                          l.u[0] * l.v[1] - l.u[1] * l.v[0]};
  l.inverse_det = 1.0f / (cross[0] * cross[0] + cross[1] * cross[1] + cross[2] * cross[2] + kBlur * (uu + vv) +
                          kBlur * kBlur);
  return l;
}

// Pixels whose centres lie in [centre - reach, centre + reach]; false when there are none, or a value is not finite.
GEN3D_INLINE bool pixel_range(float centre, float reach, int size, int32_t* first, int32_t* last) {
  const float low = std::ceil(centre - reach - 0.5f), high = std::floor(centre + reach - 0.5f);
  if (!(low <= high && high >= 0.0f && low <= static_cast<float>(size - 1) && reach < INFINITY)) return false;
  // The float nearest to the last pixel of an image wider than 2^24 may lie beyond it.
  *first = std::min(static_cast<int32_t>(std::max(low, 0.0f)), size - 1);
  *last = std::min(static_cast<int32_t>(std::min(high, static_cast<float>(size - 1))), size - 1);
  return true;
}

// Fills `out` and returns the number of tiles it touches; 0 when the Gaussian is not drawn.
GEN3D_INLINE int32_t project(const Gaussian& gaussian, float opacity, const float* color, const SplatCamera& camera,
                             const ViewLimits& limits, ScreenSplat* out) {
  const CameraPoint point = to_camera(gaussian.mean, camera.world_to_camera);
  const float exponent = std::log2(opacity);
  // sigma <= bound exactly where alpha >= 1/255
  const float bound = 2.0f / kLog2E * (exponent - kMinExponent);
  if (!(point.z > kNearPlane && bound > 0.0f)) return 0;
  const Linearised l = linearise(gaussian, point, camera, limits);
  out->x = camera.fx * point.x / point.z + camera.cx;
  out->y = camera.fy * point.y / point.z + camera.cy;
  if (!pixel_range(out->x, std::sqrt(bound * l.cov_xx), camera.width, &out->x0, &out->x1) ||
      !pixel_range(out->y, std::sqrt(bound * l.cov_yy), camera.height, &out->y0, &out->y1))
    return 0;
  const float scale = kLog2E * l.inverse_det;
  out->exponent = exponent;
  out->exponent_xx = -0.5f * scale * l.cov_yy;
  out->exponent_xy = scale * l.cov_xy;
  out->exponent_yy = -0.5f * scale * l.cov_xx;
  out->depth = point.z;
  out->red = color[0];
  out->green = color[1];
  out->blue = color[2];
  return (out->x1 / kTile - out->x0 / kTile + 1) * (out->y1 / kTile - out->y0 / kTile + 1);
}

struct GaussianGrads {
  float *means, *quats, *scales, *opacities, *colors;
};

// dL/dquat of the unnormalised quaternion from dL/d(rotation).
GEN3D_INLINE void add_quat_grad(const Linearised& l, const float v[3][3], float* grad) {
  const float w = l.quat[0], x = l.quat[1], y = l.quat[2], z = l.quat[3];
  const float unit[4] = {
      2 * (x * (v[2][1] - v[1][2]) + y * (v[0][2] - v[2][0]) + z * (v[1][0] - v[0][1])),
      2 * (-2 * x * (v[1][1] + v[2][2]) + y * (v[0][1] + v[1][0]) + z * (v[0][2] + v[2][0]) + w * (v[2][1] - v[1][2])),
      2 * (x * (v[0][1] + v[1][0]) - 2 * y * (v[0][0] + v[2][2]) + z * (v[1][2] + v[2][1]) + w * (v[0][2] - v[2][0])),
      2 * (x * (v[0][2] + v[2][0]) + y * (v[1][2] + v[2][1]) - 2 * z * (v[0][0] + v[1][1]) + w * (v[1][0] - v[0][1]))};
  const float radial = unit[0] * w + unit[1] * x + unit[2] * y + unit[3] * z;
  for (int i = 0; i < 4; ++i) grad[i] += (unit[i] - radial * l.quat[i]) * l.inverse_norm;
}

// Adds one view's gradients of one Gaussian. moments: the sum of its gradient slots. Returns |dL/d(x, y)| in units of
// half the image size, the quantity that densification watches.
GEN3D_INLINE float project_backward(const Gaussian& gaussian, float opacity, const float* moments,
                                    const SplatCamera& camera, const ViewLimits& limits, const GaussianGrads& grads) {
  const CameraPoint point = to_camera(gaussian.mean, camera.world_to_camera);
  const Linearised l = linearise(gaussian, point, camera, limits);
  const float a = l.cov_yy * l.inverse_det, b = -l.cov_xy * l.inverse_det, c = l.cov_xx * l.inverse_det;
  grads.opacities[0] -= moments[0] / opacity;
  for (int i = 0; i < 3; ++i) grads.colors[i] += moments[6 + i];

  // sigma = (a dx^2 + 2 b dx dy + c dy^2) / 2 with dx = pixel - x
  const float grad_x = -(a * moments[1] + b * moments[2]), grad_y = -(b * moments[1] + c * moments[2]);
  // The covariance's gradient is -Q V Q, with Q = [[a, b], [b, c]] its inverse and V the gradient of Q.
  const float v_xx = 0.5f * moments[3], v_xy = 0.5f * moments[4], v_yy = 0.5f * moments[5];
  const float qv_xx = a * v_xx + b * v_xy, qv_xy = a * v_xy + b * v_yy, qv_yx = b * v_xx + c * v_xy,
              qv_yy = b * v_xy + c * v_yy;
  const float g_xx = -(qv_xx * a + qv_xy * b), g_xy = -(qv_xx * b + qv_xy * c), g_yy = -(qv_yx * b + qv_yy * c);

  float grad_axes[3][3], grad_jx = 0, grad_jxz = 0, grad_jy = 0, grad_jyz = 0;
  for (int i = 0; i < 3; ++i) {
    const float s = gaussian.scale[i];
    const float grad_u = 2 * (g_xx * l.u[i] + g_xy * l.v[i]), grad_v = 2 * (g_xy * l.u[i] + g_yy * l.v[i]);
    grad_jx += grad_u * l.axes[0][i] * s;
    grad_jxz += grad_u * l.axes[2][i] * s;
    grad_jy += grad_v * l.axes[1][i] * s;
    grad_jyz += grad_v * l.axes[2][i] * s;
    const float column[3] = {l.jx * grad_u, l.jy * grad_v, l.jxz * grad_u + l.jyz * grad_v};
    grads.scales[i] += column[0] * l.axes[0][i] + column[1] * l.axes[1][i] + column[2] * l.axes[2][i];
    for (int r = 0; r < 3; ++r) grad_axes[r][i] = column[r] * s;
  }
  const float* view = camera.world_to_camera;
  float grad_rotation[3][3];
  for (int r = 0; r < 3; ++r)
    for (int i = 0; i < 3; ++i)
      grad_rotation[r][i] = view[r] * grad_axes[0][i] + view[4 + r] * grad_axes[1][i] + view[8 + r] * grad_axes[2][i];
  add_quat_grad(l, grad_rotation, grads.quats);

  // The mean moves the projected centre, the depth channel and, through x/z, y/z and 1/z, the Jacobian.
  const float inverse_z = 1.0f / point.z;
  const float grad_slope_x = camera.fx * grad_x - (l.inside_x ? l.jx * grad_jxz : 0.0f),
              grad_slope_y = camera.fy * grad_y - (l.inside_y ? l.jy * grad_jyz : 0.0f);
  const float local[3] = {
      grad_slope_x * inverse_z, grad_slope_y * inverse_z,
      moments[9] - inverse_z * (grad_slope_x * point.x * inverse_z + grad_slope_y * point.y * inverse_z +
                                l.jx * grad_jx + l.jxz * grad_jxz + l.jy * grad_jy + l.jyz * grad_jyz)};
  for (int i = 0; i < 3; ++i) grads.means[i] += view[i] * local[0] + view[4 + i] * local[1] + view[8 + i] * local[2];
  return std::hypot(grad_x * 0.5f * static_cast<float>(camera.width), grad_y * 0.5f * static_cast<float>(camera.height));
}

}  // namespace
}  // namespace gen3d

// Projects every Gaussian; tiles_touched[count] is 0 for those not drawn, whose record is left untouched. Returns the
// number of (Gaussian, tile) pairs, which is more than can be sorted where the Gaussians themselves are.
GEN3D_API int64_t gen3d_splats_project(int64_t count, const float* means, const float* quats, const float* scales,
                                       const float* opacities, const float* colors, const gen3d::SplatCamera* camera,
                                       gen3d::ScreenSplat* splats, int32_t* tiles_touched, int32_t threads) {
  using namespace gen3d;
  if (count > INT32_MAX) return count;
  const ViewLimits limits = view_limits(*camera);
  const bool has_pixels = camera->width > 0 && camera->height > 0;
  int64_t intersections = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : intersections)
  for (int64_t i = 0; i < count; ++i) {
    const Gaussian gaussian = {means + 3 * i, quats + 4 * i, scales + 3 * i};
    tiles_touched[i] = has_pixels ? project(gaussian, opacities[i], colors + 3 * i, *camera, limits, splats + i) : 0;
    intersections += tiles_touched[i];
  }
  return intersections;
}

// Adds one view's gradients to the five parameter gradients. screen_grads[count] gains the norm of the screen-space
// gradient in half image sizes.
GEN3D_API void gen3d_splats_project_backward(int64_t count, const float* means, const float* quats, const float* scales,
                                             const float* opacities, const gen3d::SplatCamera* camera,
                                             const int32_t* slots, const float* slot_grads, float* grad_means,
                                             float* grad_quats, float* grad_scales, float* grad_opacities,
                                             float* grad_colors, float* screen_grads, int32_t threads) {
  using namespace gen3d;
  const ViewLimits limits = view_limits(*camera);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    if (slots[i] == slots[i + 1]) continue;
    float moments[kSlotFloats] = {};
    for (int64_t slot = slots[i]; slot < slots[i + 1]; ++slot)
      for (int k = 0; k < kSlotFloats; ++k) moments[k] += slot_grads[kSlotFloats * slot + k];
    const Gaussian gaussian = {means + 3 * i, quats + 4 * i, scales + 3 * i};
    const GaussianGrads grads = {grad_means + 3 * i, grad_quats + 4 * i, grad_scales + 3 * i, grad_opacities + i,
                                 grad_colors + 3 * i};
    screen_grads[i] += project_backward(gaussian, opacities[i], moments, *camera, limits, grads);
  }
}

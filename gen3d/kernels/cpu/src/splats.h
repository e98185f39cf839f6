// 3D Gaussian splatting (Kerbl et al. 2023) on the CPU: the records that projection, binning and compositing share.
//
// Numbers may be anything: a Gaussian whose place or extent on the image is not finite is not drawn, and its gradients
// are zero. Counts and shapes are trusted: the Python caller allocates by them.
//
// The constants and the order of operations are gsplat's, so that the two agree; `gen3d/kernels/reference.py` states
// the same mathematics in PyTorch.
#pragma once

#include <cstdint>

namespace gen3d {

constexpr int kTile = 16;                   // tiles are kTile x kTile pixels
constexpr float kNearPlane = 0.01f;         // Gaussians closer than this are not drawn
constexpr float kBlur = 0.3f;               // pixels^2 added to the 2D covariance ("eps2d")
constexpr float kViewMargin = 0.15f;        // x/z is clamped this fraction of the image outside the view
constexpr float kMaxAlpha = 0.999f;
constexpr float kMinExponent = -7.99435344f;  // log2(1/255): fainter contributions are dropped
constexpr float kLog2E = 1.44269504f;
constexpr int kSlotFloats = 12;             // a gradient slot: ten values, padded to three quads

// World-to-camera rotation and translation (rows, OpenCV axes) and the intrinsics in pixels.
struct SplatCamera {
  float world_to_camera[12];
  float fx, fy, cx, cy;
  int32_t width, height;
};

// A Gaussian on the image plane: one cache line.
// alpha at pixel offset (dx, dy) = 2^(exponent + exponent_xx dx^2 + exponent_xy dx dy + exponent_yy dy^2).
struct alignas(64) ScreenSplat {
  float x, y;
  float exponent, exponent_xx, exponent_xy, exponent_yy;
  float depth, red, green, blue;
  int32_t x0, x1, y0, y1;  // the inclusive box of pixels where alpha can exceed 1/255
  int32_t padding[2];
};
static_assert(sizeof(ScreenSplat) == 64, "the Python side allocates 16 words per splat");

// One Gaussian in one tile, and where its gradient goes. The slots of a Gaussian are consecutive.
struct TileEntry {
  int32_t splat, slot;
};

// A gradient slot holds, summed over the tile's pixels: dL/dsigma times (1, dx, dy, dx^2, dx dy, dy^2), then
// dL/d(red, green, blue, depth), where alpha = opacity exp(-sigma).

inline int tiles_across(int pixels) { return (pixels + kTile - 1) / kTile; }

}  // namespace gen3d

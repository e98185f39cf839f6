// What the compositing kernels share.
#pragma once

#include "volume.h"

namespace gen3d {

constexpr float kMinTransmittance = 1e-4f;  // MIN_TRANSMITTANCE of kernels/reference/volume.py
constexpr int64_t kRays = 256;              // that a thread takes at once

// Alphas of optical depths; NaN of NaN.
GEN3D_INLINE Lanes alphas_of(Lanes optical_depth) {
  const Lanes depth = min(optical_depth, 80.0f);  // exp2_lanes ends at 2^-120
  // 1 - exp(-x) loses its digits near 0, where its series is exact.
  const Lanes series = depth * (1.0f - depth * (0.5f - depth * (1.0f / 6.0f - depth * (1.0f / 24.0f))));
  return select(depth < broadcast(0.05f), series, 1.0f - exp2_lanes(depth * -1.44269504f));
}

}  // namespace gen3d

// What the kernels of volume rendering share; `gen3d/kernels/reference/volume.py` states their mathematics in PyTorch.
//
// No kernel adds from two threads to one number: sums run in an order that the input alone decides, so results are the
// same bits for any number of threads.
//
// Numbers may be anything: indices are made of clamped, finite ones. Infinite coordinates count as outside the cube; a
// coordinate that is NaN lies in an axis' first cell with a fraction of NaN, so that features and gradients are NaN.
// Sizes and offsets are trusted: `gen3d/kernels/cpu/volume.py` checks them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "channels.h"
#include "simd.h"

namespace gen3d {

constexpr int64_t kChunk = 2048;  // points or rays that a thread takes at once

// Calls `run` with the number of channels of a field as a constant, 0 where it is an unusual one.
template <class Run>
void with_field_channels(int channels, Run run) {
  with_channels<1, 3, 4, 16, 32>(channels, run);
}

// x where it is above 0, else 0, also for NaN, which std::max would keep: converting a NaN to an integer is undefined.
GEN3D_INLINE float positive_part(float x) { return x > 0.0f ? x : 0.0f; }

GEN3D_INLINE float dot(const float* a, const float* b, int count) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace gen3d

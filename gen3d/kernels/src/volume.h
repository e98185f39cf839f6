// What the kernels of volume rendering share; `gen3d/kernels/volume_reference.py` states the same mathematics in PyTorch.
//
// No kernel adds from two threads to one number: sums run in an order that the input alone decides, so results are the
// same bits for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "simd.h"

namespace gen3d {

constexpr int64_t kChunk = 2048;  // points or rays that a thread takes at once

template <int V>
using Constant = std::integral_constant<int, V>;

// Calls `run` with the number of channels as a compile-time constant where that pays, else with 0.
template <class Run>
void with_channels(int channels, Run run) {
  switch (channels) {
    case 1: return run(Constant<1>());
    case 3: return run(Constant<3>());
    case 4: return run(Constant<4>());
    case 16: return run(Constant<16>());
    case 32: return run(Constant<32>());
    default: return run(Constant<0>());
  }
}

GEN3D_INLINE float dot(const float* a, const float* b, int count) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace gen3d

// Compositing packed samples front to back, forward and backward. Threads own rays.
#include <vector>

#include "volume_composite.h"

namespace gen3d {
namespace {

// Opacities are optical depths (form 0) or alphas (form 1).
//
// Walks a ray from near to far: visit(sample, alpha, transmittance before it). Returns the first sample not visited.
template <class Visit>
GEN3D_INLINE int64_t walk(int64_t begin, int64_t end, const float* opacity, int32_t form, Visit visit) {
  float transmittance = 1.0f;
  for (int64_t first = begin; first < end; first += kLanes) {
    const int count = static_cast<int>(std::min<int64_t>(kLanes, end - first));
    float lanes[kLanes] = {};
    std::memcpy(lanes, opacity + first, count * sizeof(float));
    if (!form) store(lanes, alphas_of(load(lanes)));
    for (int i = 0; i < count; ++i) {
      if (transmittance < kMinTransmittance) return first + i;
      visit(first + i, lanes[i], transmittance);
      transmittance *= 1.0f - lanes[i];
    }
  }
  return end;
}

template <int Channels>
void forward(int64_t rays, const int64_t* offsets, const float* opacity, int32_t form, const float* values,
             int32_t channel_count, float* out, float* alpha, float* weights, int threads) {
  const int channels = Channels ? Channels : channel_count;
#pragma omp parallel for schedule(dynamic, kRays) num_threads(threads)
  for (int64_t r = 0; r < rays; ++r) {
    float* sum = out + r * channels;
    std::fill(sum, sum + channels, 0.0f);
    float total = 0.0f;
    const int64_t last = walk(offsets[r], offsets[r + 1], opacity, form, [&](int64_t n, float a, float transmittance) {
      const float weight = transmittance * a;
      weights[n] = weight;
      total += weight;
      for (int c = 0; c < channels; ++c) sum[c] += weight * values[n * channels + c];
    });
    std::fill(weights + last, weights + offsets[r + 1], 0.0f);
    alpha[r] = total;
  }
}

// With g_i = dL/dw_i and S_i the sum of g_j w_j over the samples behind i,
// dL/d(optical depth_i) = T_{i+1} g_i - S_i and dL/d(alpha_i) = T_i g_i - S_i / (1 - alpha_i).
template <int Channels>
void backward(int64_t rays, const int64_t* offsets, const float* opacity, int32_t form, const float* values,
              int32_t channel_count, const float* out_grad, const float* alpha_grad, const float* weights_grad,
              float* opacity_grad, float* values_grad, int threads) {
  const int channels = Channels ? Channels : channel_count;
#pragma omp parallel num_threads(threads)
  {
    struct Sample {
      float alpha, transmittance;
    };
    std::vector<Sample> samples;
#pragma omp for schedule(dynamic, kRays)
    for (int64_t r = 0; r < rays; ++r) {
      const int64_t begin = offsets[r], end = offsets[r + 1];
      samples.clear();
      const int64_t last = walk(begin, end, opacity, form, [&](int64_t, float a, float transmittance) {
        samples.push_back({a, transmittance});
      });
      std::fill(opacity_grad + last, opacity_grad + end, 0.0f);
      std::fill(values_grad + last * channels, values_grad + end * channels, 0.0f);
      const float* ray_grad = out_grad + r * channels;
      float behind = 0.0f;
      for (int64_t n = last - 1; n >= begin; --n) {
        const Sample& sample = samples[n - begin];
        const float weight = sample.transmittance * sample.alpha, through = 1.0f - sample.alpha;
        float grad = (alpha_grad ? alpha_grad[r] : 0.0f) + (weights_grad ? weights_grad[n] : 0.0f);
        for (int c = 0; c < channels; ++c) {
          grad += ray_grad[c] * values[n * channels + c];
          values_grad[n * channels + c] = ray_grad[c] * weight;
        }
        // Nothing behind an opaque sample was walked, so `behind` is 0 where `through` is.
        const float blocked = behind == 0.0f ? 0.0f : form ? behind / through : behind;
        opacity_grad[n] = sample.transmittance * (form ? 1.0f : through) * grad - blocked;
        behind += grad * weight;
      }
    }
  }
}

}  // namespace
}  // namespace gen3d

// out [R, C], alpha [R] and weights [N] of opacity [N] and values [N, C]; offsets [R + 1].
GEN3D_API void gen3d_volume_composite(int64_t rays, const int64_t* offsets, const float* opacity, int32_t form,
                                      const float* values, int32_t channels, float* out, float* alpha, float* weights,
                                      int32_t threads) {
  using namespace gen3d;
  with_field_channels(channels, [&](auto constant) {
    forward<decltype(constant)::value>(rays, offsets, opacity, form, values, channels, out, alpha, weights, threads);
  });
}

// opacity_grad [N] and values_grad [N, C] of out_grad [R, C], alpha_grad [R] and weights_grad [N]; the last two may be
// null.
GEN3D_API void gen3d_volume_composite_backward(int64_t rays, const int64_t* offsets, const float* opacity,
                                               int32_t form, const float* values, int32_t channels,
                                               const float* out_grad, const float* alpha_grad,
                                               const float* weights_grad, float* opacity_grad, float* values_grad,
                                               int32_t threads) {
  using namespace gen3d;
  with_field_channels(channels, [&](auto constant) {
    backward<decltype(constant)::value>(rays, offsets, opacity, form, values, channels, out_grad, alpha_grad,
                                        weights_grad, opacity_grad, values_grad, threads);
  });
}

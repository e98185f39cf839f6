// From what a field says at packed samples to pixels, forward and backward: raw densities and colour logits are activated
// and composited in one pass, and the activations are found again for the gradients instead of being kept.
#include <vector>

#include "volume_composite.h"

namespace gen3d {
namespace {

constexpr int kField = 4;  // raw density and three logits of a sample; distance and three colours of a ray

// sigmoid(x).
GEN3D_INLINE Lanes sigmoid_of(Lanes x) {
  const Lanes bounded = -min(-min(x, 80.0f), 80.0f);  // exp2_lanes ends at 2^-120
  return 1.0f / (1.0f + exp2_lanes(bounded * -1.44269504f));
}

// log(1 + exp(x)), the large part of x apart: log(1 + u) = 2 atanh(u / (2 + u)), whose series ends soon for u <= 1.
GEN3D_INLINE Lanes softplus_of(Lanes x) {
  const LaneInts above = x > broadcast(0.0f);
  const Lanes positive = select(above, x, broadcast(0.0f)), size = select(above, x, -x);
  const Lanes u = exp2_lanes(min(size, 80.0f) * -1.44269504f);  // exp(-|x|)
  const Lanes z = u / (2.0f + u), s = z * z;
  Lanes p = broadcast(2.0f / 13.0f);
  p = p * s + 2.0f / 11.0f;
  p = p * s + 2.0f / 9.0f;
  p = p * s + 2.0f / 7.0f;
  p = p * s + 2.0f / 5.0f;
  p = p * s + 2.0f / 3.0f;
  p = p * s + 2.0f;
  return positive + p * z;
}

struct Field {
  const float* outputs;  // [N, 4]: raw density, logits of red, green and blue
  const float* delta;    // [N] lengths of the intervals
  const float* t;        // [N] distances along the ray
  float gain, density;   // a raw density is an output times the gain; a density is its softplus times this
};

// The activations of consecutive samples, some rays at once.
struct Activated {
  std::vector<float> slope, alpha;  // sigmoids of the outputs [n, 4] (the raw density's after the gain); alphas [n]

  void find(const Field& field, int64_t begin, int64_t end) {
    const int64_t count = end - begin, room = (count + kLanes - 1) / kLanes * kLanes;
    slope.resize(room * kField);
    alpha.resize(room);
    for (int64_t first = 0; first < count; first += kLanes) {
      const int some = static_cast<int>(std::min<int64_t>(kLanes, count - first));
      float outputs[kLanes * kField] = {}, raw[kLanes], length[kLanes] = {};
      std::memcpy(outputs, field.outputs + (begin + first) * kField, some * kField * sizeof(float));
      std::memcpy(length, field.delta + begin + first, some * sizeof(float));
      for (int i = 0; i < kLanes; ++i) outputs[i * kField] = raw[i] = outputs[i * kField] * field.gain;
      for (int k = 0; k < kField; ++k) {
        store(&slope[first * kField + k * kLanes], sigmoid_of(load(outputs + k * kLanes)));
      }
      store(&alpha[first], alphas_of(softplus_of(load(raw)) * load(length) * field.density));
    }
  }
};

void forward(int64_t rays, const int64_t* offsets, const Field& field, float* out, float* alpha, float* weights,
             int threads) {
#pragma omp parallel num_threads(threads)
  {
    Activated activated;
#pragma omp for schedule(dynamic, 1)
    for (int64_t first = 0; first < rays; first += kRays) {
      const int64_t last = std::min(first + kRays, rays), start = offsets[first];
      activated.find(field, start, offsets[last]);
      for (int64_t r = first; r < last; ++r) {
        Quad sum = {};
        float transmittance = 1.0f, total = 0.0f;
        int64_t n = offsets[r];
        for (; n < offsets[r + 1] && transmittance >= kMinTransmittance; ++n) {
          const float* slope = &activated.slope[(n - start) * kField];
          const float a = activated.alpha[n - start], weight = transmittance * a;
          weights[n] = weight;
          total += weight;
          sum += weight * Quad{slope[1], slope[2], slope[3], field.t[n]};
          transmittance *= 1.0f - a;
        }
        std::fill(weights + n, weights + offsets[r + 1], 0.0f);
        std::memcpy(out + r * kField, &sum, sizeof sum);
        alpha[r] = total;
      }
    }
  }
}

// As in volume_composite.cpp: dL/d(optical depth_i) = T_{i+1} g_i - S_i.
void backward(int64_t rays, const int64_t* offsets, const Field& field, const float* out_grad, const float* alpha_grad,
              const float* weights_grad, float* outputs_grad, int threads) {
#pragma omp parallel num_threads(threads)
  {
    Activated activated;
    std::vector<float> light;  // that reaches the samples of a ray
#pragma omp for schedule(dynamic, 1)
    for (int64_t first = 0; first < rays; first += kRays) {
      const int64_t stop = std::min(first + kRays, rays), start = offsets[first];
      activated.find(field, start, offsets[stop]);
      for (int64_t r = first; r < stop; ++r) {
        const int64_t begin = offsets[r], end = offsets[r + 1];
        light.clear();
        float transmittance = 1.0f;
        int64_t last = begin;
        for (; last < end && transmittance >= kMinTransmittance; ++last) {
          light.push_back(transmittance);
          transmittance *= 1.0f - activated.alpha[last - start];
        }
        std::fill(outputs_grad + last * kField, outputs_grad + end * kField, 0.0f);
        const float* ray = out_grad + r * kField;
        float behind = 0.0f;
        for (int64_t n = last - 1; n >= begin; --n) {
          const float* slope = &activated.slope[(n - start) * kField];
          const float a = activated.alpha[n - start], weight = light[n - begin] * a;
          float grad = ray[0] * slope[1] + ray[1] * slope[2] + ray[2] * slope[3] + ray[3] * field.t[n];
          grad += (alpha_grad ? alpha_grad[r] : 0.0f) + (weights_grad ? weights_grad[n] : 0.0f);
          const float by_depth = light[n - begin] * (1.0f - a) * grad - behind;
          float* to = outputs_grad + n * kField;
          to[0] = by_depth * field.delta[n] * field.density * slope[0] * field.gain;
          for (int c = 0; c < 3; ++c) to[c + 1] = ray[c] * weight * slope[c + 1] * (1.0f - slope[c + 1]);
          behind += grad * weight;
        }
      }
    }
  }
}

}  // namespace
}  // namespace gen3d

// out [R, 4] (three colours and the distance), alpha [R] and weights [N] of outputs [N, 4], delta [N] and t [N].
GEN3D_API void gen3d_volume_field(int64_t rays, const int64_t* offsets, const float* outputs, const float* delta,
                                  const float* t, float gain, float density, float* out, float* alpha, float* weights,
                                  int32_t threads) {
  gen3d::forward(rays, offsets, {outputs, delta, t, gain, density}, out, alpha, weights, threads);
}

// outputs_grad [N, 4] of out_grad [R, 4], alpha_grad [R] and weights_grad [N]; the last two may be null.
GEN3D_API void gen3d_volume_field_backward(int64_t rays, const int64_t* offsets, const float* outputs,
                                           const float* delta, const float* t, float gain, float density,
                                           const float* out_grad, const float* alpha_grad, const float* weights_grad,
                                           float* outputs_grad, int32_t threads) {
  gen3d::backward(rays, offsets, {outputs, delta, t, gain, density}, out_grad, alpha_grad, weights_grad, outputs_grad,
                  threads);
}

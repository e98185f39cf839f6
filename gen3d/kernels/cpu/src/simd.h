// One machine register of floats, written with the vector extensions of GCC and Clang.
//
// `Lanes` is exactly as wide as the widest register of the instruction set the file is compiled for: a wider type would
// be split, and GCC 12 splits a 64-byte vector into scalars on AVX2 (measured five times slower). Kernels cover wider
// spans by looping over strips of `kLanes` pixels.
#pragma once

#include <cstdint>
#include <cstring>

#define GEN3D_API extern "C" __attribute__((visibility("default")))
#define GEN3D_INLINE static inline __attribute__((always_inline))

namespace gen3d {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;  // SSE2 and NEON
#endif

typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t LaneInts __attribute__((vector_size(kLanes * sizeof(int32_t))));  // also a mask: 0 or -1 per lane
typedef uint32_t LaneBits __attribute__((vector_size(kLanes * sizeof(uint32_t))));  // wraps around
typedef float Quad __attribute__((vector_size(4 * sizeof(float))));
typedef int32_t QuadInts __attribute__((vector_size(4 * sizeof(int32_t))));

GEN3D_INLINE Lanes broadcast(float x) { return Lanes{} + x; }

GEN3D_INLINE Lanes load(const float* from) {
  Lanes value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

GEN3D_INLINE void store(float* to, Lanes value) { std::memcpy(to, &value, sizeof value); }

GEN3D_INLINE Lanes select(LaneInts mask, Lanes yes, Lanes no) { return mask ? yes : no; }

// NaN where `a` is.
GEN3D_INLINE Lanes min(Lanes a, float b) { return select(a > broadcast(b), broadcast(b), a); }

// Lane i holds first + i.
GEN3D_INLINE Lanes ramp(float first) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = first + static_cast<float>(i);
  return load(lanes);
}

GEN3D_INLINE bool any(LaneInts mask) {
  uint64_t words[kLanes / 2], all = 0;
  std::memcpy(words, &mask, sizeof words);
  for (uint64_t word : words) all |= word;
  return all != 0;
}

// 2^x for -120 < x < 120, to about one unit in the last place; other lanes are meaningless, never a trap.
GEN3D_INLINE Lanes exp2_lanes(Lanes x) {
  // Adding 1.5 * 2^23 leaves round(x) in the low mantissa bits: a conversion to integers that costs one addition.
  constexpr float kRound = 12582912.0f;
  constexpr uint32_t kRoundBits = 0x4B400000;
  const Lanes shifted = x + kRound;
  const LaneBits whole = (LaneBits)shifted - kRoundBits;
  const Lanes part = x - (shifted - kRound);  // -0.5 .. 0.5
  Lanes p = broadcast(1.5403530e-4f);         // Taylor series of 2^part
  p = p * part + 1.3333558e-3f;
  p = p * part + 9.6181291e-3f;
  p = p * part + 5.5504109e-2f;
  p = p * part + 2.4022651e-1f;
  p = p * part + 6.9314718e-1f;
  p = p * part + 1.0f;
  return (Lanes)((LaneBits)p + (whole << 23));
}

// Folds a register to four partial sums.
GEN3D_INLINE Quad fold(Lanes value) {
  Quad quads[kLanes / 4];
  std::memcpy(quads, &value, sizeof quads);
  Quad sum = quads[0];
  for (int i = 1; i < kLanes / 4; ++i) sum += quads[i];
  return sum;
}

#if defined(__clang__)
#define GEN3D_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define GEN3D_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, ::gen3d::QuadInts{i, j, k, l})
#endif

// The sums over the lanes of four registers, side by side: a 4x4 transpose instead of four horizontal sums.
GEN3D_INLINE Quad sum4(Lanes a, Lanes b, Lanes c, Lanes d) {
  const Quad qa = fold(a), qb = fold(b), qc = fold(c), qd = fold(d);
  const Quad ab = GEN3D_SHUFFLE(qa, qb, 0, 4, 1, 5) + GEN3D_SHUFFLE(qa, qb, 2, 6, 3, 7);  // a02 b02 a13 b13
  const Quad cd = GEN3D_SHUFFLE(qc, qd, 0, 4, 1, 5) + GEN3D_SHUFFLE(qc, qd, 2, 6, 3, 7);
  return GEN3D_SHUFFLE(ab, cd, 0, 1, 4, 5) + GEN3D_SHUFFLE(ab, cd, 2, 3, 6, 7);
}

}  // namespace gen3d

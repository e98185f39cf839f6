// Which of the instruction-set builds of this library the processor and the operating system can run.
#include "simd.h"

// 0: baseline, 1: AVX2 + FMA, 2: AVX-512 (F, BW, DQ, VL).
GEN3D_API int32_t gen3d_cpu_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return wide ? 2 : 1;
#else
  return 0;
#endif
}

// What a caller asks before it calls anything else: which interface this is, and which build of it the processor can run.
#include "simd.h"

// Grows whenever an exported function or a structure that crosses the interface changes; `ABI_VERSION` of
// gen3d/kernels/cpu/library.py is the number that the Python side was written for.
GEN3D_API int32_t gen3d_abi_version() { return 1; }

// Which of the instruction-set builds the processor and the operating system can run: 0 the baseline, 1 also AVX2 + FMA,
// 2 also AVX-512 (F, BW, DQ, VL).
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

// Features of points in lattices (volume_lattice.h), forward and backward.
#include "volume_lattice.h"

namespace gen3d {
namespace {

template <int Channels>
void encode(const Lattice<3>& lattice, int64_t points, const float* coordinates, const float* values, float* out,
            int threads) {
  const int channels = Channels ? Channels : lattice.channels;
#pragma omp parallel for schedule(static, kChunk) num_threads(threads)
  for (int64_t n = 0; n < points; ++n) {
    Cell<3>(lattice, 0, coordinates + 3 * n).interpolate(values, channels, out + n * channels);
  }
}

template <int Channels>
void encode(const Lattice<2>& lattice, int64_t points, const float* coordinates, const float* values, float* out,
            int threads) {
  const int channels = Channels ? Channels : lattice.channels;
  const CornerSteps<2> corners(lattice);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t begin = 0; begin < points; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, points);
    on_planes(lattice, coordinates, begin, end, [&](const PlaneBlock& block, int i, int64_t n, int sheet) {
      const float* low = values + sheet * lattice.floats() + int64_t{block.cell[sheet][i]} * channels;
      const float *down = low + corners.step[1], *across = low + corners.step[2], *both = low + corners.step[3];
      const auto& weight = block.weight[sheet];
      const float shares[] = {weight[0][i], weight[1][i], weight[2][i], weight[3][i]};
      float* to = out + (n * PlaneBlock::kSheets + sheet) * channels;
#pragma omp simd
      for (int k = 0; k < channels; ++k) {
        to[k] = shares[0] * low[k] + shares[1] * down[k] + (shares[2] * across[k] + shares[3] * both[k]);
      }
    });
  }
}

template <int K, int Channels>
void points_backward(const Lattice<K>& lattice, int64_t points, const float* coordinates, const float* values,
                     const float* out_grad, float* points_grad, int threads) {
  const int channels = Channels ? Channels : lattice.channels;
  const int64_t width = int64_t{channels} * Lattice<K>::kSheets;
#pragma omp parallel for schedule(static, kChunk) num_threads(threads)
  for (int64_t n = 0; n < points; ++n) {
    float sum[3] = {};
    for (int sheet = 0; sheet < Lattice<K>::kSheets; ++sheet) {
      const Cell<K> cell(lattice, sheet, coordinates + 3 * n);
      for (int c = 0; c < Lattice<K>::kCorners; ++c) {
        const float along = dot(values + cell.offset[c], out_grad + n * width + int64_t{sheet} * channels, channels);
        for (int k = 0; k < K; ++k) sum[Lattice<K>::coordinate(sheet, k)] += along * cell.slope(c, k);
      }
    }
    std::copy(sum, sum + 3, points_grad + 3 * n);
  }
}

// Calls run<K, Channels>(lattice): planes where depth is 0.
template <class Run>
void with_lattice(int32_t depth, int32_t height, int32_t width, int32_t channels, Run run) {
  with_field_channels(channels, [&](auto constant) {
    if (depth) {
      run(Lattice<3>{{depth, height, width}, channels}, constant);
    } else {
      run(Lattice<2>{{height, width}, channels}, constant);
    }
  });
}

}  // namespace
}  // namespace gen3d

// out [N, C] of a grid [D, H, W, C], or [N, 3 C] of planes [3, H, W, C] where depth is 0.
GEN3D_API void gen3d_volume_lattice(int64_t points, const float* coordinates, const float* values, int32_t depth,
                                    int32_t height, int32_t width, int32_t channels, float* out, int32_t threads) {
  using namespace gen3d;
  with_lattice(depth, height, width, channels, [&](auto lattice, auto constant) {
    encode<decltype(constant)::value>(lattice, points, coordinates, values, out, threads);
  });
}

// values_grad, laid out like the values and zero before, and points_grad [N, 3] of out_grad; either may be null.
GEN3D_API void gen3d_volume_lattice_backward(int64_t points, const float* coordinates, const float* values,
                                             int32_t depth, int32_t height, int32_t width, int32_t channels,
                                             const float* out_grad, float* values_grad, float* points_grad,
                                             int32_t threads) {
  using namespace gen3d;
  with_lattice(depth, height, width, channels, [&](auto lattice, auto constant) {
    constexpr int kAxes = sizeof(lattice.size) / 4, kChannels = decltype(constant)::value;
    if (values_grad) {
      scatter<kChannels>(lattice, points, coordinates, out_grad, values_grad, threads);
    }
    if (points_grad) {
      points_backward<kAxes, kChannels>(lattice, points, coordinates, values, out_grad, points_grad, threads);
    }
  });
}

// Sorting Gaussians into tiles and compositing them front to back, forward and backward.
//
// One global radix sort by depth, then a counting pass into 16x16 tiles: the tiles' lists come out sorted. A tile is
// walked one Gaussian at a time; a row of pixels is one to four registers ("strips"). Threads own whole tiles, and every
// (Gaussian, tile) pair has its own gradient slot, so the result does not depend on the number of threads.
#include <algorithm>
#include <vector>

#include "simd.h"
#include "splats.h"

namespace gen3d {
namespace {

constexpr int kStrips = kTile / kLanes;
// A row of a tile is finished when every pixel is darker than this. gsplat stops at 1e-4, which costs gradients of
// nearly opaque Gaussians 4e-4 of their size; 1e-6 keeps 1e-4 everywhere and was measured 5 to 16 % slower.
constexpr float kMinTransmittance = 1e-6f;
constexpr int kCheckEvery = 8;  // Gaussians between two looks at which rows are finished

// The part of a tile that one Gaussian covers.
struct Span {
  int row0, row1, strip0, strip1;
};

GEN3D_INLINE Span span_in_tile(const ScreenSplat& splat, int tile_x, int tile_y) {
  return {std::max(splat.y0 - tile_y, 0), std::min(splat.y1 - tile_y, kTile - 1),
          std::max(splat.x0 - tile_x, 0) / kLanes, std::min(splat.x1 - tile_x, kTile - 1) / kLanes};
}

// Ids of the drawn Gaussians from near to far; equal depths keep their order.
std::vector<int32_t> depth_order(int64_t count, const ScreenSplat* splats, const int32_t* tiles_touched) {
  constexpr int kDigit = 11, kBuckets = 1 << kDigit, kPasses = 3;
  std::vector<uint32_t> keys, next_keys;
  std::vector<int32_t> ids, next_ids;
  keys.reserve(count);
  ids.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    if (!tiles_touched[i]) continue;
    uint32_t key;  // the bits of a positive float sort like the float
    std::memcpy(&key, &splats[i].depth, sizeof key);
    keys.push_back(key);
    ids.push_back(static_cast<int32_t>(i));
  }
  next_keys.resize(keys.size());
  next_ids.resize(keys.size());
  std::vector<uint32_t> starts(kBuckets);
  for (int pass = 0; pass < kPasses; ++pass) {
    const int shift = pass * kDigit;
    std::fill(starts.begin(), starts.end(), 0u);
    for (uint32_t key : keys) ++starts[(key >> shift) & (kBuckets - 1)];
    uint32_t sum = 0;
    for (uint32_t& start : starts) {
      const uint32_t size = start;
      start = sum;
      sum += size;
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      const uint32_t to = starts[(keys[i] >> shift) & (kBuckets - 1)]++;
      next_keys[to] = keys[i];
      next_ids[to] = ids[i];
    }
    keys.swap(next_keys);
    ids.swap(next_ids);
  }
  return ids;
}

template <class Visit>
GEN3D_INLINE void for_each_tile(const ScreenSplat& splat, int across, Visit visit) {
  for (int y = splat.y0 / kTile; y <= splat.y1 / kTile; ++y)
    for (int x = splat.x0 / kTile; x <= splat.x1 / kTile; ++x) visit(y * across + x);
}

struct ForwardTile {
  Lanes transmittance[kTile][kStrips], red[kTile][kStrips], green[kTile][kStrips], blue[kTile][kStrips],
      depth[kTile][kStrips];
};

struct BackwardTile {
  // `behind` is dL/dcolour . (what the Gaussians not yet walked contribute): it starts at the whole pixel.
  Lanes transmittance[kTile][kStrips], behind[kTile][kStrips], red[kTile][kStrips], green[kTile][kStrips],
      blue[kTile][kStrips], depth[kTile][kStrips], alpha[kTile][kStrips];
};

struct Image {
  int width, height;
  float *rgb, *alpha, *depth;
};

// alpha at one strip, and whether it was clamped.
struct Alpha {
  Lanes value;
  LaneInts clamped;
};

GEN3D_INLINE Alpha alpha_at(Lanes exponent) {
  const Lanes full = exp2_lanes(exponent);
  const Lanes kept = select(exponent > broadcast(kMinExponent), min(full, kMaxAlpha), Lanes{});
  return {kept, full > broadcast(kMaxAlpha)};
}

// Bit r of the result: some pixel of row r still lets light through.
uint32_t open_rows(const ForwardTile& tile, uint32_t candidates) {
  uint32_t open = 0;
  for (int row = 0; row < kTile; ++row) {
    if (!(candidates >> row & 1)) continue;
    LaneInts bright = {};
    for (int s = 0; s < kStrips; ++s) bright |= tile.transmittance[row][s] > broadcast(kMinTransmittance);
    if (any(bright)) open |= 1u << row;
  }
  return open;
}

void draw_forward(ForwardTile& tile, const ScreenSplat& splat, int tile_x, int tile_y, uint32_t open) {
  const Span span = span_in_tile(splat, tile_x, tile_y);
  const float first_dy = static_cast<float>(tile_y + span.row0) + 0.5f - splat.y;
  for (int s = span.strip0; s <= span.strip1; ++s) {
    const Lanes dx = ramp(static_cast<float>(tile_x + s * kLanes) + 0.5f) - splat.x;
    const Lanes flat = splat.exponent + splat.exponent_xx * dx * dx, slope = splat.exponent_xy * dx;
    float dy = first_dy;
    for (int row = span.row0; row <= span.row1; ++row, dy += 1.0f) {
      if (!(open >> row & 1)) continue;
      const Lanes alpha = alpha_at(flat + dy * (slope + splat.exponent_yy * dy)).value;
      const Lanes weight = alpha * tile.transmittance[row][s];
      tile.transmittance[row][s] -= weight;
      tile.red[row][s] += weight * splat.red;
      tile.green[row][s] += weight * splat.green;
      tile.blue[row][s] += weight * splat.blue;
      tile.depth[row][s] += weight * splat.depth;
    }
  }
}

void write_tile(const ForwardTile& tile, const Image& image, int tile_x, int tile_y) {
  const int rows = std::min(kTile, image.height - tile_y), columns = std::min(kTile, image.width - tile_x);
  for (int row = 0; row < rows; ++row) {
    const float *t = reinterpret_cast<const float*>(tile.transmittance[row]),
                *r = reinterpret_cast<const float*>(tile.red[row]),
                *g = reinterpret_cast<const float*>(tile.green[row]),
                *b = reinterpret_cast<const float*>(tile.blue[row]),
                *d = reinterpret_cast<const float*>(tile.depth[row]);
    const int64_t first = static_cast<int64_t>(tile_y + row) * image.width + tile_x;
    for (int c = 0; c < columns; ++c) {
      float* rgb = image.rgb + 3 * (first + c);
      rgb[0] = r[c];
      rgb[1] = g[c];
      rgb[2] = b[c];
      image.alpha[first + c] = 1.0f - t[c];
      image.depth[first + c] = d[c];
    }
  }
}

// Loads the image gradients of a tile; null gradients are zero.
void read_tile(BackwardTile& tile, const Image& image, const Image& grad, int tile_x, int tile_y) {
  const int rows = std::min(kTile, image.height - tile_y), columns = std::min(kTile, image.width - tile_x);
  std::memset(&tile, 0, sizeof tile);
  for (int row = 0; row < rows; ++row) {
    float *t = reinterpret_cast<float*>(tile.transmittance[row]), *s = reinterpret_cast<float*>(tile.behind[row]),
          *r = reinterpret_cast<float*>(tile.red[row]), *g = reinterpret_cast<float*>(tile.green[row]),
          *b = reinterpret_cast<float*>(tile.blue[row]), *d = reinterpret_cast<float*>(tile.depth[row]),
          *a = reinterpret_cast<float*>(tile.alpha[row]);
    const int64_t first = static_cast<int64_t>(tile_y + row) * image.width + tile_x;
    for (int c = 0; c < columns; ++c) {
      const int64_t p = first + c;
      t[c] = 1.0f;
      if (grad.rgb) {
        r[c] = grad.rgb[3 * p];
        g[c] = grad.rgb[3 * p + 1];
        b[c] = grad.rgb[3 * p + 2];
      }
      if (grad.depth) d[c] = grad.depth[p];
      if (grad.alpha) a[c] = grad.alpha[p];
      s[c] = r[c] * image.rgb[3 * p] + g[c] * image.rgb[3 * p + 1] + b[c] * image.rgb[3 * p + 2] +
             d[c] * image.depth[p] + a[c] * image.alpha[p];
    }
  }
}

// Walks one Gaussian front to back and writes its gradient slot. `open` has the rows its forward pass drew.
void draw_backward(BackwardTile& tile, const ScreenSplat& splat, int tile_x, int tile_y, uint32_t open, float* slot) {
  const Span span = span_in_tile(splat, tile_x, tile_y);
  const float first_dy = static_cast<float>(tile_y + span.row0) + 0.5f - splat.y;
  Lanes sum{}, sum_x{}, sum_y{}, sum_xx{}, sum_xy{}, sum_yy{}, red{}, green{}, blue{}, depth{};
  for (int s = span.strip0; s <= span.strip1; ++s) {
    const Lanes dx = ramp(static_cast<float>(tile_x + s * kLanes) + 0.5f) - splat.x;
    const Lanes flat = splat.exponent + splat.exponent_xx * dx * dx, slope = splat.exponent_xy * dx;
    Lanes column{}, column_y{}, column_yy{};  // moments in y alone: dx is the same in every row
    float dy = first_dy;
    for (int row = span.row0; row <= span.row1; ++row, dy += 1.0f) {
      if (!(open >> row & 1)) continue;
      const Alpha alpha = alpha_at(flat + dy * (slope + splat.exponent_yy * dy));
      const Lanes t = tile.transmittance[row][s], weight = alpha.value * t;
      const Lanes value = splat.red * tile.red[row][s] + splat.green * tile.green[row][s] +
                          splat.blue * tile.blue[row][s] + splat.depth * tile.depth[row][s] + tile.alpha[row][s];
      const Lanes behind = tile.behind[row][s] - weight * value;
      tile.behind[row][s] = behind;
      tile.transmittance[row][s] = t - weight;
      // d(pixel)/d(alpha): the Gaussian's own light, minus what it hides behind it. dL/dsigma = -alpha dL/dalpha.
      const Lanes grad_alpha = t * value - behind / (1.0f - alpha.value);
      const Lanes grad_sigma = select(alpha.clamped, Lanes{}, -alpha.value * grad_alpha);
      const Lanes grad_sigma_y = grad_sigma * dy;
      column += grad_sigma;
      column_y += grad_sigma_y;
      column_yy += grad_sigma_y * dy;
      red += weight * tile.red[row][s];
      green += weight * tile.green[row][s];
      blue += weight * tile.blue[row][s];
      depth += weight * tile.depth[row][s];
    }
    sum += column;
    sum_x += column * dx;
    sum_y += column_y;
    sum_xx += column * dx * dx;
    sum_xy += column_y * dx;
    sum_yy += column_yy;
  }
  const Quad quads[3] = {sum4(sum, sum_x, sum_y, sum_xx), sum4(sum_xy, sum_yy, red, green),
                         sum4(blue, depth, Lanes{}, Lanes{})};
  std::memcpy(slot, quads, sizeof quads);
}

}  // namespace
}  // namespace gen3d

// Fills slots[count + 1] (first gradient slot of each Gaussian), tile_starts[tiles + 1] and entries[intersections].
GEN3D_API void gen3d_splats_bin(int64_t count, const gen3d::ScreenSplat* splats, const int32_t* tiles_touched,
                                int32_t width, int32_t height, int32_t* slots, int32_t* tile_starts,
                                gen3d::TileEntry* entries) {
  using namespace gen3d;
  const int across = tiles_across(width), tiles = across * tiles_across(height);
  slots[0] = 0;
  for (int64_t i = 0; i < count; ++i) slots[i + 1] = slots[i] + tiles_touched[i];
  const std::vector<int32_t> order = depth_order(count, splats, tiles_touched);
  std::vector<int32_t> next(tiles, 0);
  for (int32_t id : order) for_each_tile(splats[id], across, [&](int tile) { ++next[tile]; });
  int32_t start = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    tile_starts[tile] = start;
    start += next[tile];
    next[tile] = tile_starts[tile];
  }
  tile_starts[tiles] = start;
  for (int32_t id : order) {
    int32_t slot = slots[id];
    for_each_tile(splats[id], across, [&](int tile) { entries[next[tile]++] = {id, slot++}; });
  }
}

// rgb[H, W, 3], alpha[H, W] and depth[H, W], all premultiplied. row_ends[tiles * 16]: the entry before which each row
// of a tile was finished; the backward pass stops at the same one.
GEN3D_API void gen3d_splats_forward(const gen3d::ScreenSplat* splats, const int32_t* tile_starts,
                                    const gen3d::TileEntry* entries, int32_t width, int32_t height, float* rgb,
                                    float* alpha, float* depth, int32_t* row_ends, int32_t threads) {
  using namespace gen3d;
  const int across = tiles_across(width), tiles = across * tiles_across(height);
  const Image image = {width, height, rgb, alpha, depth};
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int index = 0; index < tiles; ++index) {
    const int tile_x = index % across * kTile, tile_y = index / across * kTile;
    const int begin = tile_starts[index], end = tile_starts[index + 1];
    int32_t* ends = row_ends + static_cast<int64_t>(index) * kTile;
    std::fill(ends, ends + kTile, end);
    ForwardTile tile;
    std::memset(&tile, 0, sizeof tile);
    for (auto& row : tile.transmittance)
      for (Lanes& strip : row) strip = broadcast(1.0f);
    uint32_t open = (1u << std::min(kTile, height - tile_y)) - 1;
    for (int k = begin; k < end && open; ++k) {
      draw_forward(tile, splats[entries[k].splat], tile_x, tile_y, open);
      if ((k - begin) % kCheckEvery != kCheckEvery - 1) continue;
      const uint32_t still_open = open_rows(tile, open);
      for (int row = 0; row < kTile; ++row)
        if ((open & ~still_open) >> row & 1) ends[row] = k + 1;
      open = still_open;
    }
    write_tile(tile, image, tile_x, tile_y);
  }
}

// Fills slot_grads[intersections, 12] from the image gradients; any of the three may be null.
GEN3D_API void gen3d_splats_backward(const gen3d::ScreenSplat* splats, const int32_t* tile_starts,
                                     const gen3d::TileEntry* entries, int32_t width, int32_t height, const float* rgb,
                                     const float* alpha, const float* depth, const int32_t* row_ends,
                                     const float* grad_rgb, const float* grad_alpha, const float* grad_depth,
                                     float* slot_grads, int32_t threads) {
  using namespace gen3d;
  const int across = tiles_across(width), tiles = across * tiles_across(height);
  const Image image = {width, height, const_cast<float*>(rgb), const_cast<float*>(alpha), const_cast<float*>(depth)};
  const Image grad = {width, height, const_cast<float*>(grad_rgb), const_cast<float*>(grad_alpha),
                      const_cast<float*>(grad_depth)};
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int index = 0; index < tiles; ++index) {
    const int begin = tile_starts[index], end = tile_starts[index + 1];
    if (begin == end) continue;
    const int tile_x = index % across * kTile, tile_y = index / across * kTile;
    const int32_t* ends = row_ends + static_cast<int64_t>(index) * kTile;
    BackwardTile tile;
    read_tile(tile, image, grad, tile_x, tile_y);
    uint32_t open = (1u << std::min(kTile, height - tile_y)) - 1;
    for (int k = begin; k < end; ++k) {
      if ((k - begin) % kCheckEvery == 0)  // rows are only ever finished at these entries
        for (int row = 0; row < kTile; ++row)
          if (k >= ends[row]) open &= ~(1u << row);
      float* slot = slot_grads + static_cast<int64_t>(kSlotFloats) * entries[k].slot;
      if (open)
        draw_backward(tile, splats[entries[k].splat], tile_x, tile_y, open, slot);
      else
        std::memset(slot, 0, kSlotFloats * sizeof(float));
    }
  }
}

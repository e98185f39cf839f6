// Antialiasing of silhouettes, through which visibility gets a gradient (Laine et al. 2020, section 3.6).
//
// Every silhouette edge is followed along its longer axis; where it passes between two neighbouring pixel centres it is
// noted with that pair of pixels. Then each pixel looks at its four pairs.
#include <algorithm>
#include <cmath>
#include <vector>

#include "simd.h"
#include "surface.h"

namespace gen3d {
namespace {

struct Point {
  double column, row, depth;
};

// Twice the signed area of a, b, c on the image.
double side(const Point& a, const Point& b, const Point& c) {
  return (b.column - a.column) * (c.row - a.row) - (b.row - a.row) * (c.column - a.column);
}

// 0 where the edge is no silhouette or not finite, else on which side of it its triangles lie.
int8_t silhouette_side(const Point* points, const int32_t* edge, double near_plane) {
  if ((edge[0] | edge[1] | edge[2]) < 0) return 0;  // -1 stands for a corner only where an edge has no other triangle
  const Point &a = points[edge[0]], &b = points[edge[1]];
  if (!(a.depth >= near_plane && b.depth >= near_plane)) return 0;
  const double one = side(a, b, points[edge[2]]);
  const double other = edge[3] < 0 ? one : side(a, b, points[edge[3]]);
  if (one > 0.0 && other > 0.0) return 1;
  return one < 0.0 && other < 0.0 ? -1 : 0;
}

// One view's pairs of neighbouring pixels: pair 2 p joins pixel p to the one on its right, 2 p + 1 to the one below.
// edge: -1, or 2 * edge + (whether the edge's surface lies at p's side). reach: how far it reaches from the centre of
// its own pixel to that of the other, 0..1; set where there is an edge.
struct Pairs {
  int32_t* edge;
  float* reach;
};

// Notes where a silhouette edge passes between pixels of the rows [row_first, row_end) and their neighbours.
void follow(const Point& a, const Point& b, int8_t inside, int32_t id, const float* depth, int width, int height,
            int row_first, int row_end, const Pairs& pairs) {
  const bool vertical = std::fabs(b.column - a.column) > std::fabs(b.row - a.row);  // pairs lie above one another
  // `along` is the axis that is stepped through, `across` the one in which the two pixels differ.
  const double a_along = vertical ? a.column : a.row, a_across = vertical ? a.row : a.column;
  const double b_along = vertical ? b.column : b.row, b_across = vertical ? b.row : b.column;
  const bool inside_low = (vertical ? -inside : inside) * (b_along - a_along) > 0.0;
  const int across_size = vertical ? height : width;
  const double low_end = std::min(a_along, b_along) - 0.5, high_end = std::max(a_along, b_along) - 0.5;
  const double lowest = vertical ? 0.0 : row_first, end = vertical ? width : row_end;
  const int first = static_cast<int>(std::clamp(std::ceil(low_end), lowest, end));
  const int last = static_cast<int>(std::clamp(std::ceil(high_end), lowest, end)) - 1;
  for (int line = first; line <= last; ++line) {
    const double t = (line + 0.5 - a_along) / (b_along - a_along);
    const double at = a_across + t * (b_across - a_across), floored = std::floor(at - 0.5);
    if (!(floored >= 0.0 && floored < across_size - 1)) continue;
    const int low = static_cast<int>(floored);
    if (vertical && (low < row_first || low >= row_end)) continue;
    const int64_t low_pixel = vertical ? int64_t{low} * width + line : int64_t{line} * width + low;
    const int64_t high_pixel = low_pixel + (vertical ? width : 1);
    const float near_depth = depth[inside_low ? low_pixel : high_pixel];
    const float far_depth = depth[inside_low ? high_pixel : low_pixel];
    if (near_depth == 0.0f) continue;
    if (far_depth != 0.0f) {
      const double z = 1.0 / ((1.0 - t) / a.depth + t / b.depth);
      if (!(near_depth < far_depth && z < far_depth)) continue;
    }
    const float reach = static_cast<float>(inside_low ? at - 0.5 - low : low + 1.5 - at);
    const int64_t pair = 2 * low_pixel + vertical;
    if (pairs.edge[pair] >= 0 && pairs.reach[pair] >= reach) continue;
    pairs.edge[pair] = 2 * id + inside_low;
    pairs.reach[pair] = reach;
  }
}

// A pair that a silhouette separates, in flat pixel indices over all views.
struct Blend {
  int64_t near, far, target;
  float share;  // of the target's value that changes hands: target += share (near - far)

  Blend(int64_t pair, int32_t edge, float reach, int width) {
    const int64_t low = pair >> 1, high = low + (pair & 1 ? width : 1);
    near = edge & 1 ? low : high;
    far = edge & 1 ? high : low;
    share = reach - 0.5f;
    target = share > 0.0f ? far : near;
  }
};

// Calls visit(pair) for those of the four pairs of a pixel that a silhouette separates.
template <class Visit>
inline void for_pairs_of(int64_t pixel, int width, int row, int column, const int32_t* edge, Visit visit) {
  if (edge[2 * pixel] >= 0) visit(2 * pixel);
  if (edge[2 * pixel + 1] >= 0) visit(2 * pixel + 1);
  if (column > 0 && edge[2 * (pixel - 1)] >= 0) visit(2 * (pixel - 1));
  if (row > 0 && edge[2 * (pixel - width) + 1] >= 0) visit(2 * (pixel - width) + 1);
}

// One channel of all pixels, in an image of its own or between others. Number: float, or const float where it is read.
template <class Number>
struct Channel {
  Number* first;
  int64_t stride;

  Number& at(int64_t pixel) const { return first[pixel * stride]; }
};

// The channels of some images, one after another; zeros where an image is null.
template <class Number>
std::vector<Channel<Number>> channels_of(int32_t count, Number* const* images, const int32_t* widths) {
  static float none = 0.0f;
  std::vector<Channel<Number>> channels;
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t c = 0; c < widths[i]; ++c) {
      channels.push_back(images[i] ? Channel<Number>{images[i] + c, widths[i]} : Channel<Number>{&none, 0});
    }
  }
  return channels;
}

struct EdgeGradient {
  int32_t ends[2];
  double gradient[2][3];
};

// What the gradient of a pair's reach means for the two ends of its edge.
EdgeGradient reach_backward(double reach_gradient, int64_t pair, int32_t edge_code, const int32_t* edges,
                            const float* vertices, const double* projection, int width, int height) {
  const bool vertical = pair & 1, inside_low = edge_code & 1;
  const int32_t* edge = edges + 4 * int64_t{edge_code >> 1};
  const int64_t low = pair >> 1;
  const double line = (vertical ? low % width : low / width % height) + 0.5;
  EdgeGradient result;
  Homogeneous end[2];
  double along[2], across[2];
  for (int i = 0; i < 2; ++i) {
    result.ends[i] = edge[i];
    end[i] = project(projection, vertices + 3 * int64_t{edge[i]});
    along[i] = (vertical ? end[i].x : end[i].y) / end[i].z;
    across[i] = (vertical ? end[i].y : end[i].x) / end[i].z;
  }
  const double t = (line - along[0]) / (along[1] - along[0]), slope = (across[1] - across[0]) / (along[1] - along[0]);
  const double at_gradient = inside_low ? reach_gradient : -reach_gradient;
  const double weight[2] = {1.0 - t, t};
  for (int i = 0; i < 2; ++i) {
    const double across_gradient = at_gradient * weight[i] / end[i].z;
    const double along_gradient = -slope * across_gradient;
    const double z = -(across_gradient * across[i] + along_gradient * along[i]);
    const Homogeneous gradient = {vertical ? along_gradient : across_gradient,
                                  vertical ? across_gradient : along_gradient, z};
    unproject_gradient(projection, gradient, result.gradient[i]);
  }
  return result;
}

}  // namespace
}  // namespace gen3d

// Images of the values [N, C] at `pixels` [N], zero elsewhere, blended where a visible silhouette separates two
// neighbouring pixels; of several edges the one that reaches furthest.
//
// vertices [V, 3], edges [E, 4] (two ends, two opposite corners, the last -1 at a border), projections [B, 3, 4], depth
// [B, H, W] (0 where empty). The channels go to `part_count` images [B, H, W, part_widths[p]] one after another. Where
// `alpha` is a channel, a pixel is scaled where that would leave 0..1. Also given, for the gradients: pair_edge and
// pair_reach [B, H, W, 2], see `Pairs`; row_of [B, H, W], the row of `values` at each pixel, -1 where empty; and scale
// [B, H, W].
GEN3D_API void gen3d_surface_antialias(int64_t vertex_count, int64_t edge_count, const float* vertices,
                                       const int32_t* edges, const double* projections, double near_plane,
                                       const float* depth, int64_t points, const int64_t* pixels, const float* values,
                                       int32_t channels, int64_t views, int32_t width, int32_t height,
                                       int32_t* pair_edge, float* pair_reach, int32_t alpha, int32_t* row_of,
                                       float* scale, int32_t part_count, float* const* parts,
                                       const int32_t* part_widths, int32_t threads) {
  using namespace gen3d;
  std::vector<Point> projected(views * vertex_count);
  std::vector<int8_t> sides(views * edge_count);
  const int64_t rows = views * height, area = int64_t{width} * height;
  const int64_t bands = std::min<int64_t>((threads + views - 1) / std::max<int64_t>(views, 1), height);
  const auto places = channels_of(part_count, parts, part_widths);
  // Threads wait for one another three times, which takes longer than some of the loops: hence two loops each between.
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> out(channels);
#pragma omp for schedule(static) nowait
    for (int64_t item = 0; item < views * vertex_count; ++item) {
      const Homogeneous p = project(projections + 12 * (item / vertex_count), vertices + 3 * (item % vertex_count));
      projected[item] = {p.x / p.z, p.y / p.z, p.z};
    }
#pragma omp for schedule(static)
    for (int64_t pixel = 0; pixel < rows * width; ++pixel) row_of[pixel] = -1;
#pragma omp for schedule(static) nowait
    for (int64_t item = 0; item < views * edge_count; ++item) {
      sides[item] = silhouette_side(projected.data() + item / edge_count * vertex_count,
                                    edges + 4 * (item % edge_count), near_plane);
    }
#pragma omp for schedule(static)
    for (int64_t n = 0; n < points; ++n) row_of[pixels[n]] = static_cast<int32_t>(n);
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < views * bands; ++task) {
      const int64_t view = task / bands, band = task % bands;
      const int first = static_cast<int>(height * band / bands), end = static_cast<int>(height * (band + 1) / bands);
      const Pairs pairs = {pair_edge + 2 * view * area, pair_reach + 2 * view * area};
      std::fill(pairs.edge + 2 * int64_t{first} * width, pairs.edge + 2 * int64_t{end} * width, -1);
      const Point* view_points = projected.data() + view * vertex_count;
      for (int64_t e = 0; e < edge_count; ++e) {
        const int8_t inside = sides[view * edge_count + e];
        if (inside == 0) continue;
        follow(view_points[edges[4 * e]], view_points[edges[4 * e + 1]], inside, static_cast<int32_t>(e),
               depth + view * area, width, height, first, end, pairs);
      }
    }
#pragma omp for schedule(static)
    for (int64_t line = 0; line < rows; ++line) {
      for (int column = 0; column < width; ++column) {
        const int64_t pixel = line * width + column;
        if (row_of[pixel] < 0) {
          std::fill(out.begin(), out.end(), 0.0f);
        } else {
          std::copy_n(values + int64_t{row_of[pixel]} * channels, channels, out.begin());
        }
        for_pairs_of(pixel, width, static_cast<int>(line % height), column, pair_edge, [&](int64_t pair) {
          const Blend blend(pair, pair_edge[pair], pair_reach[pair], width);
          if (blend.target != pixel || row_of[blend.near] < 0) return;
          const float* near = values + int64_t{row_of[blend.near]} * channels;
          for (int c = 0; c < channels; ++c) out[c] += blend.share * near[c];
          if (row_of[blend.far] < 0) return;
          const float* far = values + int64_t{row_of[blend.far]} * channels;
          for (int c = 0; c < channels; ++c) out[c] -= blend.share * far[c];
        });
        const bool within = alpha < 0 || (out[alpha] >= 0.0f && out[alpha] <= 1.0f);
        scale[pixel] = within ? 1.0f : out[alpha] > 1.0f ? 1.0f / out[alpha] : 0.0f;
        for (int c = 0; c < channels; ++c) places[c].at(pixel) = scale[pixel] * out[c];
      }
    }
  }
}

// The gradients of `gen3d_surface_antialias`, of those of its images, null where there is none: values_grad [N, C],
// and, through the reaches, vertices_grad [V, 3], which has to be zero on entry.
GEN3D_API void gen3d_surface_antialias_backward(int64_t points, const int64_t* pixels, const float* values,
                                                int32_t channels, int64_t views, int32_t width, int32_t height,
                                                const int32_t* pair_edge, const float* pair_reach,
                                                const int32_t* row_of, const float* scale, const int32_t* edges,
                                                const float* vertices, const double* projections, int32_t part_count,
                                                const float* const* part_grads, const int32_t* part_widths,
                                                float* values_grad, float* vertices_grad, int32_t threads) {
  using namespace gen3d;
  const int64_t rows = views * height, area = int64_t{width} * height;
  const auto grads = channels_of(part_count, part_grads, part_widths);
  std::vector<std::vector<EdgeGradient>> parts(threads);
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (int64_t n = 0; n < points; ++n) {
      const int64_t pixel = pixels[n];
      float* out = values_grad + n * channels;
      for (int c = 0; c < channels; ++c) out[c] = scale[pixel] * grads[c].at(pixel);
      for_pairs_of(pixel, width, static_cast<int>(pixel / width % height), static_cast<int>(pixel % width), pair_edge,
                   [&](int64_t pair) {
                     const Blend blend(pair, pair_edge[pair], pair_reach[pair], width);
                     const float share = blend.share * scale[blend.target];
                     const float factor = blend.near == pixel ? share : -share;
                     for (int c = 0; c < channels; ++c) out[c] += factor * grads[c].at(blend.target);
                   });
    }
    // Bands in the order of the pixels: their contributions come out in that order for any number of bands.
#pragma omp for schedule(static, 1)
    for (int part = 0; part < threads; ++part) {
      const int64_t first = 2 * width * (rows * part / threads), end = 2 * width * (rows * (part + 1) / threads);
      for (int64_t pair = first; pair < end; ++pair) {
        if (pair_edge[pair] < 0) continue;
        const Blend blend(pair, pair_edge[pair], pair_reach[pair], width);
        if (row_of[blend.near] < 0) continue;  // a depth without a value
        const float* near = values + int64_t{row_of[blend.near]} * channels;
        const float* far = row_of[blend.far] < 0 ? nullptr : values + int64_t{row_of[blend.far]} * channels;
        double reach_gradient = 0.0;
        for (int c = 0; c < channels; ++c) {
          reach_gradient += static_cast<double>(grads[c].at(blend.target)) * (near[c] - (far ? far[c] : 0.0f));
        }
        reach_gradient *= scale[blend.target];
        parts[part].push_back(reach_backward(reach_gradient, pair, pair_edge[pair], edges, vertices,
                                             projections + 12 * ((pair >> 1) / area), width, height));
      }
    }
  }
  for (const std::vector<EdgeGradient>& part : parts) {
    for (const EdgeGradient& item : part) {
      for (int i = 0; i < 2; ++i) {
        for (int c = 0; c < 3; ++c) {
          vertices_grad[3 * int64_t{item.ends[i]} + c] += static_cast<float>(item.gradient[i][c]);
        }
      }
    }
  }
}

// Z-buffer triangle rasteriser with perspective-correct barycentrics. No dependencies, plain C ABI.
//
// Triangles are rasterised in homogeneous pixel coordinates (Olano and Greer 1997): with P = K X_camera, the pixel ray
// d = (x, y, 1) and u_i = d . (P_j x P_k) / det(P_0, P_1, P_2), a pixel is covered iff every u_i >= 0, the sum of the
// u_i is 1 / z, and u_i / sum is the perspective-correct barycentric. No clipping is needed for triangles that cross
// the camera plane: samples nearer than `near` are dropped one by one.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

struct Vertex {
    double x, y, z;         // K X_camera: pixel coordinates times depth, and depth
    double column, row;     // x / z and y / z: meaningless behind the camera
};

struct Edge {
    double a, b, c;  // d . (P_j x P_k) = a x + b y + c
};

Edge edge_between(const Vertex& p, const Vertex& q) {
    return {p.y * q.z - p.z * q.y, p.z * q.x - p.x * q.z, p.x * q.y - p.y * q.x};
}

struct Rounding {
    double edge;         // more than d . (P_j x P_k) can err: some 8 roundings of its largest terms
    double determinant;  // below it (about 1e-5 pixels^2 of area at 1024 x 1024) a triangle has no usable depth
};

Rounding rounding_of(const Vertex& p, const Vertex& q, const Vertex& r, int width, int height) {
    const double x = std::max({std::fabs(p.x), std::fabs(q.x), std::fabs(r.x)});
    const double y = std::max({std::fabs(p.y), std::fabs(q.y), std::fabs(r.y)});
    const double z = std::max({std::fabs(p.z), std::fabs(q.z), std::fabs(r.z)});
    return {4e-15 * (x * y + z * (y * width + x * height)), 1e-11 * x * y * z};
}

constexpr double kSlack = 1e-6;  // of a pixel: the box must not lose a sample that the edges would keep

struct Span {
    int first, last;
};

// Integer pixel indices whose centres (+0.5) can lie in [low, high], inside [first, last]: all of them for NaN, which
// std::max and std::min drop as their second argument.
Span clamp_span(double low, double high, int first, int last) {
    const double begin = std::max(static_cast<double>(first), std::ceil(low - 0.5 - kSlack));
    const double end = std::min(static_cast<double>(last), std::floor(high - 0.5 + kSlack));
    return {static_cast<int>(std::min(begin, last + 1.0)), static_cast<int>(std::max(end, first - 1.0))};
}

// Narrows a row to where a x + r >= 0, with a pixel to spare: the exact test follows for every pixel. NaN narrows
// nothing.
void narrow(Span& span, double a, double r) {
    if (a == 0.0) return;
    const double root = -r / a;
    if (a > 0.0) {
        span.first = static_cast<int>(std::max<double>(span.first, std::min(span.last + 1.0, std::floor(root) - 1.0)));
    } else {
        span.last = static_cast<int>(std::min<double>(span.last, std::max(span.first - 1.0, std::ceil(root) + 1.0)));
    }
}

struct Image {
    int width, height;
    int32_t* face;   // [H, W]
    float* bary;     // [H, W, 3]; holds u_i until `resolve`
    float* depth;    // [H, W]; holds 1 / z until `resolve`
};

// Whether the corners of a face are vertices: those of untrusted meshes may be any numbers.
bool names_vertices(const int32_t* face, int64_t vertex_count) {
    return std::min({face[0], face[1], face[2]}) >= 0 && std::max({face[0], face[1], face[2]}) < vertex_count;
}

void draw_triangle(const Vertex* vertices, const int32_t* face, int32_t id, int row_first, int row_last,
                   double near_plane, const Image& image) {
    const Vertex &p0 = vertices[face[0]], &p1 = vertices[face[1]], &p2 = vertices[face[2]];
    Span rows = {row_first, row_last}, columns = {0, image.width - 1};
    if (p0.z >= near_plane && p1.z >= near_plane && p2.z >= near_plane) {
        const auto [top, bottom] = std::minmax({p0.row, p1.row, p2.row});
        rows = clamp_span(top, bottom, row_first, row_last);
        if (rows.first > rows.last) return;
        const auto [left, right] = std::minmax({p0.column, p1.column, p2.column});
        columns = clamp_span(left, right, 0, image.width - 1);
        if (columns.first > columns.last) return;
    } else if (p0.z < near_plane && p1.z < near_plane && p2.z < near_plane) {
        return;
    }
    Edge e0 = edge_between(p1, p2), e1 = edge_between(p2, p0), e2 = edge_between(p0, p1);
    const double det = p0.x * e0.a + p0.y * e0.b + p0.z * e0.c;
    const Rounding rounding = rounding_of(p0, p1, p2, image.width, image.height);
    if (!(std::fabs(det) > rounding.determinant)) return;  // nor a triangle that is not finite
    if (det < 0.0) {  // seen from behind: the surface is two-sided
        e0 = {-e0.a, -e0.b, -e0.c}, e1 = {-e1.a, -e1.b, -e1.c}, e2 = {-e2.a, -e2.b, -e2.c};
    }
    // Samples exactly on a shared edge or vertex would fall through if rounding put them outside every triangle there.
    const double lowest = -rounding.edge;
    const double scale = 1.0 / std::fabs(det), nearest = 1.0 / near_plane;
    for (int row = rows.first; row <= rows.last; ++row) {
        const double y = row + 0.5;
        const double r0 = e0.b * y + e0.c, r1 = e1.b * y + e1.c, r2 = e2.b * y + e2.c;
        Span span = columns;
        if (span.last - span.first > 12) {
            narrow(span, e0.a, r0), narrow(span, e1.a, r1), narrow(span, e2.a, r2);
        }
        const int64_t offset = static_cast<int64_t>(row) * image.width;
        for (int column = span.first; column <= span.last; ++column) {
            const double x = column + 0.5;
            const double u0 = e0.a * x + r0, u1 = e1.a * x + r1, u2 = e2.a * x + r2;
            if (u0 < lowest || u1 < lowest || u2 < lowest) continue;
            const double inverse_depth = (u0 + u1 + u2) * scale;
            const int64_t pixel = offset + column;
            if (!(inverse_depth > image.depth[pixel]) || inverse_depth > nearest) continue;
            image.depth[pixel] = static_cast<float>(inverse_depth);
            image.face[pixel] = id;
            image.bary[3 * pixel] = static_cast<float>(std::max(u0, 0.0) * scale);
            image.bary[3 * pixel + 1] = static_cast<float>(std::max(u1, 0.0) * scale);
            image.bary[3 * pixel + 2] = static_cast<float>(std::max(u2, 0.0) * scale);
        }
    }
}

void resolve(const Image& image, int64_t first, int64_t last) {
    for (int64_t pixel = first; pixel < last; ++pixel) {
        if (image.face[pixel] < 0) continue;
        float* bary = image.bary + 3 * pixel;
        const float inverse = 1.0f / (bary[0] + bary[1] + bary[2]);
        for (int i = 0; i < 3; ++i) bary[i] *= inverse;
        image.depth[pixel] = 1.0f / image.depth[pixel];
    }
}

}  // namespace

// Rasterises one mesh into `images` views. vertices [V, 3], faces [F, 3], projections [images, 3, 4] = K times
// world-to-camera in OpenCV axes. Faces with a corner that is not in 0..V - 1, or not finite on the image, are not drawn.
// Outputs, row 0 at the top: face [images, H, W] (-1 where empty), bary [images, H, W, 3] and depth [images, H, W] (both
// 0 where empty).
extern "C" __attribute__((visibility("default"))) void gen3d_mesh_rasterize(
    int64_t vertex_count, int64_t face_count, int64_t images, const float* vertices, const int32_t* faces,
    const double* projections, int64_t width, int64_t height, double near_plane, int32_t* face_out, float* bary_out,
    float* depth_out, int64_t threads) {
    threads = std::max<int64_t>(threads, 1);
    // Views in flight, all at once where the transformed vertices take 40 MB at most: threads wait between groups.
    const int64_t fitting = (1 << 20) / std::max<int64_t>(vertex_count, 1);
    const int64_t group = std::clamp(fitting, std::min(threads, images), images);
    std::vector<Vertex> transformed(static_cast<size_t>(group * vertex_count));
    for (int64_t start = 0; start < images; start += group) {
        const int64_t views = std::min(group, images - start);
        const int64_t bands = std::min<int64_t>((threads + views - 1) / views, height);
#pragma omp parallel num_threads(static_cast<int>(threads))
        {
#pragma omp for schedule(static)
            for (int64_t item = 0; item < views * vertex_count; ++item) {
                const double* m = projections + 12 * (start + item / vertex_count);
                const float* v = vertices + 3 * (item % vertex_count);
                const double x = m[0] * v[0] + m[1] * v[1] + m[2] * v[2] + m[3];
                const double y = m[4] * v[0] + m[5] * v[1] + m[6] * v[2] + m[7];
                const double z = m[8] * v[0] + m[9] * v[1] + m[10] * v[2] + m[11];
                transformed[item] = {x, y, z, x / z, y / z};
            }
#pragma omp for schedule(dynamic, 1)
            for (int64_t task = 0; task < views * bands; ++task) {
                const int64_t view = task / bands, band = task % bands, base = (start + view) * width * height;
                const int64_t first = height * band / bands, last = height * (band + 1) / bands;
                const Image image = {static_cast<int>(width), static_cast<int>(height), face_out + base,
                                     bary_out + 3 * base, depth_out + base};
                std::fill(image.face + first * width, image.face + last * width, -1);
                std::fill(image.bary + 3 * first * width, image.bary + 3 * last * width, 0.0f);
                std::fill(image.depth + first * width, image.depth + last * width, 0.0f);
                const Vertex* view_vertices = transformed.data() + view * vertex_count;
                for (int64_t f = 0; f < face_count; ++f) {
                    if (!names_vertices(faces + 3 * f, vertex_count)) continue;
                    draw_triangle(view_vertices, faces + 3 * f, static_cast<int32_t>(f), static_cast<int>(first),
                                  static_cast<int>(last - 1), near_plane, image);
                }
                resolve(image, first * width, last * width);
            }
        }
    }
}

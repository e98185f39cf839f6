"""Terms that keep an optimised scene plausible, each a small pure function that returns a scalar.

The weights in the docstrings are those that published recipes give the terms: places to start from, for losses of
their scale.

Images are those of `gen3d.rendering.views.Render`. Samples along rays are packed: N samples of R rays, those of ray r
in the rows `ray_starts[r]` to `ray_starts[r + 1]`, near to far; `ray_starts` [R + 1] begins with 0 and ends with N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gen3d.rendering.tetrahedra import rows
from gen3d.rendering.topology import Topology

_EPSILON = 1e-5


def opacity(alpha: Tensor, target: float = 0.0) -> Tensor:
    """How far the mean of alpha [...] lies above `target` in 0..1; zero below it.

    Dream Fields (Jain et al. 2022, eq. 6): -min(tau, mean(T)) with tau = 1 - target, but for the constant -tau.
    Weight 0.5 there, while the target falls from 0.5 to 0.1 over 500 steps.
    """
    return (alpha.mean() - target).clamp_min(0)


def sparsity(alpha: Tensor) -> Tensor:
    """Mean of sqrt(alpha^2 + 0.01) over alpha [...]: nearly linear, so that fog is pushed to nothing, and flat at zero
    (DreamFusion, Poole et al. 2023, appendix A.2). Weight 1; 10 for ProlificDreamer; 5e-4 in Latent-NeRF's variant.
    """
    return (alpha.square() + 0.01).sqrt().mean()


def entropy(alpha: Tensor) -> Tensor:
    """Mean binary entropy of alpha [...] in nats, 0 (decided) to ln 2 (alpha = 1/2): -a ln a - (1 - a) ln(1 - a)
    (Latent-NeRF, Metzer et al. 2023; `opaque` in other toolkits). Alphas are kept 1e-5 from 0 and 1.
    Weight 1e-3; as `opaque` from 0 up to 1000.
    """
    a = alpha.clamp(_EPSILON, 1 - _EPSILON)
    return -(a * a.log() + (1 - a) * (1 - a).log()).mean()


def distortion(weights: Tensor, t: Tensor, ray_starts: Tensor, step: float | Tensor) -> Tensor:
    """Mean over the rays of how far their weights are spread out (mip-NeRF 360, Barron et al. 2022, eq. 15):

        sum_ij w_i w_j |t_i - t_j| + 1/3 sum_i w_i^2 step_i

    weights: [N] compositing weights. t: [N] middles of the intervals, ascending in every ray. ray_starts: [R + 1].
    step: the lengths of the intervals, one number or [N]. Exact in O(N): as t ascends, the double sum is
    2 sum_i w_i (t_i W_i - V_i), where W_i and V_i are the sums of w and of w t over the samples before i on its ray.
    Weight 1.
    """
    # One running sum goes over all rays, of which each ray takes a difference: float32 would drown short rays in it.
    w, t = weights.double(), t.double()
    first = _first_samples(ray_starts, len(weights))
    before = _exclusive_sums(w, first) * t - _exclusive_sums(w * t, first)
    total = 2 * (w * before).sum() + (w.square() * step).sum() / 3
    return (total / _ray_count(ray_starts)).to(weights.dtype)


def orientation(weights: Tensor, normals: Tensor, directions: Tensor) -> Tensor:
    """Mean of max(0, normal . direction)^2 over the samples by weight: visible surfaces face the camera
    (Ref-NeRF, Verbin et al. 2022, eq. 11).

    weights: [...] compositing weights, which get no gradient (as in DreamFusion, so that density does not flee from
    wrong normals). normals: [..., 3] unit, outward. directions: [..., 3] unit, from the camera into the scene.
    Weight from 0 up to 10 over the steps 1000 to 5000.
    """
    weights = weights.detach()
    away = (normals * directions).sum(-1).clamp_min(0).square()
    return (weights * away).sum() / weights.sum().clamp_min(_EPSILON)


def eikonal(gradients: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 over the gradients [N, 3] of a signed distance field (Gropp et al. 2020, eq. 2).
    Weight 1000 in TextMesh.
    """
    return (gradients.norm(dim=-1) - 1).square().mean()


def total_variation(grid: Tensor, spatial: int = 3) -> Tensor:
    """Mean squared difference of neighbours along each of the last `spatial` axes of grid [...], summed over the axes
    (the L2 form of TensoRF and DVGO). spatial: 3 for voxels, 2 for planes. Axes of one cell add nothing.
    Weight 1.
    """
    if not 1 <= spatial <= grid.ndim:
        raise ValueError(f"A grid of the shape {tuple(grid.shape)} has no {spatial} spatial axes.")
    axes = [axis for axis in range(grid.ndim - spatial, grid.ndim) if grid.shape[axis] > 1]
    return torch.stack([grid.new_zeros(()), *(grid.diff(dim=axis).square().mean() for axis in axes)]).sum()


def depth_smoothness(depth: Tensor, alpha: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels' mean depths (RegNeRF, Niemeyer et al. 2022, eq. 5), each pair
    weighted by the product of its alphas so that silhouettes stay free; the weights get no gradient.

    depth: [B, H, W, 1] premultiplied. alpha: [B, H, W, 1].
    """
    mean, cover = depth / alpha.clamp_min(_EPSILON), alpha.detach()
    across = cover[:, :, 1:] * cover[:, :, :-1], mean.diff(dim=2)
    down = cover[:, 1:] * cover[:, :-1], mean.diff(dim=1)
    total = sum((weight * change.square()).sum() for weight, change in (across, down))
    return total / (across[0].sum() + down[0].sum()).clamp_min(_EPSILON)


def z_variance(weights: Tensor, t: Tensor, ray_starts: Tensor) -> Tensor:
    """Mean over the rays with an opacity above one half of the variance of t under their normalised weights
    (HiFA, Zhu et al. 2024): thins the surface. weights, t: [N]. ray_starts: [R + 1]. Weight 1 to 100.
    """
    rays = _ray_count(ray_starts)
    ray = torch.repeat_interleave(torch.arange(rays, device=t.device), ray_starts.diff().long())
    covered = weights.new_zeros(rays).index_add(0, ray, weights)  # [R]
    share = weights / covered.clamp_min(_EPSILON)[ray]
    mean = weights.new_zeros(rays).index_add(0, ray, share * t)
    variance = weights.new_zeros(rays).index_add(0, ray, share * (t - mean[ray]).square())
    solid = covered.detach() > 0.5
    return (variance * solid).sum() / solid.sum().clamp_min(1)


def normal_consistency(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean of 1 - cosine over pairs of triangles that share an edge (Magic3D, Lin et al. 2023; Fantasia3D): 0 for a
    plane, 1 where every edge is a right angle. vertices: [V, 3]. Weight 1e4 in Magic3D's fine stage.
    """
    shared = topology.edges[topology.edges[:, 3] >= 0].long()
    a, b, c, d = rows(vertices, shared).unbind(1)
    first, second = torch.linalg.cross(b - a, c - a), torch.linalg.cross(d - a, b - a)
    return (1 - torch.nn.functional.cosine_similarity(first, second, dim=1)).sum() / max(len(shared), 1)


def laplacian(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean squared distance of the vertices [V, 3] to the mean of their neighbours: the uniform Laplacian (Nealen et
    al. 2006), in squared world units. Weight 1e4 in mesh recipes; 30 falling to 0.6 in CLIP-Mesh.
    """
    ends, others = topology.edges[:, :2].long(), topology.edges[:, [1, 0]].long()
    index, neighbours = ends.T.reshape(-1), others.T.reshape(-1)
    total = torch.zeros_like(vertices).scatter_add(0, index[:, None].expand(-1, 3), rows(vertices, neighbours))
    degree = torch.bincount(index, minlength=len(vertices)).clamp_min(1)[:, None]
    return (total / degree - vertices).square().sum() / max(len(vertices), 1)


def _ray_count(ray_starts: Tensor) -> int:
    return max(len(ray_starts) - 1, 1)


def _first_samples(ray_starts: Tensor, count: int) -> Tensor:
    """The row [N] at which each sample's ray begins."""
    starts = ray_starts.long()
    return torch.repeat_interleave(starts[:-1], starts.diff(), output_size=count)


def _exclusive_sums(values: Tensor, first: Tensor) -> Tensor:
    """Sums [N] of the values before each one on its own ray."""
    running = torch.cat([values.new_zeros(1), values.cumsum(0)])
    return running[:-1] - running[first]

"""The loss terms that any representation's renders can be asked for, by their weights in `config.regularizers`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import normalize

from gen3d.config.schema import RegularizersConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.rendering import regularizers
from gen3d.rendering.views import Render
from gen3d.representations.contract import Representation
from gen3d.representations.volume import VolumeRender, VolumeScene

Term = Callable[[Render, Cameras, RegularizersConfig], Tensor]
"""A function (render, its cameras, settings) -> unweighted scalar."""


def render_terms(render: Render, cameras: Cameras, config: RegularizersConfig) -> dict[str, Tensor]:
    """The weighted terms whose weight is above 0, by name; each a scalar, differentiable in the render. The cameras may
    lie on any device.
    """
    cameras = cameras.to(render.rgb.device)
    return {
        name: getattr(config, name) * term(render, cameras, config)
        for name, term in TERMS.items()
        if getattr(config, name) > 0
    }


def check_render_terms(representation: Representation, config: RegularizersConfig) -> None:
    """Raises UsageError for a term that asks for what the representation's renders do not hold."""
    if config.orientation > 0 and "normal" not in representation.outputs:
        raise UsageError(
            "'regularizers.orientation' needs normals, which the renders of this representation do not hold: set it to "
            "0, or use sdf, dmtet, mesh or primitives."
        )
    if config.z_variance > 0 and not isinstance(representation, VolumeScene):
        raise UsageError(
            "'regularizers.z_variance' needs samples along rays, which this representation does not take: set it to 0, "
            "or use nerf, triplane, voxels or sdf."
        )


def _opacity(render: Render, cameras: Cameras, config: RegularizersConfig) -> Tensor:
    return regularizers.opacity(render.alpha, config.opacity_target)


def _sparsity(render: Render, cameras: Cameras, config: RegularizersConfig) -> Tensor:
    return regularizers.sparsity(render.alpha)


def _entropy(render: Render, cameras: Cameras, config: RegularizersConfig) -> Tensor:
    return regularizers.entropy(render.alpha)


def _depth_smoothness(render: Render, cameras: Cameras, config: RegularizersConfig) -> Tensor:
    return regularizers.depth_smoothness(render.depth, render.alpha)


def _orientation(render: Render, cameras: Cameras, config: RegularizersConfig) -> Tensor:
    """The orientation loss of the pixels' normals, weighted by their alphas."""
    assert render.normal is not None
    return regularizers.orientation(render.alpha[..., 0], normalize(render.normal, dim=-1, eps=1e-6), cameras.rays()[1])


def _z_variance(render: Render, cameras: Cameras, config: RegularizersConfig) -> Tensor:
    assert isinstance(render, VolumeRender)
    assert render.samples is not None
    assert render.weights is not None
    return regularizers.z_variance(render.weights, render.samples.t, render.samples.offsets)


TERMS: dict[str, Term] = {
    "opacity": _opacity,
    "sparsity": _sparsity,
    "entropy": _entropy,
    "depth_smoothness": _depth_smoothness,
    "orientation": _orientation,
    "z_variance": _z_variance,
}
"""Every term by the name of its weight."""

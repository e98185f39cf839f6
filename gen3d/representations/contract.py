"""What the optimisation loop asks of a representation; a new one is one file, and one line in `table`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.rendering.views import Render

if TYPE_CHECKING:
    import trimesh
    from typing_extensions import Self


class Representation(Protocol):
    """A differentiable scene inside [-1, 1]^3; concretely a `torch.nn.Module` that owns its parameters.

    It is built on the CPU; `to` moves all that it owns, but for its generators: they draw on the CPU, and draws are
    moved, so that a seed means the same scene on every device. Cameras may lie on any device: the renderers move them.
    Renders and surface clouds lie where the scene does; what becomes files (`mesh_source`) comes to the CPU.

    outputs: which of "rgb", "alpha", "depth" and "normal" its renders hold.
    """

    outputs: frozenset[str]

    def to(self, device: torch.device | str) -> Self:
        """Moves the scene to a device, and returns it. Its optimiser has to be made afterwards."""

    def param_groups(self) -> list[dict[str, Any]]:
        """Groups for Adam: `name`, `params`, `lr`, and `lr_final` where the rate falls exponentially to it."""

    def render(self, cameras: Cameras) -> Render:
        """Views of the scene under the studio lighting, differentiable in the parameters. Some return a sub-class of
        `Render` with what `regularization` and the hooks need.
        """

    def regularization(self, render: Render, progress: float) -> Tensor:
        """A scalar that the representation adds to the loss of the step that drew `render`. progress: 0..1."""

    def surface_cloud(self) -> SurfaceCloud:
        """The scene's surface as points, a batch of one, differentiable in the parameters as far as it can be: what
        guidance in the shape prior's code space encodes. The areas add up to about the area of the surface.
        """

    def after_backward(self, render: Render) -> None:
        """Called after every backward pass, before the optimiser's step."""

    def after_step(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> None:
        """Called after every optimiser step (counted from 1): densify, prune, refresh grids. Parameters that are
        replaced have to be replaced in `optimizer`, too.
        """

    def mesh_source(self, size: int) -> Tensor | trimesh.Trimesh:
        """What its mesh is made from, on the CPU: a field [size, size, size] (z, y, x; larger is inside; cell centres
        of [-1, 1]^3), whose level is then chosen by re-rendering, or the mesh itself.
        """

    def state(self) -> dict[str, Any]:
        """Everything that decides how the scene looks and goes on: parameters, buffers, what was found or drawn since
        they last changed. Nested plain data of copies, from which the class' `from_state(state, settings, generator)`
        makes an equal scene; `settings` are those that it was made with.
        """

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts what `state` gave back, into a scene of the same class and settings. Optimisers have to be made anew."""

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers by name."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Puts a snapshot back, shapes included, where the scene is. The optimiser has to be made anew."""


def snapshot_module(module: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters and buffers of a module."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def restore_module(module: torch.nn.Module, state: dict[str, Tensor]) -> None:
    """Puts a snapshot back into a module whose parameters may have other shapes by now, and lie on another device."""
    for name, value in state.items():
        owner_name, _, leaf = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        present = getattr(owner, leaf)
        restored = value.to(present.device, copy=True)
        if isinstance(present, torch.nn.Parameter):
            setattr(owner, leaf, torch.nn.Parameter(restored))
        else:
            owner.register_buffer(leaf, restored)

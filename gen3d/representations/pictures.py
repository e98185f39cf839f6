"""Pictures of a representation from many views, a few at a time, which keeps the peak of memory low."""

from __future__ import annotations

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras
from gen3d.rendering.backgrounds import before_white
from gen3d.rendering.views import Render
from gen3d.representations.contract import Representation

VIEWS_AT_ONCE = 4


def on_white(scene: Representation, cameras: Cameras) -> Tensor:
    """Images [B, H, W, 3] of the scene before white, on the CPU."""
    render = views_of(scene, cameras)
    return before_white(render.rgb, render.alpha)


@torch.no_grad()
def views_of(scene: Representation, cameras: Cameras) -> Render:
    """The colours, alpha and depth of many views, on the CPU, where files and judges take them from."""
    renders = (scene.render(cameras[i : i + VIEWS_AT_ONCE]) for i in range(0, len(cameras), VIEWS_AT_ONCE))
    parts = [(render.rgb.cpu(), render.alpha.cpu(), render.depth.cpu()) for render in renders]
    return Render(*(torch.cat(images) for images in zip(*parts, strict=True)))

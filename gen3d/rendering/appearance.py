"""How image guides see a scene: under which light, and before what.

The shape prior compares views under the studio light, which every representation renders. CLIP and diffusion priors
may see others: DreamFusion (Poole et al. 2023, section 3.1) changes the shading from step to step, Fantasia3D (Chen et
al. 2023) begins with normals, Magic3D and DreamFusion learn the background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import AppearanceConfig
from gen3d.errors import UsageError
from gen3d.geometry.cameras import Cameras
from gen3d.rendering.backgrounds import LearnedBackground, dream_fields, solid
from gen3d.rendering.shading import MODES, Light, StudioMode, shaded
from gen3d.rendering.views import Render
from gen3d.runtime.transfers import sent


class Appearance:
    """Turns the loop's renders into what image guides see. Under the default settings it is the render itself, and
    nothing is drawn from the generator.
    """

    def __init__(
        self,
        config: AppearanceConfig,
        outputs: Collection[str],
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        """Takes the settings. outputs: what the representation's renders hold. generator: on the CPU. device: of the
        renders, for the background that is learned.

        Raises UsageError where a shading is asked for that needs normals and there are none, or no shading has a
        chance.
        """
        names: tuple[StudioMode, ...] = ("studio", *MODES)
        chances = {name: getattr(config, name) for name in names}
        self.modes = [name for name in names if chances[name] > 0]
        self.chances = torch.tensor([chances[name] for name in self.modes])
        if not self.modes:
            raise UsageError(f"No shading has a chance: give one of appearance.{', '.join(names)} a value above 0.")
        if "normal" not in outputs and self.modes != ["studio"]:
            raise UsageError(
                f"The shading '{self.modes[-1]}' needs normals, which the renders of this representation do not hold: "
                f"set appearance.{self.modes[-1]}=0, or use sdf, dmtet, mesh or primitives."
            )
        self.config, self.generator = config, generator
        learned = config.background == "learned"
        self.learned = LearnedBackground(config.color).to(device) if learned else None

    def param_groups(self) -> list[dict[str, Any]]:
        """The learned background's group for Adam; none without one."""
        if self.learned is None:
            return []
        rate = self.config.lr_background
        return [{"name": "background", "params": list(self.learned.parameters()), "lr": rate}]

    def __call__(self, render: Render, cameras: Cameras) -> Render:
        """`render`, under the studio light, as guides see it; differentiable in the render and the background. The
        cameras may lie on any device.
        """
        cameras = cameras.to(render.rgb.device)
        mode = self._draw_mode()
        lit = mode in ("lambertian", "textureless")
        light = Light.random(cameras.positions, self.generator) if lit else None
        background = self._background(cameras)
        if mode == "studio" and background is None:
            return render
        rgb = shaded(render, mode, light)
        return dataclasses.replace(render, rgb=rgb, background=background)

    def _draw_mode(self) -> StudioMode:
        if len(self.modes) == 1:
            return self.modes[0]
        return self.modes[int(torch.multinomial(self.chances, 1, generator=self.generator))]

    def _background(self, cameras: Cameras) -> Tensor | None:
        """The background [B, H, W, 3] of the views; None leaves it to each guide."""
        size = (len(cameras), cameras.height, cameras.width)
        if self.learned is not None:
            colors: Tensor = self.learned(cameras.rays()[1])
            return colors
        device = cameras.c2w.device
        if self.config.background == "solid":
            return sent(solid(self.config.color, *size), device)
        if self.config.background != "dream_fields":
            return None
        return sent(dream_fields(*size, self.generator), device)

"""What the systems share: options, objectives, and features of several processes."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.encoders.align import NESTED
from gen3d.encoders.trained import CLIP_FILES
from gen3d.runtime.paths import packaged_weights
from gen3d.training import losses

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Options:
    """What a training may do otherwise; the defaults are those that ship, the rest is for ablations.

    batch: shapes a step. points: of a cloud. each: texts, and views, of a shape in gen3d-align. sizes: overrides of a
    network's sizes.
    """

    batch: int = 48
    points: int = 1024
    each: int = 4
    image_loss: bool = True
    text_loss: bool = True
    hard: bool = True
    nested: tuple[int, ...] = NESTED
    sizes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One system. objective: networks and loss, batch -> loss. batch: draws one for a generator on the CPU and the
    share of the budget that is spent. rate: of learning. save: writes the finished objective to a folder.
    """

    objective: Objective
    batch: Callable[[torch.Generator, float], Batch]
    save: Callable[[Any, Path], Path]
    rate: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05


class Objective(nn.Module):
    """Networks that are trained, and the logarithm of the factor on cosines."""

    fits: Tensor

    def __init__(self, fits: Tensor | None = None) -> None:
        """Takes the table of what texts an object may be called by, see `EncoderData.fits`, where the loss asks it."""
        super().__init__()
        self.register_buffer("fits", fits, persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(losses.START_LOG_SCALE))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    def fitting(self, batch: Batch) -> Tensor:
        """[N, M] bool: whether each text of a batch is one of each shape's own, its own text or another's."""
        return self.fits[everyone(batch["objects"])][:, everyone(batch["text_ids"])]

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        raise NotImplementedError

    def before_step(self, step: int) -> None:
        """Takes note of the number of the step."""

    def before_update(self) -> None:
        """Changes gradients before the optimiser uses them."""

    @torch.no_grad()
    def after_update(self) -> None:
        """Keeps the factor on cosines within its bounds."""
        self.log_scale.clamp_(0, math.log(losses.MAX_SCALE))


def everyone(features: Tensor) -> Tensor:
    """The rows of all processes, in their order, differentiable; those of this one where it is alone."""
    if not together():
        return features
    if features.is_floating_point() and features.requires_grad:
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(features))
    parts = [torch.empty_like(features) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, features.contiguous())
    return torch.cat(parts)


def everyones_owners(owner: Tensor, shapes: int) -> Tensor:
    """The indices `owner` of all processes, into the shapes of all of them; each has as many."""
    if together():
        owner = owner + torch.distributed.get_rank() * shapes
    return everyone(owner)


def together() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1)


def owners(shapes: int, each: int) -> Tensor:
    return torch.arange(shapes).repeat_interleave(each)


def vit_config(options: Options) -> dict[str, Any]:
    """The configuration of a CLIP with a small vision transformer, in the layout of open_clip's hub files."""
    config: dict[str, Any] = json.loads(resources.files("gen3d.encoders").joinpath("clip_vit.json").read_text())
    config["model_cfg"]["vision_cfg"] |= {k: v for k, v in options.sizes.items() if k in _VISION}
    return config


_VISION = ("layers", "width", "head_width", "patch_size", "image_size")


def with_clip(folder: Path, out: Path, written: Path) -> Path:
    """Puts the CLIP that an encoder was aligned with beside it, unless it is the one that comes with gen3d."""
    for name in CLIP_FILES:
        if folder.resolve() not in (packaged_weights().resolve(), out.resolve()):
            shutil.copyfile(folder / name, out / name)
        elif folder.resolve() == packaged_weights().resolve():
            (out / name).unlink(missing_ok=True)
    return written

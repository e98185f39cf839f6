"""What a run tells while it works. Whoever listens (progress bar, preview, checkpoints, a viewer) is called with every
event; the loop knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gen3d.geometry.cameras import Cameras, turntable

if TYPE_CHECKING:
    from gen3d.config.schema import RunConfig
    from gen3d.pipeline.run import Run


@dataclass(frozen=True)
class PhaseBegan:
    """A new phase of the run begins, such as "sampling the shape prior"."""

    name: str


@dataclass(frozen=True)
class Said:
    """A sentence for the user. warning: it is about something that makes the result worse than it could be."""

    text: str
    warning: bool = False


class Terms(Mapping[str, float]):
    """What the loss of a step was made of, by name. The numbers are read when the first of them is asked for, all at
    once: on a graphics card whoever reads them waits until it has come so far, and who does not lets it run on.
    """

    def __init__(self, terms: Mapping[str, Tensor]) -> None:
        """terms: scalars, each []."""
        self._tensors: dict[str, Tensor] | None = {name: term.detach() for name, term in terms.items()}
        self._names = tuple(terms)
        self._values: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        if self._tensors is not None:
            values = torch.stack([term.double() for term in self._tensors.values()]).tolist()
            self._values, self._tensors = dict(zip(self._names, values, strict=True)), None
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class StepEvent:
    """One optimisation step is done.

    stage: counted from 0; -1 while drafts are compared. step: 1 to `steps`. terms: the loss and what it is made of, see
    `Terms`. run: the run itself, which may be looked at, stopped and changed between steps.
    """

    stage: int
    step: int
    steps: int
    terms: Mapping[str, float]
    run: Run

    @property
    def config(self) -> RunConfig:
        """The stage's settings, which the next steps read: a weight that is changed here holds from then on."""
        return self.run.config

    def stop(self) -> None:
        """Ends the optimisation after this step; what there is becomes the asset."""
        self.run.stop.set()

    def image(self, size: int = 256, cameras: Cameras | None = None) -> Tensor:
        """The scene as it is now, [B, H, W, 3] in 0..1 before white; from the front, `size` pixels a side, where no
        cameras are given.
        """
        from gen3d.representations.pictures import on_white

        assert self.run.scene is not None
        return on_white(self.run.scene.representation, turntable(1, size) if cameras is None else cameras)


Event = PhaseBegan | Said | StepEvent
Subscriber = Callable[[Event], None]
"""Is called with every event, in their order, in the run's own thread."""

"""Watches a run for scenes that went wrong, and takes them back to where they were right.

A step is looked at twice: what was rendered and its gradients before the optimiser moves anything, and the parameters
after it has. A scene is only remembered as healthy once it was seen to render so.

On a graphics card the answer to either look would have to be waited for, while the card has nothing to do. There it is
read a step later, always: the same step is taken back in every run, and at most one more step is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from gen3d.geometry.cameras import turntable
from gen3d.representations.contract import Representation, restore_module, snapshot_module

MIN_COVERAGE, MAX_COVERAGE = 0.002, 0.98
"""Mean alpha of a healthy view: below the scene is empty, above it fills the image like fog."""

MAX_ROLLBACKS = 3
REMEMBER_EVERY = 25
"""Steps after which a scene that renders well is remembered."""

MIN_SHARE = 0.1
"""Share of its coverage that a scene keeps between two looks, or most of it has vanished: densification may prune all
but a few Gaussians, which still show something.
"""

CHECK_VIEWS, CHECK_SIZE = 4, 64
"""Views and pixels a side with which a scene is looked at before it is remembered, and in the end."""


class Watchdog:
    """Keeps the last healthy scene, and what is optimised beside it; names what is wrong with the present one.

    more: modules whose parameters are learned with the scene, such as a background.
    """

    def __init__(self, scene: Representation, more: Iterable[torch.nn.Module] = ()) -> None:
        self.scene, self.more = scene, tuple(more)
        self.rollbacks, self.remembered_at = 0, 0
        self._later = any(parameter.is_cuda for parameter in self._parameters())
        self._unread: list[_Unread] = []
        self._coverage = 0.0
        self._coverage = self._look()[0]
        self._take(0)

    def remember(self, step: int) -> str | None:
        """Takes the present scene, which step `step` has left, as healthy; or says what is wrong with it."""
        coverage, trouble = self._look()
        if trouble is None:
            self._take(step)
            self._coverage = coverage
        return trouble

    def _take(self, step: int) -> None:
        self._good = self.scene.snapshot()
        self._good_more = [snapshot_module(module) for module in self.more]
        self.remembered_at = step

    @torch.no_grad()
    def _look(self) -> tuple[float, str | None]:
        """Mean alpha of standard views, and what is wrong with them."""
        render = self.scene.render(turntable(CHECK_VIEWS, CHECK_SIZE))
        coverage, finite = torch.stack([render.alpha.mean().double(), render.rgb.isfinite().all().double()]).tolist()
        if not finite:
            return coverage, "the picture is not a number"
        if coverage < MIN_SHARE * self._coverage:
            return coverage, "most of the scene has vanished"
        return coverage, "the scene is empty" if not coverage >= MIN_COVERAGE else None

    def before_update(self, loss: Tensor, alpha: Tensor) -> str | None:
        """What is wrong with a step, on CUDA with the one before it; None for a healthy one. loss: [], after its
        backward pass. alpha: [B, H, W, 1] of the step's renders.
        """
        coverage = alpha.detach().mean()
        finite = [torch.isfinite(gradient).all() for gradient in self._gradients()]
        gradients = torch.stack(finite).all() if finite else torch.isfinite(loss.detach())
        # One transfer for all three: on a GPU each would wait for the device.
        seen = torch.stack([loss.detach().double(), coverage.double(), gradients.double()])
        if not self._later:
            return _trouble(seen.tolist())
        trouble = next(filter(None, (_trouble(unread.values()) for unread in self._unread)), None)
        self._unread = [_Unread(seen)]
        return trouble

    def after_update(self) -> str | None:
        """What is wrong with the parameters, None where all are numbers; on CUDA the next `before_update` says it."""
        finite = self._finite()
        if not self._later:
            return _trouble(finite.tolist())
        self._unread.append(_Unread(finite))
        return None

    def at_the_end(self) -> str | None:
        """What is wrong with a finished scene; None where it renders finitely and shows something."""
        self._unread = []
        return _trouble(self._finite().tolist()) or self._look()[1]

    def _finite(self) -> Tensor:
        """[1], 1 where all parameters are numbers, else 0."""
        finite = [torch.isfinite(parameter.detach()).all() for parameter in self._parameters()]
        return torch.stack(finite).all().double()[None] if finite else torch.ones(1, dtype=torch.float64)

    @property
    def exhausted(self) -> bool:
        """Whether the scene was taken back so often that another try would not help."""
        return self.rollbacks >= MAX_ROLLBACKS

    def restore(self) -> None:
        """Puts the last healthy scene back, as new parameters; the optimiser has to be made anew."""
        self.rollbacks += 1
        self._unread = []  # of the scene that is given up
        self.scene.restore(self._good)
        for module, state in zip(self.more, self._good_more, strict=True):
            restore_module(module, state)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what the watchdog will do next; nested plain data."""
        return {
            "good": self._good,
            "more": self._good_more,
            "rollbacks": self.rollbacks,
            "remembered_at": self.remembered_at,
            "coverage": self._coverage,
            "unread": [unread.values() for unread in self._unread],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self._good, self._good_more = state["good"], state["more"]
        self.rollbacks, self.remembered_at = state["rollbacks"], state["remembered_at"]
        self._coverage = state["coverage"]
        self._unread = [_Unread(torch.tensor(values, dtype=torch.float64)) for values in state.get("unread", [])]

    def _parameters(self) -> Iterator[Tensor]:
        for group in self.scene.param_groups():
            yield from group["params"]
        for module in self.more:
            yield from module.parameters()

    def _gradients(self) -> Iterator[Tensor]:
        return (parameter.grad for parameter in self._parameters() if parameter.grad is not None)


class _Unread:
    """Numbers that are on their way from a graphics card to the CPU; nothing waits before they are read."""

    def __init__(self, seen: Tensor) -> None:
        """seen: [N] float64, on any device."""
        self._seen, self._arrived = seen.to("cpu", non_blocking=True), None
        if seen.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(seen.device))

    def values(self) -> list[float]:
        """The numbers, once they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._seen.tolist()


def _trouble(seen: list[float]) -> str | None:
    """What is wrong with a step. seen: loss, mean alpha and whether the gradients are numbers; or, alone, whether the
    parameters are.
    """
    if len(seen) == 1:
        return None if seen[0] else "a parameter is not a number"
    loss, coverage, gradients = seen
    if not abs(loss) < float("inf"):
        return "the loss is not a number"
    if not coverage >= MIN_COVERAGE:
        return "the scene is empty"
    if coverage > MAX_COVERAGE:
        return "the scene fills the whole view"
    return None if gradients else "a gradient is not a number"

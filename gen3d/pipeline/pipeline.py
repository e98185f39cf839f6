"""The Python API: one call that makes an asset, and a pipeline that keeps its models for the next prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gen3d.assets.asset import Asset
from gen3d.config.load import load_stages
from gen3d.config.schema import RunConfig
from gen3d.language.prompts import check_prompt
from gen3d.pipeline.events import Event, PhaseBegan, Said
from gen3d.pipeline.models import Models
from gen3d.pipeline.outputs import asset_of
from gen3d.pipeline.run import Run
from gen3d.runtime.device import resolve
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter

Setting = str | Mapping[str, Any]
"""A setting such as `"optimization.steps=200"`, or `{"optimization": {"steps": 200}}`."""


@dataclass(frozen=True)
class Finished:
    """The last event of a run: what it has made."""

    asset: Asset


class Pipeline:
    """Makes assets with one configuration; what is loaded for the first prompt is there for the next.

    >>> pipe = Pipeline(preset="draft")
    >>> asset = pipe.generate("a red chair", seed=3)  # doctest: +SKIP
    >>> for event in pipe.steps("a blue sofa"):  # doctest: +SKIP
    ...     print(event)
    """

    def __init__(
        self,
        recipe: str | None = None,
        *,
        preset: str | None = None,
        device: str = "auto",
        settings: Iterable[Setting] = (),
    ) -> None:
        """Takes a configuration. recipe: a shipped one ('gen3d recipes' lists them) or a YAML file; the default one
        where None.
        preset: a shipped configuration laid over it, such as "draft". device: "auto", "cpu", "cuda" or "cuda:N".
        settings: what is to be different, the later the stronger.

        Raises UsageError for unknown names, keys and values, Gen3DError where the machine has no such device.
        """
        self.recipe, self.preset, self.settings = recipe, preset, tuple(settings)
        self.device = device
        load_stages(recipe, self.settings, preset, device=device)  # what is wrong is said now
        self.models = Models(resolve(device), keep=True)

    def configure(self, prompt: str, seed: int | None = None, settings: Iterable[Setting] = ()) -> list[RunConfig]:
        """The checked configurations of a prompt's stages, in order."""
        return load_stages(
            self.recipe,
            (*self.settings, *settings),
            self.preset,
            prompt=check_prompt(prompt),
            seed=seed,
            device=self.device,
        )

    def steps(
        self, prompt: str, *, seed: int | None = None, settings: Iterable[Setting] = (), stop: StopFlag | None = None
    ) -> Iterator[Event | Finished]:
        """Makes the asset of a prompt, and tells of every phase and step; the last event is `Finished` with the asset.

        Between two events the run may be looked at (`event.image()`), changed (`event.config`) and stopped
        (`event.stop()`). Raises Gen3DError with a sentence where it cannot go on.
        """
        run = Run(self.configure(prompt, seed, settings), self.models, stop)
        yield from run.events()
        yield PhaseBegan("exporting")
        with run.kernels():
            asset = asset_of(run)
        yield Finished(asset)

    def generate(
        self,
        prompt: str,
        *,
        seed: int | None = None,
        settings: Iterable[Setting] = (),
        on_event: Callable[[Event], None] | None = None,
    ) -> Asset:
        """The asset of a prompt. on_event: is called with every event, and may stop or change the run.

        Raises UsageError for a prompt or setting that cannot be, Gen3DError with a sentence where the run cannot go on.
        """
        log = LogReporter()
        for event in self.steps(prompt, seed=seed, settings=settings):
            if isinstance(event, Finished):
                return event.asset
            if isinstance(event, Said) and event.warning:
                log.warn(event.text)
            if on_event is not None:
                on_event(event)
        raise AssertionError("A run ends with its asset.")


def generate(
    prompt: str,
    *,
    recipe: str | None = None,
    preset: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    settings: Iterable[Setting] = (),
    on_event: Callable[[Event], None] | None = None,
) -> Asset:
    """Makes one asset from a sentence, with models that are loaded for it alone; see `Pipeline` for several.

    >>> asset = generate("a wooden chair", preset="draft", seed=3)  # doctest: +SKIP
    >>> asset.save("chair")  # doctest: +SKIP
    """
    pipe = Pipeline(recipe, preset=preset, device=device, settings=settings)
    pipe.models.keep = False
    return pipe.generate(prompt, seed=seed, on_event=on_event)

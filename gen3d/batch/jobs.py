"""The jobs of a batch: prompts x configurations x seeds, each configuration resolved and checked once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gen3d.batch.manifest import Spec
from gen3d.config.load import dump_stages, load_stages
from gen3d.config.schema import RunConfig
from gen3d.errors import UsageError

MAX_JOBS = 2_000_000
"""The most jobs of one batch: beyond that a slip is likelier than a wish."""


@dataclass(frozen=True)
class Choice:
    """One configuration of a batch. config: a shipped name or a file. preset: is laid over it. overrides: in the forms
    that `load_stages` takes.
    """

    config: str | None = None
    preset: str | None = None
    overrides: tuple[str | Mapping[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """A short name, such as `dreamgaussian + draft (1 setting)`."""
        own = len(self.overrides)
        settings = f" ({own} {'setting' if own == 1 else 'settings'})" if own else ""
        return (self.config or "default") + (f" + {self.preset}" if self.preset else "") + settings


@dataclass(frozen=True)
class Batch:
    """The content of a batch file.

    overrides: what the file sets for all configurations. choices: the configurations, each with what the file says of
    it alone; none means one of `config` and `preset`. seeds: none means the configuration's own.
    """

    prompts: tuple[str, ...]
    config: str | None = None
    preset: str | None = None
    overrides: tuple[str | Mapping[str, Any], ...] = ()
    choices: tuple[Choice, ...] = ()
    seeds: tuple[int, ...] = ()

    def given(self, config: str | None, preset: str | None) -> Batch:
        """The batch with what the command line says: a configuration there is the only one, a preset is everyone's."""
        choices = () if config else self.choices
        if preset:
            choices = tuple(replace(choice, preset=preset) for choice in choices)
        return replace(self, config=config or self.config, preset=preset or self.preset, choices=choices)

    def resolve(self, overrides: Sequence[str] = (), seeds: Sequence[int] = (), **explicit: Any) -> Grid:
        """The checked jobs; `overrides`, `seeds` and `explicit` win over the file's settings. Raises UsageError as
        `load_stages` does, with the configuration's name where there are several, and for more than `MAX_JOBS`.
        """
        wanted = any(override.partition("=")[0].strip() == "seed" for override in overrides)
        if not seeds and explicit.get("seed") is None and not wanted:
            seeds = self.seeds
        choices = self.choices or (Choice(self.config, self.preset),)
        recipes: list[tuple[str, list[RunConfig]]] = []
        for choice in choices:
            layers = [*self.overrides, *choice.overrides, *overrides]
            try:
                stages = load_stages(choice.config, layers, choice.preset, **{**explicit, "prompt": self.prompts[0]})
            except UsageError as error:
                raise UsageError(f"{choice.label}: {error}") from None if len(choices) > 1 else error
            recipes.append((choice.label, stages))
        grid = Grid(self.prompts, tuple(recipes), tuple(dict.fromkeys(seeds)))
        if len(grid) > MAX_JOBS:
            raise UsageError(f"The batch has {len(grid):,} jobs, but at most {MAX_JOBS:,} are allowed: divide it.")
        return grid

    def jobs(self, overrides: Sequence[str] = (), **explicit: Any) -> list[list[RunConfig]]:
        """The checked stages of every job; the arguments are those of `resolve`."""
        return list(self.resolve(overrides, **explicit).jobs())


@dataclass(frozen=True)
class Grid:
    """All combinations of prompts, checked configurations and seeds; without seeds each configuration has its own.

    recipes: pairs of a label and the stages of a run.
    """

    prompts: tuple[str, ...]
    recipes: tuple[tuple[str, list[RunConfig]], ...]
    seeds: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts) * len(self.recipes) * max(len(self.seeds), 1)

    @property
    def out(self) -> str:
        """The output folder, which is everyone's."""
        return self.recipes[0][1][0].out

    def jobs(self) -> Iterator[list[RunConfig]]:
        """The stages of every job: all prompts with the first configuration and seed, then with the next."""
        for _, stages, seed in self._passes():
            for prompt in self.prompts:
                yield [replace(stage, prompt=prompt, seed=seed) for stage in stages]

    def specs(self) -> Iterator[Spec]:
        """The jobs in the same order as the manifest takes them; a configuration is written down once."""
        for label, stages, seed in self._passes():
            text = template(stages)
            for prompt in self.prompts:
                yield Spec(text, prompt, seed, label)

    def _passes(self) -> Iterator[tuple[str, list[RunConfig], int]]:
        for position in range(max(len(self.seeds), 1)):
            for label, stages in self.recipes:
                yield label, stages, self.seeds[position] if self.seeds else stages[0].seed


def template(stages: list[RunConfig]) -> str:
    """YAML of stages without what differs between jobs. The output folder is no part of a job: runs that were moved
    are not made again.
    """
    return dump_stages([replace(stage, prompt="", seed=0, out="outputs") for stage in stages])

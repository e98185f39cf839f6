"""One prompt on its way to an asset: drafts, stages, and all that a resumed run needs to end in the same bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gen3d.config.schema import RunConfig
from gen3d.errors import Gen3DError
from gen3d.kernels.dispatch import check_forced, forcing
from gen3d.pipeline.events import Event, PhaseBegan, Said, StepEvent
from gen3d.pipeline.generate import optimize
from gen3d.pipeline.guides import check_guided
from gen3d.pipeline.models import Models
from gen3d.pipeline.prompting import Understood, understand
from gen3d.pipeline.scene import Scene
from gen3d.pipeline.stage import Stage
from gen3d.pipeline.stages import asks_prior, first_scene, handed_over
from gen3d.runtime.interrupt import StopFlag

DRAFT = 0.1
"""The part of the steps after which candidates are compared."""

STATE_VERSION = 1


@dataclass(frozen=True)
class Draft:
    """What became of one candidate. scene, generator: their states. ranking: how it looks to the evaluator."""

    seed: int
    scene: dict[str, Any]
    generator: Tensor
    ranking: dict[str, Any]


def understood(stages: list[RunConfig], models: Models) -> Understood | None:
    """How the prompt of a run of these stages is read; None where they do not ask the prior. Raises Gen3DError where
    its weights are missing.
    """
    if not asks_prior(stages):
        return None
    return understand(stages[0].prompt, models.prior.concepts, models.prior.text.encode)


def _of_checkpoint(work: Iterator[Event]) -> Event | None:
    """The next event of a run that goes on from a checkpoint, until it has made a step: what fails until then, fails
    for what the checkpoint holds. Raises Gen3DError with what to do.
    """
    try:
        return next(work, None)
    except (Gen3DError, torch.OutOfMemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, ArithmeticError) as error:
        raise Gen3DError(
            f"The checkpoint does not fit the run that it lies in ({type(error).__name__}: {error}): remove the newest "
            "file in the run's folder 'checkpoints', and resume again."
        ) from error


class Run:
    """Makes the scene that `stages` describe; `events` does the work and tells of it.

    stages: the configurations of the run, in order. models: loaded when they are needed. stop: once set, the run ends
    after its current step with what there is. scene: as it is now, None before there is one. number: of the stage at
    work, `len(stages)` when all are done.
    """

    def __init__(self, stages: list[RunConfig], models: Models, stop: StopFlag | None = None) -> None:
        """Raises UsageError for stages that nothing guides, and for kernels that cannot compute on the device."""
        check_guided(stages)
        self._without_kernels = check_forced(stages[0].kernels.backend, models.device)
        self.stages, self.models = stages, models
        self.stop = StopFlag() if stop is None else stop  # a flag that is not set is false
        self.understood: Understood | None = None
        self.features: Tensor | None = None
        self.generator = torch.Generator()
        self.scene: Scene | None = None
        self.stage: Stage | None = None
        self.number, self._scene_of = 0, 0
        self.drafts: list[Draft] = []
        self.finished_seed: int | None = None
        self.costs: list[dict[str, Any]] = []
        self.cut_short = False
        self._pending: dict[str, Any] | None = None
        self._began, self._seconds_before = time.perf_counter(), 0.0

    @property
    def config(self) -> RunConfig:
        """The settings of the stage at work, or of that which made the scene."""
        return self.stage.config if self.stage else self.stages[max(self._scene_of, 0)]

    @property
    def drawn(self) -> str:
        """The text that the packaged models are asked for: what they know of the prompt."""
        return self.understood.prompt_to_draw if self.understood else self.stages[0].prompt

    @property
    def judged(self) -> str:
        """The text that the result is judged by: the whole prompt without words of style."""
        return self.understood.judged if self.understood else self.stages[0].prompt

    @property
    def finished(self) -> bool:
        """Whether all steps of all stages were made."""
        return self.number >= len(self.stages) and not self.cut_short

    @property
    def seconds(self) -> float:
        """How long the run has taken, that before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._began

    def kernels(self) -> AbstractContextManager[None]:
        """Within it, the kernels that the settings name compute."""
        return forcing(self.stages[0].kernels.backend, self.models.device)

    def events(self) -> Iterator[Event]:
        """Does what is left to do, and yields an event whenever somebody may want to know.

        Between two events the run may be looked at, stopped, and its state taken. Raises Gen3DError with a sentence
        where the run cannot go on.
        """
        if self._without_kernels:
            names = ", ".join(self._without_kernels)
            yield Said(f"'{self.stages[0].kernels.backend}' has no kernels for {names}, which choose their own.")
        work, resumed = self._work(), self._pending is not None
        while True:
            with self.kernels():  # and not between two events, when others compute
                event = _of_checkpoint(work) if resumed else next(work, None)
            if event is None:
                return
            resumed &= not isinstance(event, StepEvent)
            yield event

    def _work(self) -> Iterator[Event]:
        first = self.stages[0]
        if self.models.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.models.device)
        if asks_prior(self.stages):
            yield PhaseBegan("reading the prompt")
            self.understood = understood(self.stages, self.models)
            assert self.understood is not None
            self.features = self.models.features(self.drawn)
            if self._pending is None:
                for remark in self.understood.remarks:
                    yield Said(remark, warning=True)
        if self._pending is not None:
            self._put_back(self._pending)
            self._pending = None
        if self.scene is None or (first.candidates > 1 and self.finished_seed is None):
            yield from self._begin()
        while self.number < len(self.stages):
            config = self.stages[self.number]
            if self.stage is None:
                if self.number:
                    if self.stop:
                        self.cut_short = True
                        break
                    yield PhaseBegan(f"handing over to the {config.representation}")
                    assert self.scene is not None
                    self.scene = handed_over(self.scene, config, self.models, self.generator)
                self._enter(config, self.number)
            assert self.stage is not None
            yield PhaseBegan(f"optimising the {config.representation}")
            yield from optimize(self.stage, self, self.number)
            self.costs.append(self.stage.times.report())
            self.cut_short = bool(self.stop) and self.stage.step < self.stage.steps
            self.stage, self.number = None, self.number + 1

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on; nested plain data, for `runtime.tensors.save_state`."""
        return {
            "version": STATE_VERSION,
            "number": self.number,
            "scene_of": self._scene_of,
            "generator": self.generator.get_state(),
            "global_generator": torch.get_rng_state(),
            "scene": self.scene.state_dict() if self.scene else None,
            "stage": self.stage.state_dict() if self.stage else None,
            "drafts": [vars(draft) for draft in self.drafts],
            "finished_seed": self.finished_seed,
            "costs": self.costs,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes a state that `state_dict` gave to a run of the same stages; `events` goes on from there.

        Raises Gen3DError for the state of another version.
        """
        if state.get("version") != STATE_VERSION:
            raise Gen3DError(
                f"The checkpoint is of version {state.get('version')!s:.20}, and this gen3d reads {STATE_VERSION}: go "
                "on with the gen3d that wrote it, or begin anew."
            )
        self._pending = state

    def _put_back(self, state: dict[str, Any]) -> None:
        for name, low, high in (("number", 0, len(self.stages)), ("scene_of", -1, len(self.stages) - 1)):
            if type(state[name]) is not int or not low <= state[name] <= high:
                raise ValueError(f"its '{name}' is {state[name]!r}")
        if type(state["seconds"]) not in (int, float) or not isinstance(state["costs"], list):
            raise TypeError("its 'seconds' or 'costs' are none")
        self.number, self._scene_of = state["number"], state["scene_of"]
        self.drafts = [Draft(**draft) for draft in state["drafts"]]
        self.finished_seed, self.costs = state["finished_seed"], state["costs"]
        self._seconds_before = state["seconds"]
        if state["scene"] is not None:
            config = self._draft_config() if self._scene_of < 0 else self.stages[self._scene_of]
            self.scene = self._rebuilt(state["scene"], config)
            if state["stage"] is not None:
                self._enter(config, self._scene_of)
                assert self.stage is not None
                self.stage.load_state_dict(state["stage"])
        # This comes last, as making guides may draw.
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["global_generator"])

    def _rebuilt(self, state: dict[str, Any], config: RunConfig) -> Scene:
        scene = Scene.from_state(state, config, self.generator)
        scene.representation.to(self.models.device)
        for name in ("code", "offset"):
            value = getattr(scene, name)
            setattr(scene, name, None if value is None else value.to(self.models.device))
        return scene

    def _enter(self, config: RunConfig, number: int) -> None:
        assert self.scene is not None
        self.stage = Stage(config, self.scene, self.models, self.features, self.generator, self.drawn)
        self._scene_of = number

    def _seed(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.generator.manual_seed(seed)

    def _begin(self) -> Iterator[Event]:
        config = self.stages[0]
        if config.candidates > 1:
            yield from self._compare_drafts()
            return
        self._seed(config.seed)
        if config.start.kind == "prior":
            yield PhaseBegan("sampling the shape prior")
        self.scene = first_scene(self.models, self.features, config, self.generator, self.drawn)

    def _draft_config(self) -> RunConfig:
        first = self.stages[0]
        steps = max(1, round(DRAFT * first.optimization.steps))
        return replace(first, optimization=replace(first.optimization, steps=steps))

    def _compare_drafts(self) -> Iterator[Event]:
        """Makes `config.candidates` drafts, from seeds that count from `config.seed`, and goes on with the one that
        looks most like the prompt to the evaluator. Raises Gen3DError where the evaluator's weights are missing.
        """
        from gen3d.evaluation.evaluate import held_out_cameras, score_renders
        from gen3d.representations.pictures import on_white

        first, config = self.stages[0], self._draft_config()
        evaluator, gallery = self.models.evaluator, self.models.gallery
        while len(self.drafts) < first.candidates and not (self.stop and self.drafts):
            seed = first.seed + len(self.drafts)
            if self.stage is None:
                self._seed(seed)
                yield PhaseBegan(f"drafting candidate {len(self.drafts) + 1} of {first.candidates}")
                self.scene = first_scene(self.models, self.features, config, self.generator, self.drawn)
                self._enter(config, -1)
            assert self.stage is not None
            assert self.scene is not None
            yield from optimize(self.stage, self, -1)
            images = on_white(self.scene.representation, held_out_cameras())
            scores = score_renders(evaluator, images, self.judged, gallery)
            ranking = {"seed": seed, **{key: scores[key] for key in ("rank", "probability", "clip_score")}}
            self.drafts.append(Draft(seed, self.scene.state_dict(), self.generator.get_state(), ranking))
            self.stage = None
        best = min(self.drafts, key=lambda draft: (draft.ranking["rank"], -draft.ranking["probability"]))
        self.generator.set_state(best.generator)
        self.scene, self._scene_of = self._rebuilt(best.scene, first), 0
        self.finished_seed = best.seed
        yield Said(
            f"Of {len(self.drafts)} candidates seed {best.seed} looks most like the prompt: match "
            f"{best.ranking['rank']}, {best.ranking['probability']:.0%} sure."
        )

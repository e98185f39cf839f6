"""What a run begins with: the kind of its first scene, and how the shape prior is sampled for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gen3d.config.section import Bounds, Choices, Section

LEARNED = ("retrieve", "text2shape", "clipforge")
"""Starts that come from a folder, `start.source`."""

STARTS = ("prior", *LEARNED, "sphere", "box", "blob")


@dataclass
class StartConfig(Section, key="start"):
    """What the scene begins as, before anything is optimised. Later stages go on from the scene of the stage before."""

    kind: Annotated[str, Choices(*STARTS)] = "prior"
    """The first scene: 'prior' is a sample of the packaged shape prior for the prompt; 'retrieve' is the asset of
    `start.source` that is most like the prompt; 'text2shape' and 'clipforge' are made by the model in `start.source`;
    'sphere', 'box' and 'blob' (a ball with dents and bumps that the seed decides) are grey solids that know nothing of
    the prompt."""
    source: str = ""
    """The folder of assets, or the corpus, that is searched ('retrieve'), or the folder that 'gen3d train encoder'
    wrote for --kind text2shape-gan ('text2shape') or clipforge ('clipforge')."""
    encoder: str = ""
    """The encoder that 'retrieve' searches with, as `gen3d search --encoder` takes it; empty for gen3d's own."""
    radius: Annotated[float, Bounds(0.05, 0.95)] = 0.5
    """Radius of the grey sphere or blob, or half the side of the grey box, in world units; the world is the cube from
    -1 to 1. Larger values begin with a larger solid. A sample of the prior comes in its own size."""


@dataclass
class PriorConfig(Section, key="prior"):
    """How the packaged shape prior is sampled for the first scene."""

    guidance_scale: Annotated[float, Bounds(0, 100)] = 2.5
    """Strength of classifier-free guidance while the prior is sampled. At 1 there is none; larger values follow the
    prompt more closely and vary less, and very large ones leave what real objects look like."""
    guided_above: Annotated[float, Bounds(0, 1)] = 0.5
    """Diffusion time, from 0 (the sample) to 1 (noise), above which samples are guided. Larger values guide a shorter
    part of the sampling and stay closer to real objects; 0 guides all of it."""
    sample_steps: Annotated[int, Bounds(1, 1000)] = 40
    """Denoising steps of each sample. More steps take longer and are more exact."""
    candidates: Annotated[int, Bounds(1, 256)] = 8
    """Samples that are drawn, of which one is kept. More of them take longer and give a better choice."""
    select: Annotated[str, Choices("guide", "plausibility")] = "guide"
    """Which sample is kept: the one whose views the packaged guide takes for the prompt ('guide'), or the one that the
    shape prior itself finds the likeliest ('plausibility')."""

"""Guidance by diffusion models from a folder or the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gen3d.config.guidance import RULES
from gen3d.config.section import Bounds, Choices, Section
from gen3d.errors import UsageError

DIFFUSION_RULES = (*RULES, "dds", "refine")
"""The rules of the code space, and those that views take as well."""


@dataclass
class DiffusionConfig(Section, key="diffusion"):
    """Score distillation of the scene's views with a diffusion model from a folder or the hub."""

    weight: Annotated[float, Bounds(0, 1000)] = 0.0
    """Weight of this guide at the beginning. Larger values pull harder towards what the model draws for the prompt; 0
    turns it off."""
    weight_final: Annotated[float | None, Bounds(0, 1000)] = None
    """Weight at the end of the run, to which it changes linearly; null keeps the first weight throughout."""
    models: tuple[str, ...] = ()
    """Diffusion models, each a folder or OWNER/NAME of the hub, which are tried in order: the first that is complete is
    used."""
    rule: Annotated[str, Choices(*DIFFUSION_RULES)] = "sds"
    """Rule that makes a gradient of what the model predicts: one of those of `code.rule`; 'dds' (Delta Denoising
    Score), which edits a scene (see `source`); or 'refine', which pulls the views to what a whole sampling makes of
    them (the second stage of DreamGaussian)."""
    guidance_scale: Annotated[float, Bounds(0, 1000)] = 100.0
    """Strength of classifier-free guidance at the beginning; 1 is none. Larger values follow the prompt more closely,
    with stronger colours and less variety."""
    guidance_scale_final: Annotated[float | None, Bounds(0, 1000)] = None
    """Strength of guidance at the end of the run, to which it changes linearly; null keeps the first one throughout."""
    rescale: Annotated[float, Bounds(0, 1)] = 0.5
    """Share, from 0 to 1, of the rescaling of the guided prediction under the rule 'reconstruction'. Larger values tame
    colours that strong guidance has overdone."""
    t_max: Annotated[float, Bounds(0, 1)] = 0.98
    """Largest diffusion time, from 0 (clean) to 1 (noise), at the beginning of the run. Larger values let the shape
    change more."""
    t_min: Annotated[float, Bounds(0, 1)] = 0.02
    """Smallest diffusion time at the beginning of the run. Smaller values work on finer detail."""
    schedule: Annotated[str, Choices("uniform", "linear", "sqrt", "narrowing", "stepped", "dreamtime")] = "uniform"
    """How diffusion times are chosen over the run: 'uniform' draws them between `t_min` and `t_max`; 'linear' and
    'sqrt' fall from `t_max` to `t_min`; 'narrowing' draws between ends that move to their final values, and 'stepped'
    between ends that jump to them, at `t_until`; 'dreamtime' falls from `t_max` to `t_min` as in DreamTime (Huang et
    al. 2023)."""
    t_max_final: Annotated[float | None, Bounds(0, 1)] = None
    """Largest diffusion time of the schedules 'narrowing' and 'stepped' from `t_until` on; null keeps `t_max`."""
    t_min_final: Annotated[float | None, Bounds(0, 1)] = None
    """Smallest diffusion time of the schedules 'narrowing' and 'stepped' from `t_until` on; null keeps `t_min`."""
    t_until: Annotated[float, Bounds(0.001, 1)] = 1.0
    """Fraction of the run at which the final times of the schedules 'narrowing' and 'stepped' are reached."""
    negative: str = ""
    """Negative prompt: words for what the views should not look like."""
    view_prompts: bool = True
    """Whether 'front view', 'side view' and so on are added to the prompt, by where the camera stands. Models that see
    several views at once know the cameras and get none."""
    perp_neg: bool = False
    """Whether the texts of the other views push away from themselves (Perp-Neg, Armandpour et al. 2023), against faces
    on every side; it needs `view_prompts`."""
    perp_neg_strength: Annotated[float, Bounds(0, 100)] = 1.0
    """Factor on the published weights of Perp-Neg. Larger values push harder; 0 does not push."""
    debias: str = ""
    """Folder or OWNER/NAME of a masked language model, such as google-bert/bert-base-uncased, which strikes the words
    of the prompt that speak against a view (Hong et al. 2023); nothing strikes none. It needs `view_prompts`."""
    source: str = ""
    """What the scene shows at the start, in words: what the rule 'dds' edits from."""
    latents_until: Annotated[float, Bounds(0, 1)] = 0.0
    """Fraction of the run in which the views, colours and alpha, are taken for latents as they are (Fantasia3D). Larger
    values save time and stay coarse for longer."""
    refine_steps: Annotated[int, Bounds(1, 1000)] = 50
    """Denoising steps of a whole sampling; the rule 'refine' takes the share of them that its diffusion time asks for.
    More of them take longer and are more exact."""
    clip_gradient: Annotated[float, Bounds(0, 1e9)] = 0.0
    """Largest root mean square of the gradient of a view; larger gradients are scaled down to it. 0 sets no limit."""
    clip_pixels: Annotated[float, Bounds(0, 1e9)] = 0.0
    """Largest norm of the gradient of a pixel over its channels; larger ones are scaled down to it. 0 sets no limit."""
    normalise_gradient: Annotated[float, Bounds(0, 1e9)] = 0.0
    """Root mean square to which the gradient of every view is scaled, so that all times pull alike. 0 leaves it as it
    is."""
    dtype: Annotated[str, Choices("fp32", "fp16", "bf16")] = "fp32"
    """Precision of the model's numbers. 'fp16' and 'bf16' take half the memory of 'fp32' and are faster on a GPU."""
    attention_slicing: bool = False
    """Whether attention is computed in slices, which takes less memory and more time."""
    vae_slicing: bool = False
    """Whether the model's autoencoder works on one view of a batch at a time, which takes less memory and more time."""
    vae_tiling: bool = False
    """Whether the model's autoencoder works on overlapping tiles of views that are larger than it was trained on, which
    takes less memory and leaves faint seams."""
    cpu_offload: Annotated[str, Choices("off", "model", "sequential")] = "off"
    """What is on the GPU only while it computes, which takes less of its memory and more time: 'off' is nothing (as is
    false), 'model' each part of the model as a whole (as is true), 'sequential' each layer on its own, which is by far
    the slowest."""
    compile: bool = False
    """Whether `torch.compile` makes faster kernels for the model's network on a GPU. The first step takes a minute
    longer, and so does the first after the number of views changes."""
    download: bool = False
    """Whether weights that are missing are fetched from the hub."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_order("t_min", "t_max")
        low = self.t_min if self.t_min_final is None else self.t_min_final
        high = self.t_max if self.t_max_final is None else self.t_max_final
        if low > high:
            raise UsageError(
                f"'diffusion.t_min_final' is {low:g}, but may not be larger than 'diffusion.t_max_final', which is "
                f"{high:g}."
            )
        if (self.weight or self.weight_final) and self.rule == "dds" and not self.source.strip():
            raise UsageError(
                "The rule 'dds' edits a scene: say in 'diffusion.source' what the scene shows at the start, as in "
                "diffusion.source='a wooden chair'."
            )
        for key in ("perp_neg", "debias"):
            if getattr(self, key) and not self.view_prompts:
                raise UsageError(f"'diffusion.{key}' works on the texts of the views: set diffusion.view_prompts=true.")

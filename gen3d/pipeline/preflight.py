"""What can be known to be missing before anything heavy is imported: within a second of Enter."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from gen3d.config.schema import RunConfig
from gen3d.config.start import LEARNED
from gen3d.errors import Gen3DError, UsageError
from gen3d.guidance.weighting import is_used
from gen3d.runtime.files import printable, user_path
from gen3d.runtime.paths import packaged_weights

DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}
"""What the CUDA driver's library is called; without it no framework finds a GPU."""

PRIOR_FILES = (
    "prior_code.safetensors",
    "prior_decoder.safetensors",
    "prior_denoiser.safetensors",
    "prior_training.safetensors",
    "prior_concepts.json",
)


def preflight(stages: list[RunConfig]) -> None:
    """Raises Gen3DError or UsageError, with a sentence on what to do, for what the stages need and is not there: a GPU,
    packaged weights, models of guidance, a reference image. Imports neither torch nor any model library.
    """
    first = stages[0]
    if first.device.startswith("cuda") and not has_driver():
        raise Gen3DError(
            f"The device '{first.device}' was asked for, but this machine has no usable CUDA GPU; use --device cpu."
        )
    if first.start.kind in ("prior", "clipforge") or any(
        is_used(stage.code) or is_used(stage.field_views) for stage in stages
    ):
        _check_prior(packaged_weights())
    if first.start.kind in LEARNED:
        _check_source(first)
    for stage in stages:
        _check_guides(stage)


def _check_source(first: RunConfig) -> None:
    if not first.start.source:
        raise UsageError(f"'start.kind={first.start.kind}' needs a folder: name it, as in start.source=FOLDER.")
    if not user_path(first.start.source).is_dir():
        raise UsageError(f"There is no folder {printable(first.start.source)} ('start.source'): check the path.")


def has_driver() -> bool:
    """Whether the library of a CUDA driver can be loaded, without which no framework finds a GPU."""
    name = DRIVERS.get(sys.platform)
    if name is None:
        return False
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _check_prior(folder: Path) -> None:
    for name in PRIOR_FILES:
        if not (folder / name).is_file():
            raise Gen3DError(
                f"The shape prior's file '{name}' is missing from '{folder}'; reinstall gen3d, or train one with "
                "'gen3d train prior'."
            )


def _is_trained(source: str) -> bool:
    """As `encoders.trained.is_trained`, which imports torch."""
    try:
        return (Path(source).expanduser() / "encoder.safetensors").is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _check_guides(stage: RunConfig) -> None:
    for settings in (stage.clip, stage.encoder):
        if settings is stage.encoder and _is_trained(settings.model):
            continue
        if is_used(settings) and settings.model != "mini":
            from gen3d.encoders.clip_files import check_available as check_clip

            check_clip(settings.model)
    diffusion, reference = stage.diffusion, stage.reference
    if is_used(diffusion):
        if not diffusion.models:
            raise UsageError(
                "Guidance by diffusion has a weight but no model: name a folder or a repository, as in "
                "diffusion.models=[stabilityai/stable-diffusion-2-1-base]."
            )
        from gen3d.guidance.models.files import check_available as check_diffusion

        check_diffusion(diffusion.models, diffusion.download)
    if is_used(reference) and not reference.image:
        raise UsageError("'reference.weight' is set, but no image: name one, as in reference.image=photo.png.")
    # Whether a diffusion model wants the image is known only when it is loaded.
    if reference.image and not user_path(reference.image).is_file():
        raise UsageError(f"The reference image {reference.image} does not exist: check the path.")

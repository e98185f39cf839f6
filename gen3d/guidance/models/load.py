"""Diffusion priors from a folder, the hub's cache or the hub: the first of a list of candidates that can be had.

Only safetensors are read, never pickles, and no code that lies beside the weights is run. Importing this module is
cheap; torch and diffusers are imported by `load_prior`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gen3d.errors import Gen3DError, UsageError
from gen3d.guidance.models.catalog import PROJECTIONS
from gen3d.guidance.models.files import (
    PATTERNS,
    ModelFiles,
    advice,
    check_available,
    find,
    first_of,
    ignored_patterns,
    is_fetched,
    preflight,
    weight_patterns,
    weights_file,
)
from gen3d.runtime.hub import hub_cache, is_offline

if TYPE_CHECKING:
    import torch

    from gen3d.guidance.contract import DiffusionPrior
    from gen3d.guidance.models.placement import Placement

__all__ = ["LoadOptions", "check_available", "load_prior", "preflight"]

logger = logging.getLogger(__name__)

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
OFFLOADS = ("model", "sequential")
_LIBRARIES = ("diffusers", "transformers")


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded.

    dtype: fp32, fp16 or bf16. device: where it computes; it stays there, see `gen3d.guidance.models.placement`.
    attention_slicing, vae_slicing, vae_tiling: less memory for more time, see there. cpu_offload: True or "model", or
    "sequential" for the least memory: only what computes is on the device. resolution: side in pixels of the images the
    prior sees, where not its own. download: fetch what is missing. compile: make kernels for the network on a GPU.
    Raises UsageError for another dtype or offload.
    """

    dtype: str = "fp32"
    device: torch.device | str = "cpu"
    attention_slicing: bool = False
    cpu_offload: bool | str = False
    resolution: int | None = None
    download: bool = False
    vae_slicing: bool = False
    vae_tiling: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            near = difflib.get_close_matches(self.dtype, DTYPES, 1, 0.3)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise UsageError(f"Models are loaded as {', '.join(DTYPES)}, not '{self.dtype}'{hint}")
        if self.cpu_offload not in (True, False, *OFFLOADS):
            raise UsageError(f"CPU offload is one of {', '.join(OFFLOADS)}, true or false, not '{self.cpu_offload}'.")

    @property
    def offload(self) -> str | None:
        """How models are offloaded: one of `OFFLOADS`, or None for not at all."""
        if isinstance(self.cpu_offload, str):
            return self.cpu_offload
        return OFFLOADS[0] if self.cpu_offload else None


def load_prior(
    candidates: str | Sequence[str], options: LoadOptions | None = None, generator: torch.Generator | None = None
) -> DiffusionPrior:
    """The first of `candidates` (folders or OWNER/NAME) that is complete, frozen, behind the adapter of its class.

    generator: draws latents from the encoder's Gaussian; without one their mean is taken. Raises Gen3DError saying of
    each candidate what is missing, or what is wrong with the files; UsageError for options that do not fit.
    """
    options = options or LoadOptions()
    placement = _placement(options)
    files = _fetch(candidates) if options.download and not is_offline() else preflight(candidates)
    try:
        parts = _load_parts(files, options)
    except Gen3DError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds, which all mean the same to the user
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Gen3DError(
            f"The diffusion model '{files.name}' cannot be loaded from '{files.folder}' ({reason}): the files may be "
            "damaged, or of another version."
        ) from error
    prior: DiffusionPrior = _build(files, parts, options, placement, generator)
    return prior


def _placement(options: LoadOptions) -> Placement:
    """Where the options want the models. Raises Gen3DError without what offloads, before anything large is read."""
    import torch

    from gen3d.guidance.models.placement import Placement

    try:
        device = torch.device(options.device)
    except RuntimeError:
        raise UsageError(f"There is no device '{options.device}': use cpu, cuda or cuda:0.") from None
    offload = options.offload
    if offload is not None and device.type != "cuda":
        logger.warning("CPU offload needs a CUDA device; the model stays on '%s'.", device)
        offload = None
    return Placement(device, offload)


def _fetch(candidates: str | Sequence[str]) -> ModelFiles:
    """The first candidate that is complete here or can be fetched from the hub. Raises as `preflight`."""

    def get(name: str) -> ModelFiles:
        if is_fetched(name):
            _download(name)
        return find(name)

    return first_of([candidates] if isinstance(candidates, str) else list(candidates), get)


def _download(repository: str) -> None:
    """Fetches what adapters read of a repository; what is there already is not fetched again."""
    try:
        find(repository)
    except Gen3DError:
        from huggingface_hub import snapshot_download

        logger.info("Fetching '%s' from the hub.", repository)
        try:
            snapshot_download(
                repository,
                cache_dir=hub_cache(),
                allow_patterns=[*PATTERNS, *weight_patterns(repository)],
                ignore_patterns=ignored_patterns(repository),
            )
        except Exception as error:  # the hub raises a dozen kinds, which all mean the same to the user
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise Gen3DError(
                f"The diffusion model '{repository}' cannot be fetched from the hub ({reason}); {advice(repository)}."
            ) from None


def _load_parts(files: ModelFiles, options: LoadOptions) -> dict[str, Any]:
    """The components that the adapter of the class asks for and that are there, by name, on the CPU."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    dtype = getattr(torch, DTYPES[options.dtype])
    parts = {part: _load_part(files, part, dtype) for part in files.variants}
    skipped = [part for part in files.adapter.optional if part not in parts and part.startswith("text_encoder")]
    if skipped:
        logger.warning("'%s' is used without its %s, which is not there.", files.name, " and ".join(skipped))
    return parts


def _load_part(files: ModelFiles, part: str, dtype: torch.dtype) -> Any:
    import torch

    library, class_name = files.index[part][:2]
    folder = files.folder / part
    if part in PROJECTIONS:
        from gen3d.guidance.models.image_conditioned import load_projection

        return load_projection(weights_file(folder), dtype)
    if part == "unet" and class_name == "MultiViewUNetModel":
        from gen3d.guidance.models.multiview_weights import load_multiview_unet

        return load_multiview_unet(folder, weights_file(folder), dtype)
    if library not in _LIBRARIES:
        raise Gen3DError(
            f"The {part} of '{files.name}' is a '{library}.{class_name}', whose code would have to be run: only "
            f"classes of {' and '.join(_LIBRARIES)} are loaded."
        )
    kind = getattr(importlib.import_module(library), class_name)
    if part == "scheduler" or part.startswith("tokenizer"):
        return kind.from_pretrained(folder, local_files_only=True)
    if part == "vae" and dtype == torch.float16 and files.class_name == "StableDiffusionXLPipeline":
        dtype = torch.float32  # its activations overflow in 16 bits
    settings: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    if library == "diffusers":
        settings["low_cpu_mem_usage"] = importlib.util.find_spec("accelerate") is not None
    model, found = kind.from_pretrained(folder, variant=files.variants[part], output_loading_info=True, **settings)
    _check_weights(files, part, model, found)
    return model


def _check_weights(files: ModelFiles, part: str, model: Any, found: dict[str, Any]) -> None:
    """Raises Gen3DError naming a tensor of the part that its files lack, which the libraries would make up, or that is
    not finite in the precision it was loaded in.
    """
    from gen3d.runtime.tensors import not_finite

    lacking = sorted(found.get("missing_keys") or ())
    if lacking:
        raise Gen3DError(
            f"The {part} of '{files.name}' in '{files.folder / part}' lacks the tensor '{lacking[0]}'"
            f"{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''}: the files are of another version, or of "
            "another model."
        )
    broken = not_finite(model.state_dict())
    if broken is not None:
        raise Gen3DError(
            f"The tensor '{broken}' of the {part} of '{files.name}' in '{files.folder / part}' holds numbers that are "
            f"not finite (NaN or infinity) as {str(model.dtype).removeprefix('torch.')}: take another copy, or another "
            "precision."
        )


def _build(
    files: ModelFiles,
    parts: dict[str, Any],
    options: LoadOptions,
    placement: Placement,
    generator: torch.Generator | None,
) -> Any:
    """The prior of the parts: frozen, placed, behind its adapter."""
    import diffusers
    import torch

    from gen3d.guidance.models.base import Setup
    from gen3d.guidance.models.placement import compile_network, freeze, slice_attention, slice_vae

    adapter = files.adapter
    prior = getattr(importlib.import_module(f"gen3d.guidance.models.{adapter.module}"), adapter.prior)
    pipeline = _pipeline(getattr(diffusers, adapter.pipeline), parts, files) if adapter.pipeline else None
    models = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
    freeze(models)
    if options.attention_slicing:
        slice_attention(models)
    if options.vae_slicing or options.vae_tiling:
        slice_vae(models, options.vae_slicing, options.vae_tiling)
    placement.place(models)
    if options.compile:
        compile_network(models, placement)
    setup = Setup(files.name, placement, options.resolution, generator)
    if pipeline is not None:
        return prior(pipeline, setup)
    from gen3d.guidance.models.image_conditioned import ImageModels

    projection = next(parts[name] for name in PROJECTIONS if name in parts)
    image_models = ImageModels(parts["vae"], parts["unet"], parts["scheduler"], parts["image_encoder"], projection)
    # The two kinds of pose look alike in the files; only their names tell.
    return prior(image_models, setup, absolute_elevation="stable" in files.name.lower())


def _pipeline(kind: Any, parts: dict[str, Any], files: ModelFiles) -> Any:
    """A diffusers pipeline of the parts; what it knows and gen3d does not use is None."""
    parameters = inspect.signature(kind.__init__).parameters
    required = [name for name, one in parameters.items() if one.default is one.empty and name != "self"]
    settings = {name: files.index[name] for name in parameters if isinstance(files.index.get(name), bool)}
    if "requires_safety_checker" in parameters:  # no image of it is shown: it only guides
        settings["requires_safety_checker"] = False
    return kind(**{**dict.fromkeys(required), **settings, **parts})

"""Where models live and how much memory they take: device, attention slicing, CPU offload."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from gen3d.errors import Gen3DError

logger = logging.getLogger(__name__)


def freeze(models: dict[str, Any]) -> None:
    """Sets torch modules to evaluate, without gradients of their own."""
    for model in models.values():
        model.eval().requires_grad_(False)


def slice_attention(models: dict[str, Any]) -> None:
    """Computes the attention of U-Nets head by head, for less memory; warns where there is no U-Net."""
    sliceable = [model for model in models.values() if hasattr(model, "set_attention_slice")]
    if not sliceable:
        logger.warning("Attention slicing does nothing for this model: only U-Nets know it.")
    for model in sliceable:
        model.set_attention_slice("max")


def place(models: dict[str, Any], pipeline: Any | None, device: str, cpu_offload: bool) -> None:
    """Moves models to `device`.

    cpu_offload: each is on the GPU only while it computes. It means nothing on a CPU and needs a diffusers pipeline; a
    warning says where it is not done.
    """
    if cpu_offload and pipeline is not None and device.startswith("cuda"):
        offload(pipeline, device)
        return
    if cpu_offload:
        reason = "needs a CUDA device" if pipeline is not None else "is not made for image-conditioned models"
        logger.warning("CPU offload %s; the model stays on '%s'.", reason, device)
    for model in models.values():
        model.to(device)


def offload(pipeline: Any, device: str) -> None:
    """Keeps each model but the VAE on the CPU while it does not compute. Raises Gen3DError without accelerate.

    The gradient of an encoded image passes through the VAE after the network has run, so it has to stay.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise Gen3DError("CPU offload needs the package accelerate: run 'pip install accelerate'.")
    order = type(pipeline).model_cpu_offload_seq.split("->")
    pipeline.model_cpu_offload_seq = "->".join(name for name in order if name != "vae")
    pipeline._exclude_from_cpu_offload = [*type(pipeline)._exclude_from_cpu_offload, "vae"]
    pipeline.enable_model_cpu_offload(device=device)


def offload_again(pipeline: Any) -> None:
    """Makes the hooks of an offloaded pipeline anew, after some of its models were dropped."""
    if getattr(pipeline, "_all_hooks", None):
        device = str(pipeline._offload_device)
        pipeline.remove_all_hooks()
        offload(pipeline, device)

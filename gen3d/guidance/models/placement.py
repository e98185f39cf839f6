"""Where models live and how much memory they take: device, CPU offload, slices of attention and of the VAE's work."""

from __future__ import annotations

import gc
import importlib.util
import logging
from collections.abc import Iterable
from typing import Any

import torch

from gen3d.errors import Gen3DError

logger = logging.getLogger(__name__)

RESIDENT = ("vae", "clip_camera_projection", "cc_projection")
"""Models that offloading leaves on the device. The gradient of an encoded image passes through the VAE after the
network has run, and a projection is a single layer."""


class Placement:
    """Where the models of a prior live: on `device` all the time, or in the CPU's memory while they do not compute.

    offload: "model" moves each whole model to the device when it is first asked in a step, and back by `rest`;
    "sequential" moves each layer on its own, which takes the least memory and by far the most time; None neither.
    Raises Gen3DError where the package that offloads is missing.
    """

    def __init__(self, device: torch.device | str = "cpu", offload: str | None = None) -> None:
        self.device, self.offload = torch.device(device), offload
        self._moved: dict[str, Any] = {}
        if offload is not None:
            check_offload()

    def place(self, models: dict[str, Any]) -> None:
        """Moves models, by the name of their component, to where they live."""
        for name, model in models.items():
            if self.offload is None or name in RESIDENT:
                model.to(self.device)
            elif self.offload == "sequential":
                from accelerate import cpu_offload

                cpu_offload(model, self.device)
            else:
                from accelerate import cpu_offload_with_hook

                _, self._moved[name] = cpu_offload_with_hook(model, self.device)

    def rest(self) -> None:
        """Moves what was offloaded as whole models back to the CPU, until it is asked again."""
        for hook in self._moved.values():
            hook.offload()

    def drop(self, names: Iterable[str]) -> None:
        """Forgets models that are no longer used, and gives the memory of all that was dropped back to the system."""
        for name in names:
            self._moved.pop(name, None)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def check_offload() -> None:
    """Raises Gen3DError where CPU offload is not possible."""
    if importlib.util.find_spec("accelerate") is None:
        raise Gen3DError("CPU offload needs the package accelerate: run 'pip install accelerate'.")


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


def compile_network(models: dict[str, Any], placement: Placement) -> None:
    """Lets `torch.compile` make kernels for the network when it is first called, in place; says why where it cannot."""
    networks = [models[name] for name in ("unet", "transformer") if name in models]
    if placement.device.type != "cuda":
        logger.warning(
            "'diffusion.compile' does nothing on '%s': kernels are made for graphics cards.", placement.device
        )
    elif placement.offload is not None:
        logger.warning("'diffusion.compile' does nothing together with 'diffusion.cpu_offload': leave one of them off.")
    elif importlib.util.find_spec("triton") is None:
        logger.warning("'diffusion.compile' does nothing without the package triton, which makes the kernels.")
    else:
        for network in networks:
            network.compile(dynamic=False)


def slice_vae(models: dict[str, Any], slicing: bool, tiling: bool) -> None:
    """Lets the VAE work on one image of a batch at a time (`slicing`), and on overlapping tiles of images larger than
    it was trained on (`tiling`), for less memory; warns where there is no VAE.
    """
    if "vae" not in models:
        logger.warning("Slicing and tiling of the VAE do nothing for this model: it diffuses pixels.")
        return
    if slicing:
        models["vae"].enable_slicing()
    if tiling:
        models["vae"].enable_tiling()

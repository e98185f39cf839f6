"""The kinds of systems, and how each is built."""

from __future__ import annotations

from pathlib import Path

from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.errors import UsageError
from gen3d.training.encoder_data import EncoderData, Frozen
from gen3d.training.systems.base import Options, System
from gen3d.training.systems.clip import clip_system
from gen3d.training.systems.clipforge import clipforge_system
from gen3d.training.systems.openshape import openshape_system
from gen3d.training.systems.text2shape import text2shape_gan_system, text2shape_system
from gen3d.training.systems.views import align_system, duoduo_system

KINDS = ("clip", "text2shape", "text2shape-gan", "openshape", "duoduo", "align", "clipforge")
WITHOUT_CLIP = ("clip", "text2shape", "text2shape-gan")
"""The kinds that see no features of a frozen CLIP."""


def build_system(
    kind: str, data: EncoderData, clip: ViewAveragedClip | None, frozen: Frozen | None, folder: Path, options: Options
) -> System:
    """The system of one of `KINDS`.

    clip: the frozen CLIP, which lies in `folder`; for "text2shape-gan" `folder` holds the trained Text2Shape. frozen:
    features by the CLIP. Both are None for the kinds `WITHOUT_CLIP`. Raises UsageError for another kind.
    """
    if kind == "clip":
        return clip_system(data, options)
    if kind == "text2shape":
        return text2shape_system(data, options)
    if kind == "text2shape-gan":
        return text2shape_gan_system(data, folder, options)
    if kind not in KINDS or clip is None or frozen is None:
        raise UsageError(f"'{kind}' is no kind of encoder; there are {', '.join(KINDS)}.")
    build = {
        "openshape": openshape_system,
        "duoduo": duoduo_system,
        "align": align_system,
        "clipforge": clipforge_system,
    }[kind]
    return build(data, clip, frozen, folder, options)

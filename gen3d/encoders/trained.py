"""The encoders that 'gen3d train encoder' writes, ready to be searched with.

A folder holds `encoder.safetensors`, whose metadata says what it is, and where that needs more than gen3d brings along
the CLIP that it was aligned with (`clip.safetensors`, `clip_vocab.json`) or its own words (`encoder_vocab.json`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.encoders.align import AlignModel
from gen3d.encoders.clip_mini import VOCABULARY_NAME, WEIGHTS_NAME
from gen3d.encoders.conditional_flow import ConditionalFlow, FlowSizes
from gen3d.encoders.contract import AlignedEncoder, Reads
from gen3d.encoders.evaluator import fit_square
from gen3d.encoders.point_encoder import PointEncoder, PointSizes
from gen3d.encoders.text2shape import Text2Shape, Text2ShapeSizes, VoxelMaker
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.encoders.view_transformer import ViewTransformer, ViewTransformerSizes
from gen3d.errors import Gen3DError
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.runtime.files import file_digest
from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.tensors import check_shapes, load_weights, read_metadata, save_tensors, shapes_of

ENCODER_NAME, WORDS_NAME = "encoder.safetensors", "encoder_vocab.json"


def is_trained(source: str) -> bool:
    """Whether a text names a folder that 'gen3d train encoder' wrote, other than a CLIP."""
    try:
        return (Path(source).expanduser() / ENCODER_NAME).is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def save_encoder(folder: Path, kind: str, model: nn.Module, details: Mapping[str, Any]) -> Path:
    """Writes a network to `encoder.safetensors`, matrices in fp16, with what is needed to build it again as JSON.

    details: sizes, scale, and what else the kind needs. Raises Gen3DError where it cannot be written.
    """
    state = {
        name: value.half() if value.is_floating_point() and value.ndim >= 2 else value
        for name, value in model.state_dict().items()
    }
    save_tensors(folder / ENCODER_NAME, state, {"kind": kind, "details": json.dumps(dict(details))})
    return folder / ENCODER_NAME


def clip_folder(folder: Path) -> Path:
    """Where the CLIP lies that an encoder in `folder` was aligned with: beside it, or among gen3d's own weights."""
    return folder if (folder / WEIGHTS_NAME).is_file() else packaged_weights()


def load_trained(folder: Path, device: torch.device | str = "cpu") -> AlignedEncoder:
    """The encoder in a folder, frozen. Raises Gen3DError where there is none, or it is damaged."""
    kind, details = _described(folder)
    if kind not in _ENCODERS:
        raise Gen3DError(f"In '{folder}' is a '{kind}', which makes shapes of text but embeds none.")
    fingerprint = file_digest(folder / ENCODER_NAME)
    model = _built(folder, lambda: _NETWORKS[kind](details)).to(device)
    try:
        encoder: AlignedEncoder = _ENCODERS[kind](Trained(folder, model, details, fingerprint, device))
        if not 0 < encoder.logit_scale < math.inf:
            raise ValueError(f"its scale is {encoder.logit_scale}")
    except (KeyError, ValueError, TypeError) as error:
        path = folder / ENCODER_NAME
        raise Gen3DError(f"The encoder '{path}' cannot be read ({_lacking(error)}): train it again.") from None
    return encoder


def _lacking(error: Exception) -> str:
    """What is wrong by an error; a KeyError says the name alone."""
    return f"it does not say its {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]


def load_voxel_maker(folder: Path) -> tuple[VoxelMaker, WordTokenizer]:
    """Text2Shape's generator with its text network, and its words. Raises Gen3DError as `load_trained`."""
    return _of_kind(folder, "text2shape-gan", VoxelMaker), WordTokenizer.load(folder / WORDS_NAME)


def load_flow(folder: Path) -> ConditionalFlow:
    """CLIP-Forge's flow. Raises Gen3DError as `load_trained`."""
    return _of_kind(folder, "clipforge", ConditionalFlow)


def load_text2shape(folder: Path) -> tuple[Text2Shape, WordTokenizer]:
    """Text2Shape's networks and its words. Raises Gen3DError as `load_trained`."""
    return _of_kind(folder, "text2shape", Text2Shape), WordTokenizer.load(folder / WORDS_NAME)


@dataclass(frozen=True)
class Trained:
    """What a folder of `save_encoder` holds: the network on a device, and what its file says of it."""

    folder: Path
    model: Any
    details: Mapping[str, Any]
    fingerprint: str
    device: torch.device | str


class _BesideClip:
    """What the encoders have in common that are aligned with a frozen CLIP, which embeds their texts."""

    def __init__(self, made: Trained) -> None:
        self.model, self.fingerprint = made.model, made.fingerprint
        self.clip = ViewAveragedClip.of_folder(clip_folder(made.folder), made.device)
        self.logit_scale = float(made.details["scale"])

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.clip.embed_text(texts)


class MultiViewEncoder(_BesideClip):
    """DuoduoCLIP: a transformer over all views, aligned with a CLIP's frozen texts and pictures."""

    reads: Reads = "views"
    name = "gen3d-duoduo"

    def __init__(self, made: Trained) -> None:
        super().__init__(made)
        self.dimension, self.image_size = int(made.details["features"]), self.tower.image_size
        self._pixels = tuple(float(made.details[name]) for name in ("mean", "std"))

    @property
    def tower(self) -> ViewTransformer:
        """The transformer of the views."""
        tower: ViewTransformer = self.model
        return tower

    def embed_views(self, images: Tensor) -> Tensor:
        """Unit features [B, D] of views [B, V, H, W, 3] in 0..1, differentiable."""
        flat = fit_square(images.flatten(0, 1).permute(0, 3, 1, 2), self.image_size)
        mean, std = self._pixels
        views = ((flat - mean) / std).unflatten(0, images.shape[:2])
        return F.normalize(self.tower(views.to(self.tower.proj.device)), dim=-1)

    def embed_pictures(self, images: Tensor) -> Tensor:
        """Unit features [B, D]: a picture is a shape that is seen from one side."""
        return self.embed_views(images[:, None])


class AlignEncoder(MultiViewEncoder):
    """gen3d-align: as DuoduoCLIP, but texts go through a head of its own, into a space of nested sizes."""

    name = "gen3d-align"

    @property
    def tower(self) -> ViewTransformer:
        tower: ViewTransformer = self.model.views
        return tower

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        return F.normalize(self.model.texts(self.clip.embed_text(texts)), dim=-1)


class CloudEncoderOfPoints(_BesideClip):
    """OpenShape: coloured points, aligned with a CLIP's frozen texts and pictures."""

    reads: Reads = "cloud"
    name = "gen3d-openshape"

    def __init__(self, made: Trained) -> None:
        super().__init__(made)
        self.dimension, self.image_size = self.model.sizes.features, self.clip.image_size

    def embed_pictures(self, images: Tensor) -> Tensor:
        return self.clip.embed_pictures(images)

    def embed_cloud(self, cloud: SurfaceCloud) -> Tensor:
        """Unit features [B, D], differentiable in points and colours."""
        points = torch.cat([cloud.points, cloud.colors], -1)
        return F.normalize(self.model(points.to(self.model.class_token.device)), dim=-1)


class VoxelEncoderOfText2Shape:
    """Text2Shape. Its features mean by their dot products; whoever compares cosines leaves their lengths out."""

    reads: Reads = "voxels"
    name = "gen3d-text2shape"
    image_size = 64

    def __init__(self, made: Trained) -> None:
        self.model, self.fingerprint, self.device = made.model, made.fingerprint, made.device
        self.tokenizer = WordTokenizer.load(made.folder / WORDS_NAME)
        self.logit_scale, self.dimension = float(made.details["scale"]), 128

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        features: Tensor = self.model.text(self.tokenizer(texts).to(self.device))
        return features

    def embed_pictures(self, images: Tensor) -> Tensor:
        raise Gen3DError("Text2Shape reads texts and voxels, but no pictures: search with another encoder.")

    def embed_voxels(self, voxels: Tensor) -> Tensor:
        features: Tensor = self.model.shape(voxels.to(self.device))
        return features


_NETWORKS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "duoduo": lambda details: ViewTransformer(ViewTransformerSizes(**details["sizes"]), int(details["features"])),
    "align": lambda details: AlignModel(
        ViewTransformerSizes(**details["sizes"]), int(details["clip_features"]), tuple(details["nested"])
    ),
    "openshape": lambda details: PointEncoder(PointSizes(**details["sizes"])),
    "text2shape": lambda details: Text2Shape(Text2ShapeSizes(**details["sizes"])),
    "text2shape-gan": lambda details: VoxelMaker(Text2ShapeSizes(**details["sizes"])),
    "clipforge": lambda details: ConditionalFlow(FlowSizes(**details["sizes"])),
}
"""How the network of each kind is built from the details of its file."""

_ENCODERS: dict[str, Any] = {
    "duoduo": MultiViewEncoder,
    "align": AlignEncoder,
    "openshape": CloudEncoderOfPoints,
    "text2shape": VoxelEncoderOfText2Shape,
}


def _described(folder: Path) -> tuple[str, dict[str, Any]]:
    path = folder / ENCODER_NAME
    metadata = read_metadata(path)
    try:
        kind, details = metadata["kind"], json.loads(metadata["details"])
        if kind not in _NETWORKS or not isinstance(details, dict):
            raise ValueError(f"'{kind}' is no kind of encoder")
    except (KeyError, ValueError, RecursionError) as error:
        raise Gen3DError(f"The file '{path}' is no encoder that this version of gen3d wrote ({error}).") from None
    return kind, details


def _built(folder: Path, build: Callable[[], nn.Module]) -> nn.Module:
    path = folder / ENCODER_NAME
    state = {name: t.float() if t.is_floating_point() else t for name, t in load_weights(path).items()}
    try:
        with torch.device("meta"):  # what a file says of its sizes takes no memory before its tensors have them
            check_shapes(shapes_of(state), shapes_of(build().state_dict()), path)
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn here do not matter
            model = build()
        model.load_state_dict(state)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise Gen3DError(f"The encoder '{path}' cannot be read ({reason}): train it again.") from None
    return model.eval().requires_grad_(False)


def _of_kind(folder: Path, wanted: str, network: type) -> Any:
    kind, details = _described(folder)
    if kind != wanted:
        raise Gen3DError(f"In '{folder}' is a '{kind}', not a '{wanted}'.")
    model = _built(folder, lambda: _NETWORKS[kind](details))
    assert isinstance(model, network)
    return model


CLIP_FILES = (WEIGHTS_NAME, VOCABULARY_NAME)
"""The files of a CLIP that an encoder was aligned with."""

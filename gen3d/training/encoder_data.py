"""What the aligned encoders are trained on: views, points, voxels, captions, and the frozen features of a CLIP.

Renders are the corpus's own. What the frozen CLIP says of every view and caption is computed once and kept in the
corpus, for all systems that are trained on it; a step of training then runs no frozen network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gen3d.corpus.store import Corpus, ObjectRecord
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.errors import Gen3DError
from gen3d.geometry.voxels import voxelized
from gen3d.language.captions import with_article
from gen3d.rendering.backgrounds import before_white
from gen3d.runtime.progress import Reporter
from gen3d.runtime.tensors import load_weights, save_tensors

FEATURES_FOLDER = ".features"
TEXTS = 64
"""Captions that the frozen CLIP reads at once."""

GREY = 0.4
"""The colour of points whose colours are dropped, as of shapes that have none (OpenShape, section 3.2)."""

_MEANINGLESS = re.compile(
    r"\d{3,}|\d+[-_.:/]\d+|\w+\.(?:obj|glb|fbx|stl|ply|blend|max|skp|dae|zip)\b|[^\x20-\x7e]{3,}|^[\W\d_]*$|_|^\w?$"
)
"""Texts that say nothing of an object: timestamps, model numbers, file names, characters without meaning."""


def says_something(text: str) -> bool:
    """Whether a raw name could describe an object (OpenShape, section 3.3): of those that could not the text is
    dropped, and the shape kept.
    """
    return _MEANINGLESS.search(text.strip()) is None


def texts_of(record: ObjectRecord, enriched: bool, filtered: bool) -> list[str]:
    """The texts of an object that training may show. enriched: its captions, not its raw name alone."""
    texts = list(dict.fromkeys([*record.captions, *(with_article(noun) for noun in record.nouns)]))
    texts = texts if enriched else [record.name]
    return [text for text in texts if says_something(text)] if filtered else texts


@dataclass(frozen=True)
class Frozen:
    """Unit features by a frozen CLIP: of views [N, V, D] and of the captions [M, D]."""

    views: Tensor
    texts: Tensor


class EncoderData:
    """The training objects of a corpus. Everything that is drawn comes from the generator that is given."""

    def __init__(self, corpus: Corpus, *, enriched: bool = True, filtered: bool = True) -> None:
        """Raises Gen3DError where fewer than four objects may train."""
        self.corpus = corpus
        self.rows = corpus.training_indices()
        if len(self.rows) < 4:
            raise Gen3DError(f"The corpus '{corpus.folder}' has {len(self.rows)} training objects, not the least of 4.")
        self.records = [corpus.records[int(row)] for row in self.rows]
        texts = [texts_of(record, enriched, filtered) for record in self.records]
        self.captions = [text for some in texts for text in some]
        self.caption_owner = torch.tensor([index for index, some in enumerate(texts) for _ in some], dtype=torch.long)
        counts = torch.tensor([len(some) for some in texts])
        self.caption_count, self.caption_start = counts, counts.cumsum(0) - counts
        if not self.captions:
            raise Gen3DError(f"The corpus '{corpus.folder}' has no captions to train with.")

        distinct = {text: index for index, text in enumerate(dict.fromkeys(self.captions))}
        self.text_ids = torch.tensor([distinct[caption] for caption in self.captions])
        """Captions that are equal texts have one number."""
        self.fits = torch.zeros(len(self.rows), len(distinct), dtype=torch.bool)
        """[N, T] whether a text is one of the object's own: "a chair" is of every chair, and no negative of any."""
        self.fits[self.caption_owner, self.text_ids] = True

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def view_count(self) -> int:
        return int(self._views.shape[1])

    @cached_property
    def _views(self) -> np.ndarray:
        return self.corpus.array("views")

    @cached_property
    def _surface(self) -> tuple[np.ndarray, np.ndarray]:
        return self.corpus.array("surface"), self.corpus.array("surface_rgb")

    def images(self, objects: Tensor, views: Tensor) -> Tensor:
        """Images [B, V, H, W, 3] in 0..1 on white of objects [B] from views [V], or [B, V]."""
        rows = self.rows[objects.numpy()]
        chosen = views.expand(len(objects), -1).numpy()
        rgba = torch.from_numpy(np.stack([self._views[row][at] for row, at in zip(rows, chosen, strict=True)]))
        rgba = rgba.float() / 255
        return before_white(rgba[..., :3] * rgba[..., 3:], rgba[..., 3:])

    def points(self, objects: Tensor, count: int, generator: torch.Generator, colorless: float = 0.5) -> Tensor:
        """Points [B, count, 6] of objects [B]; with the probability `colorless` all of an object's are grey."""
        surface, rgb = self._surface
        rows = self.rows[objects.numpy()].tolist()
        pick = torch.randint(surface.shape[1], (len(rows), count), generator=generator).numpy()
        xyz = torch.from_numpy(np.stack([surface[row][at] for row, at in zip(rows, pick, strict=True)])).float()
        color = torch.from_numpy(np.stack([rgb[row][at] for row, at in zip(rows, pick, strict=True)])).float() / 255
        grey = torch.rand(len(rows), 1, 1, generator=generator) < colorless
        return torch.cat([xyz, torch.where(grey, torch.full_like(color, GREY), color)], -1)

    def voxels(self, objects: Tensor) -> Tensor:
        """Voxels [B, 4, 32, 32, 32] of objects [B]."""
        surface, rgb = self._surface
        rows = self.rows[objects.numpy()].tolist()
        points = torch.from_numpy(np.stack([surface[row] for row in rows])).float()
        colors = torch.from_numpy(np.stack([rgb[row] for row in rows])).float() / 255
        return voxelized(points, colors)

    def draw(self, count: int, generator: torch.Generator, captioned: bool = False) -> Tensor:
        """`count` different objects, fewer where there are fewer. captioned: only such as have a text."""
        order = torch.randperm(len(self), generator=generator)
        if captioned:
            order = order[self.caption_count[order] > 0]
        return order[:count]

    def draw_captions(self, objects: Tensor, each: int, generator: torch.Generator) -> Tensor:
        """Indices [B, each] of captions of objects [B] that have some, drawn uniformly; with repetitions where an
        object has fewer.
        """
        count, start = self.caption_count[objects], self.caption_start[objects]
        drawn = torch.rand(len(objects), each, generator=generator)
        # Different ones where there are enough: a random rotation of each object's own list.
        offset = (drawn[:, :1] * count[:, None]).long() + torch.arange(each)
        return start[:, None] + offset % count[:, None].clamp(min=1)

    def frozen(self, clip: ViewAveragedClip, folder: Path, reporter: Reporter) -> Frozen:
        """What a frozen CLIP says of all views and captions, from the files in `folder` where they are of the same."""
        # One view of each object tells renders that were made anew; all of them would take seconds to read.
        seen = hashlib.sha256(np.ascontiguousarray(self._views[self.rows, 0]).tobytes()).hexdigest()
        views = _kept(folder, "views", [clip.fingerprint, seen], lambda: self._view_features(clip, reporter))
        texts = _kept(folder, "texts", [clip.fingerprint, self.captions], lambda: self._text_features(clip, reporter))
        return Frozen(views, texts)

    @torch.no_grad()
    def _view_features(self, clip: ViewAveragedClip, reporter: Reporter) -> Tensor:
        reporter.stage("what the frozen CLIP says of all views")
        features = []
        for index in range(len(self)):
            features.append(clip.embed_pictures(self.images(torch.tensor([index]), torch.arange(self.view_count))[0]))
            reporter.step(index + 1, len(self), {})
        return torch.stack(features)

    @torch.no_grad()
    def _text_features(self, clip: ViewAveragedClip, reporter: Reporter) -> Tensor:
        reporter.stage("what the frozen CLIP says of all captions")
        distinct = list(dict.fromkeys(self.captions))
        features = []
        for start in range(0, len(distinct), TEXTS):
            features.append(clip.embed_text(distinct[start : start + TEXTS]))
            reporter.step(start // TEXTS + 1, -(-len(distinct) // TEXTS), {})
        place = {text: index for index, text in enumerate(distinct)}
        return torch.cat(features)[[place[text] for text in self.captions]]


def _kept(folder: Path, name: str, of: list[Any], make: Callable[[], Tensor]) -> Tensor:
    """Features in fp16 in a file whose name says what they are of; made where it is not there."""
    digest = hashlib.sha256(json.dumps(of).encode()).hexdigest()[:24]
    path = folder / f"{name}-{digest}.safetensors"
    if not path.is_file():
        save_tensors(path, {name: make().half()})
    return load_weights(path)[name].float()


def hard_batch(features: Tensor, seeds: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Objects [B] of a batch of hard negatives, each once, and the number of the seed that each belongs to [B]: every
    seed with its nearest neighbours by unit features [N, D] (OpenShape, section 3.4: 40 seeds of 5).
    """
    nearest = (features[seeds] @ features.T).topk(min(neighbours, len(features)), dim=1).indices  # [S, K], itself too
    groups: dict[int, int] = {}
    for number, row in enumerate(nearest.tolist()):
        for item in row:
            groups.setdefault(item, number)
    return torch.tensor(list(groups)), torch.tensor(list(groups.values()))


def view_means(frozen: Frozen) -> Tensor:
    """Unit means [N, D] of the views of each object."""
    return F.normalize(frozen.views.mean(1), dim=-1)


def words_of(data: EncoderData) -> Sequence[str]:
    """All texts that a vocabulary is built of."""
    return [*data.captions, *(noun for record in data.records for noun in record.nouns)]

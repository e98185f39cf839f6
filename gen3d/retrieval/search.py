"""`gen3d search` and `gen3d classify`: which assets are like a text, a picture or an asset, and what an asset is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from gen3d.assets.asset import Asset
from gen3d.assets.images import contact_sheet
from gen3d.assets.load import load
from gen3d.assets.read import READABLE, read_asset
from gen3d.encoders.aligned import load_encoder
from gen3d.encoders.contract import AlignedEncoder
from gen3d.errors import Gen3DError, UsageError
from gen3d.guidance.reference import load_reference
from gen3d.language.captions import with_article
from gen3d.language.prompts import check_prompt
from gen3d.retrieval.index import Found, Index
from gen3d.retrieval.items import file_of
from gen3d.retrieval.shapes import AssetShape, MemoryShape, checked_unit, embed_shape
from gen3d.runtime.device import resolve
from gen3d.runtime.files import printable, user_path
from gen3d.runtime.progress import LogReporter, Reporter

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MAX_COUNT = 1000
MAX_LABELS = 10_000
SHEET_COLUMNS = 5

Query = str | Path | Asset
"""What is searched for: a text, the path of a picture or of an asset, or an asset."""


@dataclass(frozen=True)
class Hit:
    """An asset that was found. name: its path within the folder, or its identifier in the corpus. score: the cosine
    with the query, in -1..1. path: what to load it from.
    """

    name: str
    score: float
    path: Path
    found: Found

    def load(self) -> Asset:
        """The asset. Raises UsageError for an object of a corpus, which keeps no files."""
        if self.found.item.row is not None:
            raise UsageError(f"'{printable(self.name)}' is an object of a corpus, which holds pictures but no files.")
        return load(self.path)


class SearchResult(Sequence[Hit]):
    """The hits, the best first. encoder: the name of the encoder that scored them. left_out: a sentence for each asset
    that could not be indexed.
    """

    def __init__(self, query: str, hits: Sequence[Hit], encoder: str, total: int, left_out: Sequence[str]) -> None:
        self.query, self.hits, self.encoder = query, list(hits), encoder
        self.total, self.left_out = total, list(left_out)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, index: Any) -> Any:
        return self.hits[index]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __repr__(self) -> str:
        return f"<gen3d.SearchResult {self.query!r}: {len(self)} of {self.total}>"

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        hits = [
            {"rank": rank, "name": hit.name, "score": round(hit.score, 4), "path": str(hit.path)}
            for rank, hit in enumerate(self.hits, start=1)
        ]
        return {
            "query": self.query, "encoder": self.encoder, "assets": self.total, "hits": hits, "left_out": self.left_out
        }  # fmt: skip

    def sheet(self, size: int = 160) -> np.ndarray:
        """One uint8 picture of the hits from the front, each `size` pixels a side, with score and name below."""
        if not self.hits:
            raise Gen3DError("Nothing was found, so there is nothing to show.")
        views = torch.stack([_front(hit, size) for hit in self.hits])
        labels = [f"{hit.score:.2f} {Path(hit.name).name}" for hit in self.hits]
        return contact_sheet(views, SHEET_COLUMNS, labels)


def search(
    query: Query,
    where: str | Path,
    *,
    count: int = 10,
    encoder: str | Path | AlignedEncoder | None = None,
    device: str = "auto",
    index: str | Path | None = None,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> SearchResult:
    """The assets in a folder, or the objects of a corpus, that are most like a query.

    query: a text; the path of a picture (PNG, JPEG, WebP) or of an asset; or an asset. where: any folder, searched with
    those below it, or a corpus. encoder: see `gen3d.encoders.aligned.load_encoder`; of several `workers`, processes
    that index, each loads it. index: the folder of the index, by default `.gen3d-index` in `where`. What is not in the
    index yet is embedded first.

    Raises UsageError for a query or a folder that cannot be meant, Gen3DError for a file that cannot be used.
    """
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"The number of results is {count}, but must lie between 1 and {MAX_COUNT:,}.")
    where, reporter = user_path(where), reporter or LogReporter()
    if not where.is_dir():
        raise UsageError(f"There is no folder {printable(where)}: name one with assets in it, or a corpus.")
    model, source = _encoder_of(encoder, device)
    if workers > 1 and model is encoder:
        raise UsageError("Several workers load the encoder themselves: name it, or its folder, instead of giving it.")
    feature, name = embed_query(query, model)
    found = Index(where, model, user_path(index) if index is not None else None)
    if missing := len(found.missing()):
        reporter.stage(f"indexing {missing:,} of {len(found.items):,} assets with {model.name}")
    left_out = found.update(source, workers, lambda done, total: reporter.step(done, total, {}))
    hits = [Hit(near.item.name, near.score, near.item.place, near) for near in found.nearest(feature, count)]
    return SearchResult(name, hits, model.name, len(found.items), left_out)


def classify(
    asset: str | Path | Asset,
    labels: Sequence[str],
    *,
    encoder: str | Path | AlignedEncoder | None = None,
    device: str = "auto",
) -> list[tuple[str, float]]:
    """The labels with their probabilities for an asset, or for a picture of one, the most probable first (zero-shot
    classification: CLIP, section 3.1).

    Probabilities are a softmax over these labels alone: of two wrong ones, one gets more than half. Raises as `search`.
    """
    names = list(dict.fromkeys(" ".join(label.split()) for label in labels))
    if len(names) < 2 or len(names) > MAX_LABELS or "" in names:
        raise UsageError(
            f"{len(names)} different labels were given, but 2 to {MAX_LABELS:,} that say something are needed."
        )
    model, _ = _encoder_of(encoder, device)
    path = None if isinstance(asset, Asset) else user_path(asset)
    if path is not None and path.suffix.lower() not in (*PICTURES, *READABLE) and not path.is_dir():
        raise UsageError(
            f"{printable(path)} is no asset and no picture: its name has to end in {', '.join((*READABLE, *PICTURES))}."
        )
    feature, _ = embed_query(asset if path is None else path, model)
    texts = F.normalize(model.embed_text([with_article(name) for name in names]).float().cpu(), dim=-1)
    shares = (model.logit_scale * (texts @ feature)).softmax(0).tolist()
    return sorted(zip(names, shares, strict=True), key=lambda pair: -pair[1])


def embed_query(query: Query, encoder: AlignedEncoder) -> tuple[torch.Tensor, str]:
    """The unit feature [D] of a query, and what it is called.

    A text that ends like the name of a picture or an asset is one. Raises UsageError where there is no such file.
    """
    if isinstance(query, Asset):
        return embed_shape(encoder, MemoryShape(query)), query.prompt or "an asset"
    path = user_path(query)
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        image = load_reference(str(path), "picture").pixels  # premultiplied
        with torch.no_grad():
            features = encoder.embed_pictures((image[..., :3] + 1 - image[..., 3:])[None])
        return checked_unit(features[0], encoder), printable(path)
    if suffix in READABLE or isinstance(query, Path):
        return embed_shape(encoder, AssetShape(read_asset(file_of(path)))), printable(path)
    text = check_prompt(query)
    return checked_unit(encoder.embed_text([text])[0], encoder), text


def _encoder_of(encoder: str | Path | AlignedEncoder | None, device: str) -> tuple[AlignedEncoder, str | Path | None]:
    """The encoder, and what other processes load it from."""
    if encoder is None or isinstance(encoder, str | Path):
        return load_encoder(encoder, resolve(device)), encoder
    return encoder, None


def _front(hit: Hit, size: int) -> torch.Tensor:
    """The view [size, size, 3] of a hit from the front."""
    images = hit.found.item.shape().views(size)[:1].permute(0, 3, 1, 2)
    small = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return small[0].permute(1, 2, 0).clamp(0, 1)

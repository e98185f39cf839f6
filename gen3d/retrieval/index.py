"""The index of a folder or corpus by one encoder: made once, kept beside it, brought up to date when it is asked."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gen3d import __version__
from gen3d.encoders.aligned import load_encoder
from gen3d.encoders.contract import AlignedEncoder
from gen3d.errors import Gen3DError
from gen3d.retrieval.items import CATALOGUE_NAME, Catalogue, Item, find_items
from gen3d.retrieval.shapes import embed_shape
from gen3d.retrieval.store import EmbeddingStore
from gen3d.runtime.files import json_text, printable, replacing, slugify

logger = logging.getLogger(__name__)

FOLDER_NAME = ".gen3d-index"
LEFT_OUT_NAME = "left_out.json"
NO_MEMORY = "There is not enough memory to read it."
"""Why an asset is left out this time, but tried again the next time."""

SAVE_EVERY = 64
"""Assets after which a part is written: what an interrupted indexing loses at most."""


@dataclass(frozen=True)
class Found:
    """A nearest item and its cosine with the query."""

    item: Item
    score: float


class Index:
    """The items of a folder or corpus, and the embeddings of their contents by an encoder.

    Nothing is embedded before `update`.
    """

    def __init__(self, where: Path, encoder: AlignedEncoder, place: Path | None = None) -> None:
        """Lists what there is. place: the folder of the index, see `index_folder`. Raises UsageError where there is
        nothing.
        """
        self.encoder = encoder
        self.place = place or index_folder(where)
        catalogue = Catalogue(self.place / CATALOGUE_NAME, where)
        self.items = find_items(where, catalogue)
        catalogue.save()
        folder = self.place / f"{slugify(encoder.name)}-{encoder.fingerprint}"
        self.store = EmbeddingStore(folder, encoder.dimension)
        self._left_out = _read_left_out(folder / LEFT_OUT_NAME)

    def missing(self) -> list[Item]:
        """One item of each content that was neither embedded nor found to be unusable."""
        known = self.store.keys() | self._left_out.keys()
        return list({item.key: item for item in self.items if item.key not in known}.values())

    def update(
        self,
        source: str | Path | None = None,
        workers: int = 1,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[str]:
        """Embeds what has not been; returns a sentence for each item that cannot be.

        source: what other processes load the encoder from (`load_encoder`), where there are several `workers`. Items
        that could not be read before are not tried again, unless they or gen3d have changed. Raises Gen3DError where
        the index cannot be written.
        """
        missing, keys, features = self.missing(), list[str](), list[Tensor]()
        with ExitStack() as stack:
            for done, (item, answer) in enumerate(self._embedded(missing, source, workers, stack), start=1):
                if isinstance(answer, str):
                    self._left_out[item.key] = answer
                else:
                    keys.append(item.key)
                    features.append(torch.tensor(answer))
                if len(keys) == SAVE_EVERY or (done == len(missing) and keys):
                    self.store.add(keys, torch.stack(features))
                    keys, features = [], []
                progress(done, len(missing))
        if missing:
            self._write_left_out()
        return [
            f"'{printable(item.name)}' was left out: {self._left_out[item.key]}"
            for item in self.items
            if item.key in self._left_out
        ]

    def nearest(self, query: Tensor, count: int) -> list[Found]:
        """The items nearest to a unit feature [D], the nearest first; items of equal content in the order of names."""
        named: dict[str, list[Item]] = {}
        for item in self.items:
            named.setdefault(item.key, []).append(item)
        [found] = self.store.nearest(query[None], count, set(named))
        return [Found(item, score) for key, score in found for item in named[key]][:count]

    def _embedded(
        self, items: Sequence[Item], source: str | Path | None, workers: int, stack: ExitStack
    ) -> Iterator[tuple[Item, list[float] | str]]:
        """Each item with its feature, or a sentence on why it has none."""
        if workers == 1 or len(items) < 2:
            yield from ((item, _feature_of(item, self.encoder)) for item in items)
            return
        # Not forked: OpenMP's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(workers, context, _start_worker, (source,)))
        answers: Iterable[list[float] | str] = pool.map(_feature_in_worker, items, chunksize=8)
        try:
            yield from zip(items, answers, strict=True)
        except BrokenProcessPool:
            raise Gen3DError(
                "A process of the indexing was killed, most likely for lack of memory: the same command with "
                "--workers 1 goes on from there."
            ) from None

    def _write_left_out(self) -> None:
        path = self.store.folder / LEFT_OUT_NAME
        reasons = {key: reason for key, reason in self._left_out.items() if reason != NO_MEMORY}
        if not reasons and not path.is_file():
            return
        with suppress(OSError):  # it only spares the next update the same attempts
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(json_text({"version": __version__, "reasons": reasons}), "utf-8")


def index_folder(where: Path) -> Path:
    """Where the index of a folder is: inside of it, or in the user's cache where it cannot be written."""
    own = where / FOLDER_NAME
    if own.is_dir() or os.access(where, os.W_OK):
        return own
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "gen3d" / "indexes" / hashlib.sha256(os.fsencode(where.resolve())).hexdigest()[:24]


def _feature_of(item: Item, encoder: AlignedEncoder) -> list[float] | str:
    try:
        feature: list[float] = embed_shape(encoder, item.shape()).tolist()
    except Gen3DError as error:
        return printable(error)
    except (MemoryError, torch.OutOfMemoryError):
        return NO_MEMORY
    except (ValueError, RuntimeError, ArithmeticError, LookupError) as error:  # of what no reader foresaw
        logger.debug("an asset cannot be embedded", exc_info=True)
        if "DefaultCPUAllocator" in str(error):  # PyTorch has no class of its own for this
            return NO_MEMORY
        return f"It cannot be drawn ({type(error).__name__}: {printable(' '.join(str(error).split()), 200)})."
    return feature


_ENCODER: list[AlignedEncoder] = []
"""The encoder of a worker process."""


def _start_worker(source: str | Path | None) -> None:
    torch.set_num_threads(1)
    _ENCODER.append(load_encoder(source))


def _feature_in_worker(item: Item) -> list[float] | str:
    return _feature_of(item, _ENCODER[0])


def _read_left_out(path: Path) -> dict[str, str]:
    """Why contents could not be embedded, by their keys; empty where another version of gen3d tried."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["version"] != __version__:
            return {}
        return {str(key): str(reason) for key, reason in data["reasons"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}

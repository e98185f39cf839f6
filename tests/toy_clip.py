"""Fixtures: a toy corpus on disk, of flat shapes in three colours, and the smallest real model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gen3d.corpus.store import Corpus, ObjectRecord, write_records
from gen3d.encoders.clip_mini import mini_config
from gen3d.language.captions import COLORS
from gen3d.training.clip_data import Palette
from gen3d.training.train_clip import ClipTraining, ClipTrainingResult, train_clip

SHAPES = ("square", "disc", "cross", "ring", "bar", "pole", "triangle", "frame")
TONES = {name: COLORS[name] for name in ("red", "green", "blue")}
VIEWS = 24


def draw_shape(name: str, size: int, radius: float) -> np.ndarray:
    """Mask [size, size] of a shape in the middle; radius in pixels."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    distance, side = np.hypot(x, y), np.maximum(np.abs(x), np.abs(y))
    return {
        "square": side < radius,
        "disc": distance < radius,
        "cross": (np.minimum(np.abs(x), np.abs(y)) < radius / 3) & (side < radius),
        "ring": (distance < radius) & (distance > 0.6 * radius),
        "bar": (np.abs(y) < radius / 4) & (np.abs(x) < radius),
        "pole": (np.abs(x) < radius / 4) & (np.abs(y) < radius),
        "triangle": (np.abs(x) < (y + radius) / 2) & (np.abs(y) < radius),
        "frame": (side < radius) & (side > 0.7 * radius),
    }[name]


def toy_image(shape: str, color: tuple[float, float, float], radius: float = 20) -> torch.Tensor:
    """A shape on white, [64, 64, 3] in 0..1."""
    mask = torch.from_numpy(draw_shape(shape, 64, radius))[..., None]
    return torch.where(mask, torch.tensor(color), torch.ones(3))


def record(index: int, shape: str, tone: str, held_out: bool = False) -> ObjectRecord:
    return ObjectRecord(
        id=f"toy/{index}", name=shape.title(), nouns=[shape], category="toys",
        captions=[shape, f"a {shape}"], source="toy", license="CC0 1.0", creator="gen3d",
        held_out=held_out, evaluate=True, area=1.0, colors=[(tone, 1.0)],
    )  # fmt: skip


@pytest.fixture(scope="session")
def tones() -> dict[str, tuple[float, float, float]]:
    return TONES


@pytest.fixture(scope="session")
def make_record() -> Callable[..., ObjectRecord]:
    return record


@pytest.fixture(scope="session")
def draw() -> Callable[..., torch.Tensor]:
    return toy_image


def write_corpus(folder: Path, records: list[ObjectRecord], kinds: list[tuple[str, str]]) -> Corpus:
    """A corpus of one (shape, colour) pair an object, drawn in several sizes."""
    rng = np.random.default_rng(0)
    views = np.zeros((len(kinds), VIEWS, 64, 64, 4), np.uint8)
    for i, (shape, tone) in enumerate(kinds):
        for view in range(VIEWS):
            views[i, view, ..., 3] = 255 * draw_shape(shape, 64, rng.uniform(15, 25))
            views[i, view, ..., :3] = 255 * np.array(COLORS[tone])
    azimuths = np.tile((np.arange(VIEWS) * 45.0) % 360, (len(kinds), 1))
    np.save(folder / "views.npy", views)
    np.save(folder / "cameras.npy", np.stack([azimuths, np.full_like(azimuths, 15.0)], -1).astype(np.float32))
    write_records(folder, records)
    return Corpus(folder)


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Eight shapes in three colours each, named by their shape, and a red square that is held out."""
    kinds = [(shape, tone) for shape in SHAPES for tone in TONES] + [("square", "red")]
    records = [record(i, *kind, held_out=i == len(kinds) - 1) for i, kind in enumerate(kinds)]
    return write_corpus(tmp_path_factory.mktemp("corpus"), records, kinds)


@pytest.fixture(scope="session")
def colored_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Squares and discs whose nouns name their colours, which a tiny model learns in seconds."""
    kinds = [(shape, tone) for shape in ("square", "disc") for tone in COLORS]
    records = [record(i, f"{tone} {shape}", tone) for i, (shape, tone) in enumerate(kinds)]
    return write_corpus(tmp_path_factory.mktemp("colored"), records, kinds)


@pytest.fixture(scope="session")
def trained(colored_corpus: Corpus, tiny_config: dict, tmp_path_factory: pytest.TempPathFactory) -> ClipTrainingResult:
    training = ClipTraining(steps=160, learning_rate=3e-3, average_decay=0.95, batch_size=32, warmup_steps=10)
    folder = tmp_path_factory.mktemp("checkpoints")
    return train_clip(colored_corpus, folder, training, Palette.of_corpus(), tiny_config)


@pytest.fixture(scope="session")
def toy_palette() -> Palette:
    return Palette(TONES, lambda noun, color: [f"a {color} {noun}", f"{color} {noun}"])


@pytest.fixture(scope="session")
def tiny_config() -> dict:
    """The real architecture at its smallest."""
    config = mini_config()
    config["model_cfg"]["embed_dim"] = 32
    config["model_cfg"]["vision_cfg"] |= {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    config["model_cfg"]["text_cfg"] |= {"width": 32, "heads": 2, "layers": 1, "context_length": 16}
    return config

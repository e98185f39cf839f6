"""Faults of corpus objects that can be seen in their arrays, and objects that are nearly the same. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

BROKEN, NOT_SINGLE, UNTEXTURED = "broken", "not single", "untextured"
TAGS = (BROKEN, NOT_SINGLE, UNTEXTURED)

LEAST_COVERAGE = 0.01
"""Share of a view's pixels that the object covers at least, on average, unless it is broken."""

LEAST_PIECE = 0.2
"""Share of the volume of the largest piece from which another piece counts as an object beside it."""

ONE_COLOR = 4.0
"""Largest standard deviation of a colour channel (of 255) over the surface of an object without a texture."""

_COARSE = 10
"""Cells along an axis in which two shapes are compared."""


def quality_tags(grid: np.ndarray, views: np.ndarray, surface_rgb: np.ndarray) -> list[str]:
    """The faults (of `TAGS`) of an object.

    grid: signed distances [G, G, G], negative inside, of any scale. views: RGBA uint8 [V, H, W, 4]. surface_rgb:
    uint8 [S, 3].
    """
    tags = []
    solid = grid <= 0
    if views[..., 3].mean() / 255 < LEAST_COVERAGE or not solid.any():
        tags.append(BROKEN)
    # One cell of air between two parts, such as a lid and its pot, makes no second object.
    pieces, count = ndimage.label(ndimage.binary_dilation(solid))
    sizes = np.bincount(pieces[solid].ravel(), minlength=count + 1)[1:]
    if (sizes >= LEAST_PIECE * max(sizes.max(initial=0), 1)).sum() > 1:
        tags.append(NOT_SINGLE)
    if surface_rgb.astype(np.float32).std(0).max() < ONE_COLOR:
        tags.append(UNTEXTURED)
    return tags


def descriptor(grid: np.ndarray, views: np.ndarray) -> np.ndarray:
    """A unit vector of an object's shape and colours, float32: nearly the same for objects that look the same.

    grid: [G, G, G], G a multiple of 10. views: RGBA uint8 [V, H, W, 4], of which the first eight are compared.
    """
    cell = grid.shape[0] // _COARSE
    shape = np.clip(grid.astype(np.float32), -32, 32).reshape(_COARSE, cell, _COARSE, cell, _COARSE, cell)
    shape = shape.mean((1, 3, 5)).ravel()
    small = views[:8].astype(np.float32)
    rgb = (small[..., :3] * small[..., 3:] / 255).reshape(len(small), 8, small.shape[1] // 8, 8, -1, 3).mean((2, 4))
    parts = [part - part.mean() for part in (shape, rgb.ravel())]
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-9) for part in parts]).astype(
        np.float32
    ) / np.float32(np.sqrt(2))


def near_duplicates(descriptors: np.ndarray, least: float = 0.995) -> list[tuple[int, int]]:
    """(first, later) for each object [N, D] whose cosine with an earlier one that is kept is `least` or more.

    Objects of all sources are compared; the earlier one is kept, so sources that come first win.
    """
    pairs: list[tuple[int, int]] = []
    kept: list[int] = []
    for index, vector in enumerate(descriptors):
        if kept:
            cosine = descriptors[kept] @ vector
            nearest = int(cosine.argmax())
            if cosine[nearest] >= least:
                pairs.append((kept[nearest], index))
                continue
        kept.append(index)
    return pairs


def caption_scores(images: np.ndarray, texts: np.ndarray, labels: Sequence[int], folds: int = 8) -> np.ndarray:
    """How well each object's caption fits it, compared with all other captions: 0 (worst) to 1 (best), [N].

    images: features [N, D]. texts: unit features [M, E] of the different captions. labels: each object's caption.
    A linear map from images to texts is fitted on the objects of the other folds, so no caption vouches for itself;
    the score is the share of captions that fit the object no better. Needs two objects a fold.
    """
    count, penalty = len(images), 1.0
    centred = images - images.mean(0)
    centred /= max(float(np.sqrt((centred**2).mean())), 1e-9)
    chosen = texts[np.asarray(labels)]
    fold = np.arange(count) % max(min(folds, count // 2), 1)
    scores = np.zeros(count)
    for held in np.unique(fold):
        train, test = fold != held, fold == held
        x, mean = centred[train], chosen[train].mean(0)
        kernel = x @ x.T / x.shape[1]
        weights = np.linalg.solve(kernel + penalty * np.eye(len(x)), chosen[train] - mean)
        fit = (centred[test] @ x.T / x.shape[1] @ weights) @ (texts - texts.mean(0)).T  # [T, M]
        own = fit[np.arange(len(fit)), np.asarray(labels)[test]]
        scores[test] = (fit <= own[:, None]).mean(1)
    return scores

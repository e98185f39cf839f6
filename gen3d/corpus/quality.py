"""Faults of corpus objects that can be seen in their arrays, and objects that are nearly the same. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from gen3d.language.english import is_plural

BROKEN, NOT_SINGLE, UNTEXTURED, TRANSPARENT, SCENE = "broken", "not single", "untextured", "transparent", "scene"
TAGS = (BROKEN, NOT_SINGLE, UNTEXTURED, TRANSPARENT, SCENE)

LEAST_COVERAGE = 0.01
"""Share of a view's pixels that the object covers at least, on average, unless it is broken."""

LEAST_PIECE = 0.2
"""Share of the largest piece from which another piece counts as an object beside it."""

SCENE_PIECES, LEAST_SCENE_PIECE = 5, 0.04
"""How many pieces, each of at least that share of the largest, make a scene."""

ONE_COLOR = 4.0
"""Largest standard deviation of a colour channel (of 255) over the surface of an object without a texture."""

_COARSE = 10
"""Cells along an axis in which two shapes are compared."""

_COLORFUL = frozenset({"animal", "person", "plant", "food", "fruit", "bird", "fish", "tree", "flower", "insect"})
"""Kinds whose looks are their colours: one in the plain grey of a model without materials would teach a wrong one."""

_PLAIN = ("gray", "white")
"""Colours that a model without materials is given."""

_GENERATED = ("primitives",)
"""Categories whose objects are several bodies on purpose."""

_SCENE_NAME = re.compile(
    r"\b(scene|diorama|interior|landscape|terrain|environment|city|town|village|island|room|parking space|crossing"
    r"|sidewalk|street|garden|park|playground|crosswalk|rails|road marking|army|camp|battlefield)$"
)
"""What the names of places end in, which are no objects."""


def quality_tags(
    grid: np.ndarray, views: np.ndarray, surface_rgb: np.ndarray, surface: np.ndarray | None = None
) -> list[str]:
    """The faults (of `TAGS`) that are seen in the arrays of an object.

    grid: signed distances [G, G, G] (z, y, x) over the cube of -1 to 1, negative inside, of any scale. views: RGBA
    uint8 [V, H, W, 4]. surface_rgb: uint8 [S, 3]. surface: points [S, 3], which join what is too thin for the grid.
    """
    tags = []
    solid = grid <= 0
    if views[..., 3].mean() / 255 < LEAST_COVERAGE or not solid.any():
        tags.append(BROKEN)
    sizes = _piece_sizes(solid, surface)
    largest = max(sizes.max(initial=0), 1)
    if (sizes >= LEAST_PIECE * largest).sum() > 1:
        tags.append(NOT_SINGLE)
    if (sizes >= LEAST_SCENE_PIECE * largest).sum() >= SCENE_PIECES:
        tags.append(SCENE)
    if surface_rgb.astype(np.float32).std(0).max() < ONE_COLOR:
        tags.append(UNTEXTURED)
    return tags


def name_tags(nouns: Sequence[str], materials: Sequence[str]) -> list[str]:
    """The tags that what an object is called, and what it is made of (`language.materials`), speak for.

    A thing of glass is drawn opaque, so it is tagged "transparent"; a place is a "scene".
    """
    tags = []
    first = nouns[0] if nouns else ""
    glass = re.search(r"\b(glass|glasses|aquarium|window|greenhouse)$", first) and "eyeglasses" not in nouns
    if glass or list(materials) == ["glass"] or first.startswith("glass "):
        tags.append(TRANSPARENT)
    if _SCENE_NAME.search(first):
        tags.append(SCENE)
    return tags


def unfit_tags(tags: Sequence[str], nouns: Sequence[str], category: str, color: str = "") -> list[str]:
    """Those of an object's tags that keep it from training.

    Several pieces are right where the name says so ("slippers", "bowl of apples"). One colour is wrong where the looks
    are the colours and it is that of a model without materials; color: the word for the object's main colour, "" where
    it is known to be right. What is transparent has the right shape, and is trained.
    """
    if category in _GENERATED:
        return [tag for tag in tags if tag == BROKEN]
    unfit = [tag for tag in tags if tag in (BROKEN, SCENE)]
    if NOT_SINGLE in tags and not _is_several(nouns):
        unfit.append(NOT_SINGLE)
    if UNTEXTURED in tags and color in _PLAIN and _COLORFUL.intersection(nouns):
        unfit.append(UNTEXTURED)
    return unfit


def _piece_sizes(solid: np.ndarray, surface: np.ndarray | None) -> np.ndarray:
    """Cells of each piece of an object; cells that touch, at a corner too, are of one piece."""
    filled = solid
    if surface is not None:
        size = solid.shape[0]
        cells = np.clip(((surface.astype(np.float32) + 1) * (size / 2)).astype(np.int64), 0, size - 1)
        filled = solid.copy()
        filled[cells[:, 2], cells[:, 1], cells[:, 0]] = True
    # One cell of air between two parts, such as a lid and its pot, makes no second object.
    pieces, count = ndimage.label(ndimage.binary_dilation(filled))
    return np.bincount(pieces[filled].ravel(), minlength=count + 1)[1:]


def _is_several(nouns: Sequence[str]) -> bool:
    """Whether the first names speak of more things than one."""
    return any(is_plural(noun.split()[-1]) or re.search(r"\b(of|and|with|set|pair|pack)\b", noun) for noun in nouns[:2])


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

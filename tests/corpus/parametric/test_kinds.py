"""Every kind of parametric object: closed bodies that touch, facts that the bodies bear out, the same bytes again."""

from __future__ import annotations

import functools
import hashlib
import re

import numpy as np
import pytest

from gen3d.corpus.parametric.kinds import KINDS, describe, make, shares
from gen3d.corpus.parametric.materials import Material
from gen3d.corpus.parametric.model import Model
from gen3d.corpus.parametric.wording import NUMBERS, captions
from gen3d.errors import UsageError
from gen3d.language.captions import held_out_pairs

SEEDS = (0, 1)


@functools.cache
def model(kind: str, seed: int) -> Model:
    return make(kind, seed)


def is_watertight(faces: np.ndarray) -> bool:
    """Every directed edge is met by exactly as many in the other direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    there, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    return np.array_equal(np.sort(there), np.sort(back))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", np.cross(a, b), c)) / 6


def stands_in_one_piece(model: Model) -> bool:
    """Whether the boxes around the bodies, widened by a thousandth of the object, hang together."""
    low = np.array([body.solid.low for body in model.bodies])
    high = np.array([body.solid.high for body in model.bodies])
    reach = 2e-3 * float((high.max(0) - low.min(0)).max())
    touch = ((low[:, None] <= high[None] + reach) & (low[None] <= high[:, None] + reach)).all(-1)
    reached = np.zeros(len(low), bool)
    reached[0] = True
    for _ in range(len(low)):
        reached = touch[reached].any(0)
    return bool(reached.all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_made_of_closed_bodies_that_touch(kind: str) -> None:
    for seed in SEEDS:
        made = model(kind, seed)
        for body in made.bodies:
            assert np.isfinite(body.solid.vertices).all(), body.name
            assert is_watertight(body.solid.faces), body.name
            assert volume(body.solid.vertices, body.solid.faces) > 0, f"{body.name} is inside out"
        points = np.concatenate([body.solid.vertices for body in made.bodies])
        assert points[:, 1].min() == pytest.approx(0, abs=1e-9)
        assert (points.min(0) + points.max(0))[[0, 2]] == pytest.approx(0, abs=1e-9)
        assert np.ptp(points, axis=0).max() < 40
        assert stands_in_one_piece(made)


@pytest.mark.parametrize("kind", KINDS)
def test_the_words_of_a_kind_are_borne_out_by_its_bodies(kind: str) -> None:
    for seed in SEEDS:
        made = model(kind, seed)
        lines = captions(made.facts)
        assert len(lines) >= 4
        assert len(set(lines)) == len(lines)
        assert describe(kind, seed) == made.facts
        for feature in made.facts.features:
            if feature.count:
                word = NUMBERS[feature.count] if feature.count < len(NUMBERS) else str(feature.count)
                assert feature.phrase.startswith(f"{word} ")
                assert made.count(feature.part) == feature.count, feature.phrase
            assert feature.phrase in lines[1]
        for line in lines:
            assert re.fullmatch(r"[a-z0-9' ,-]+", line), line


@pytest.mark.parametrize("kind", KINDS)
def test_two_numbers_of_a_kind_differ(kind: str) -> None:
    assert looks(model(kind, 0)) != looks(model(kind, 1))


def looks(model: Model) -> list[tuple[str, Material, bytes]]:
    return [(body.name, body.material, body.solid.vertices.tobytes()) for body in model.bodies]


def digest(model: Model) -> str:
    value = hashlib.sha256()
    for part in model.parts():
        for array in (part.vertices, part.faces, part.normals, part.color, part.uv, part.texture):
            value.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return value.hexdigest()


@pytest.mark.parametrize("kind", ["chair", "table", "cat", "tree", "castle"])
def test_the_same_number_gives_the_same_bytes(kind: str) -> None:
    assert digest(make(kind, 1)) == digest(model(kind, 1))


def test_parts_have_unit_normals_and_textures_that_can_be_sampled() -> None:
    for kind in ("chair", "cow", "house", "mug"):
        for part in model(kind, 0).parts():
            assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-6)
            face = np.arange(len(part.faces))
            colors = part.sample_color(face, np.full((len(face), 3), 1 / 3))
            assert colors.min() >= 0
            assert colors.max() <= 1


def test_counts_follow_the_table() -> None:
    assert shares()["chair"] >= 600
    assert shares()["table"] >= 600
    assert len(KINDS) >= 60
    small = shares(500)
    assert sum(small.values()) == 500
    assert min(small.values()) >= 1
    assert shares(7) == shares(7)
    assert sum(shares(7).values()) == 7


def test_held_out_pairs_are_not_made() -> None:
    seen = {describe("sofa", seed).color for seed in range(25)}
    assert "red" in seen or "blue" in seen
    for color, noun in held_out_pairs():
        if noun in KINDS:
            assert all(describe(noun, seed).color != color for seed in range(8))


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UsageError, match="'unicorn' is not a parametric kind"):
        make("unicorn", 0)

"""Which parts of a mesh are kept."""

from __future__ import annotations

import numpy as np
import trimesh

from gen3d.rendering.components import belonging, signed_volumes


def ball(radius: float, x: float) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    mesh.apply_translation([x, 0, 0])
    return mesh


def kept(*meshes: trimesh.Trimesh) -> list[bool]:
    """Whether each of the meshes stays as a part of all of them."""
    whole = trimesh.util.concatenate(list(meshes))
    mask = belonging(np.asarray(whole.vertices), np.asarray(whole.faces))
    ends = np.cumsum([len(mesh.faces) for mesh in meshes])
    pieces = np.split(mask, ends[:-1])
    assert all(piece.all() or not piece.any() for piece in pieces)
    return [bool(piece.any()) for piece in pieces]


def test_a_wheel_of_the_car_stays_and_a_floater_goes() -> None:
    """Both parts have 0.1 % of the volume, but one is beside the body and the other far from it."""
    assert kept(ball(0.5, 0), ball(0.05, 0.58), ball(0.05, -0.9)) == [True, True, False]


def test_large_parts_stay_anywhere_and_dust_goes_everywhere() -> None:
    assert kept(ball(0.5, -0.4), ball(0.2, 0.7), ball(0.02, 0.13)) == [True, True, False]


def test_parts_count_by_their_share_however_large_the_whole_is() -> None:
    for scale in (0.1, 1.0):
        sizes = ball(0.5 * scale, -0.4), ball(0.4 * scale, 0.7), ball(0.03 * scale, 0.2)
        assert kept(*sizes) == [True, True, False]


def test_volumes_are_those_of_the_tetrahedra() -> None:
    box = trimesh.creation.box((0.2, 0.3, 0.4))
    box.apply_translation([1, -2, 3])
    assert np.isclose(signed_volumes(np.asarray(box.vertices), np.asarray(box.faces)).sum(), 0.024)


def test_what_hangs_on_by_another_part_stays() -> None:
    """Three links of a chain, of which only the first is near to the body."""
    assert kept(ball(0.5, 0), *(ball(0.05, x) for x in (0.57, 0.69, 0.81))) == [True] * 4


def test_voids_go() -> None:
    void = ball(0.3, 0)
    void.invert()
    assert kept(ball(0.5, 0), void) == [True, False]


def test_equal_crumbs_leave_something() -> None:
    crumbs = [ball(0.01, x) for x in np.linspace(-0.9, 0.9, 300)]
    assert any(kept(*crumbs))


def test_nothing_but_voids_is_nothing() -> None:
    void = ball(0.3, 0)
    void.invert()
    assert kept(void) == [False]

"""Defects of geometry on meshes that have exactly one of them."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from gen3d.evaluation import defects
from gen3d.evaluation.defects import DEFECTS, geometry_defects


def ball(radius: float = 0.5, at: tuple[float, float, float] = (0, 0, 0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    mesh.apply_translation(at)
    return mesh


def found(mesh: trimesh.Trimesh) -> set[str]:
    report = geometry_defects(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    return {name for name in DEFECTS if report[name]}


def joined(*meshes: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.util.concatenate(list(meshes))


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_whole_solids_have_none(scale: float) -> None:
    for mesh in (
        ball(),
        trimesh.creation.box((1, 1, 1)),
        trimesh.creation.torus(0.5, 0.1),
        joined(ball(), ball(0.4, (2, 0, 0))),
    ):
        mesh.apply_scale(scale)
        assert found(mesh) == set()


def test_a_missing_triangle_is_a_hole_and_a_seam_is_none() -> None:
    mesh = ball()
    assert found(trimesh.Trimesh(mesh.vertices, mesh.faces[1:], process=False)) == {"holes"}
    seams = trimesh.Trimesh(
        mesh.vertices[mesh.faces].reshape(-1, 3), np.arange(mesh.faces.size).reshape(-1, 3), process=False
    )
    assert found(seams) == set()


def test_points_that_are_all_near_each_other_do_not_fill_the_memory() -> None:
    """Of a small body with a crumb far away all pairs of points were looked at, which took gigabytes."""
    spread = np.random.default_rng(0).random((defects.SAMPLES, 3)) * 0.001
    count, spacing, tree, reach = defects._reached(spread, 6e-6, 0.01)
    assert 1000 < count < defects.SAMPLES
    assert tree.count_neighbors(tree, reach) <= defects.MOST_PAIRS
    assert spacing == pytest.approx((6e-6 / count) ** 0.5)
    assert found(joined(ball(0.01), ball(0.001, (3, 0, 0)))) >= {"floaters"}


def test_a_crumb_floats_unless_it_touches() -> None:
    assert found(joined(ball(), ball(0.03, (0.7, 0, 0)))) == {"floaters"}
    assert "floaters" not in found(joined(ball(), ball(0.03, (0.51, 0, 0))))
    wide = trimesh.creation.box((2, 0.2, 2))  # whose corners are far from its middle
    assert "floaters" not in found(joined(wide, ball(0.03, (0.1, 0.1, 0.2))))
    assert found(joined(wide, ball(0.03, (0.1, 0.25, 0.2)))) == {"floaters"}


def test_sheets_that_share_an_edge_or_touch_in_a_point_are_no_manifold() -> None:
    box = trimesh.creation.box((1, 1, 1))
    beside = box.copy()
    beside.apply_translation((1, 1, 0))  # they share one edge
    assert "non_manifold" in found(joined(box, beside))
    across = box.copy()
    across.apply_translation((1, 1, 1))  # they share one corner
    report = geometry_defects(*[np.asarray(x) for x in (joined(box, across).vertices, joined(box, across).faces)])
    assert (report["crowded_edges"], report["split_vertices"], report["non_manifold"]) == (0, 1, True)


def test_a_plate_is_thin_and_a_board_is_not() -> None:
    assert found(trimesh.creation.box((1, 0.006, 1))) == {"thin"}
    assert found(trimesh.creation.box((1, 0.05, 1))) == set()
    sheet = joined(ball(0.4), trimesh.creation.box((1, 0.006, 1)))
    assert "thin" in found(sheet)


def test_inverted_parts_and_hollows() -> None:
    mesh = ball()
    assert found(trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False)) == {"inverted"}
    turned = mesh.faces.copy()
    turned[0] = turned[0][::-1]
    assert found(trimesh.Trimesh(mesh.vertices, turned, process=False)) == {"inverted"}
    inner = ball(0.3)
    hollow = joined(mesh, trimesh.Trimesh(inner.vertices, inner.faces[:, ::-1], process=False))
    assert "inverted" not in found(hollow)


def test_a_mesh_of_nothing() -> None:
    report = geometry_defects(np.zeros((0, 3)), np.zeros((0, 3), int))
    assert [name for name in DEFECTS if report[name]] == ["holes"]

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from gen3d.assets.glb import glb_bytes, write_glb
from gen3d.assets.read import SurfaceMesh, read_asset
from gen3d.geometry.cameras import orbit
from gen3d.meshing.charts import unwrap_by_axes
from gen3d.meshing.texture import ROUGHNESS, Textures, bake, roughened, to_tangent_space, vertex_tangents
from gen3d.rendering.atlas import texels
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import render_mesh, sample_texture, vertex_normals

ALBEDO = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
CAMERAS = orbit(torch.arange(12) * 60.0, torch.tensor([-40.0] * 6 + [40.0] * 6), 128)


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.array(mesh.vertices)).float(), torch.from_numpy(np.array(mesh.faces)).long()


def bumpy(subdivisions: int) -> trimesh.Trimesh:
    """A ball with waves that a coarse mesh cannot hold."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    x, y, z = ball.vertices.T
    ball.vertices *= (0.6 + 0.015 * np.sin(14 * x) * np.sin(14 * y) * np.sin(14 * z))[:, None]
    return ball


@pytest.fixture(scope="module")
def baked() -> tuple[trimesh.Trimesh, trimesh.Trimesh, Textures]:
    """A coarse ball in the textures of a fine one, red on the right and blue on the left, under the studio lighting."""
    source, mesh = bumpy(5), bumpy(3)
    vertices, faces = tensors(source)
    albedo = torch.from_numpy(np.where(source.vertices[:, :1] > 0, ALBEDO[:1], ALBEDO[1:])).float()
    lit = albedo * studio_shading(vertex_normals(vertices, faces))
    views = render_mesh(vertices, faces, lit, CAMERAS, supersample=2)
    return mesh, source, bake(mesh, source, views, CAMERAS, 256)


@pytest.mark.parametrize("shape", ["box", "ball", "knot"])
def test_charts_cover_every_triangle_once(shape: str) -> None:
    mesh = {
        "box": trimesh.creation.box(extents=(1, 0.4, 0.7)),
        "ball": trimesh.creation.icosphere(subdivisions=3),
        "knot": trimesh.creation.torus(0.6, 0.2, major_sections=32, minor_sections=16),
    }[shape]
    vertices, faces = tensors(mesh)
    atlas = unwrap_by_axes(vertices, faces, 256)
    assert torch.equal(atlas.vertex[atlas.faces.long()], faces)
    assert 0 <= float(atlas.uv.min()) < float(atlas.uv.max()) <= 1
    face, bary = texels(atlas, 256)
    hit = face[face >= 0].long()
    assert len(hit.unique()) > 0.97 * len(faces)
    # Triangles that overlapped would hide each other: each must get the texels that its area in uv asks for.
    corners = atlas.uv[atlas.faces.long()].double()
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    wanted = 0.5 * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).abs().sum() * 256**2
    assert len(hit) == pytest.approx(float(wanted), rel=0.01)
    assert float(bary.sum(-1)[face >= 0].min()) == pytest.approx(1, abs=1e-4)


def test_a_chart_that_folds_over_itself_is_cut() -> None:
    """A spiral stair of one ramp over another: all of it faces up, and projected as one chart it would overlap."""
    turns = np.linspace(0, 4 * np.pi, 97)
    inner = np.stack([0.3 * np.cos(turns), 0.05 * turns, -0.3 * np.sin(turns)], 1)
    outer = inner * [3, 1, 3]
    steps = np.arange(96)
    faces = np.concatenate([np.stack([steps, 97 + steps, 98 + steps], 1), np.stack([steps, 98 + steps, steps + 1], 1)])
    vertices = torch.from_numpy(np.concatenate([inner, outer])).float()
    atlas = unwrap_by_axes(vertices, torch.from_numpy(faces), 256)
    face, _ = texels(atlas, 256)
    assert len(face[face >= 0].unique()) == len(faces)


def test_colours_are_baked_without_the_light(baked: tuple[trimesh.Trimesh, trimesh.Trimesh, Textures]) -> None:
    mesh, _, textures = baked
    vertices, faces = tensors(mesh)
    face, bary = texels(textures.atlas, 256)
    covered = face >= 0
    points = (vertices[faces[face[covered].long()]] * bary[covered][..., None]).sum(1).numpy()
    away = np.abs(points[:, 0]) > 0.06
    colors = textures.base_color[covered.numpy()][away] / 255
    truth = np.where(points[away, :1] > 0, ALBEDO[:1], ALBEDO[1:])
    error = np.abs(colors - truth)
    assert np.median(error) < 0.02
    assert np.quantile(error, 0.98) < 0.08


def test_gutters_repeat_the_nearest_texel(baked: tuple[trimesh.Trimesh, trimesh.Trimesh, Textures]) -> None:
    _, _, textures = baked
    covered = texels(textures.atlas, 256)[0].numpy() >= 0
    assert 0.2 < covered.mean() < 0.95
    inside = {tuple(color) for color in textures.base_color[covered].tolist()}
    assert {tuple(color) for color in textures.base_color[~covered].tolist()} <= inside


def test_normal_map_gives_the_relief_back(baked: tuple[trimesh.Trimesh, trimesh.Trimesh, Textures]) -> None:
    """Decoded as a glTF viewer does it, the normals at the fine mesh's vertices are far nearer than the coarse ones."""
    mesh, source, textures = baked
    assert textures.normal is not None
    vertices, faces = tensors(mesh)
    coarse = vertex_normals(vertices, faces)[textures.atlas.vertex]
    face, bary = texels(textures.atlas, 256)
    covered = face >= 0
    rows, weights = textures.atlas.faces.long()[face[covered].long()], bary[covered][..., None]
    uv = (textures.atlas.uv[rows] * weights).sum(1)
    map_ = sample_texture(torch.from_numpy(textures.normal.copy()).float() / 255 * 2 - 1, uv)
    normal = torch.nn.functional.normalize((coarse[rows] * weights).sum(1), dim=-1)
    frame = (torch.from_numpy(textures.tangents)[rows] * weights).sum(1)
    bitangent = torch.linalg.cross(normal, frame[:, :3]) * frame[:, 3:]
    decoded = map_[:, :1] * frame[:, :3] + map_[:, 1:2] * bitangent + map_[:, 2:] * normal
    decoded = torch.nn.functional.normalize(decoded, dim=-1)
    points = (vertices[textures.atlas.vertex][rows] * weights).sum(1)
    _, nearest = cKDTree(source.triangles_center).query(points[::29].numpy())
    truth = torch.from_numpy(source.face_normals[nearest].copy()).float()
    error = (decoded[::29] * truth).sum(-1).clamp(-1, 1).acos().rad2deg()
    before = (normal[::29] * truth).sum(-1).clamp(-1, 1).acos().rad2deg()
    assert float(error.median()) < 3.0
    assert float(error.median()) < 0.5 * float(before.median())


def test_tangents_follow_the_texture() -> None:
    """Tangent and bitangent point along rising u and v, in charts that are mirrored and in ones that are not."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    vertices, faces = tensors(mesh)
    atlas = unwrap_by_axes(vertices, faces, 256)
    tangents = vertex_tangents(vertices, faces, atlas)
    normals = vertex_normals(vertices, faces)
    corners, uv = vertices[faces], atlas.uv[atlas.faces.long()]
    ends, steps = (corners[:, 1:] - corners[:, :1]), (uv[:, 1:] - uv[:, :1])
    gradient = torch.linalg.solve(steps, ends)  # rows: the surface along u, along v
    along_u, along_v = torch.nn.functional.normalize(gradient, dim=-1).unbind(1)
    row = atlas.faces[:, 0].long()
    frame, normal = tangents[row], normals[faces[:, 0]]
    assert ((frame[:, :3] * normal).sum(-1).abs() < 1e-4).all()
    assert float((frame[:, :3] * along_u).sum(-1).median()) > 0.95
    bitangent = torch.linalg.cross(normal, frame[:, :3]) * frame[:, 3:]
    assert float((bitangent * along_v).sum(-1).min()) > 0.3
    assert set(tangents[:, 3].tolist()) == {1.0, -1.0}
    identity = to_tangent_space(normal, normal, frame)
    assert torch.allclose(identity, torch.tensor([0.0, 0.0, 1.0]).expand_as(identity), atol=1e-5)


def test_textured_glb_comes_back(tmp_path: Path, baked: tuple[trimesh.Trimesh, trimesh.Trimesh, Textures]) -> None:
    mesh, _, textures = baked
    write_glb(tmp_path / "a.glb", mesh, "ball", textures)
    back = read_asset(tmp_path / "a.glb")
    assert isinstance(back, SurfaceMesh)
    [worn] = back.materials
    assert worn.base_texture is not None
    np.testing.assert_array_equal(worn.base_texture.picture.pixels, textures.base_color)
    # In files v = 0 is the top row.
    np.testing.assert_allclose(back.uvs[0] * [1, -1] + [0, 1], textures.atlas.uv.numpy(), atol=1e-6)
    merged = trimesh.Trimesh(back.vertices, back.faces, process=True)
    assert merged.is_volume
    assert len(merged.vertices) == len(mesh.vertices) < len(back.vertices)
    foreign = trimesh.load(tmp_path / "a.glb", force="mesh")
    material = foreign.visual.material
    np.testing.assert_array_equal(np.asarray(material.metallicRoughnessTexture)[..., 1], textures.roughness)
    np.testing.assert_array_equal(np.asarray(material.normalTexture), textures.normal)
    assert (material.roughnessFactor, material.metallicFactor) == (1.0, 0.0)
    assert foreign.visual.material.baseColorTexture.size == (256, 256)
    np.testing.assert_allclose(foreign.visual.uv, textures.atlas.uv.numpy(), atol=1e-6)
    assert glb_bytes(mesh, "ball", textures) == (tmp_path / "a.glb").read_bytes()


def test_no_relief_without_decimation() -> None:
    """The normal map is flat and the roughness even, and both are the same twice."""
    mesh = bumpy(3)
    vertices, faces = tensors(mesh)
    views = render_mesh(vertices, faces, torch.full((len(vertices), 3), 0.5), CAMERAS, supersample=1)
    first, second = (bake(mesh, mesh, views, CAMERAS, 64) for _ in range(2))
    assert first.normal is not None
    assert np.abs(first.normal.astype(int) - [128, 128, 255]).max() <= 1
    assert set(np.unique(first.roughness)) == {round(255 * ROUGHNESS)}
    np.testing.assert_array_equal(first.base_color, second.base_color)
    assert torch.equal(first.atlas.uv, second.atlas.uv)


def test_roughness_grows_where_the_source_is_too_fine_for_texels() -> None:
    """A ball with noise of a vertex' size on its upper half becomes rough there, and smooth below."""
    source, mesh = trimesh.creation.icosphere(subdivisions=5, radius=0.6), bumpy(3)
    noise = 0.03 * np.random.default_rng(0).standard_normal((len(source.vertices), 1))
    source.vertices *= 1 + np.where(source.vertices[:, 1:2] > 0, noise, 0)
    vertices, faces = tensors(source)
    views = render_mesh(vertices, faces, torch.full((len(vertices), 3), 0.5), CAMERAS, supersample=1)
    textures = bake(mesh, source, views, CAMERAS, 128)
    assert textures.roughness is not None
    face, bary = texels(textures.atlas, 128)
    covered = face >= 0
    at, triangles = tensors(mesh)
    height = (at[triangles[face[covered].long()]] * bary[covered][..., None]).sum(1)[:, 1].numpy()
    rough = textures.roughness[covered.numpy()] / 255
    assert np.median(rough[height < -0.05]) == pytest.approx(ROUGHNESS, abs=0.01)
    assert np.median(rough[height > 0.05]) > ROUGHNESS + 0.03
    assert float(roughened(torch.tensor([0.0]))) == pytest.approx(ROUGHNESS)
    assert float(roughened(torch.tensor([9.0]))) == 1.0

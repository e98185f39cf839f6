"""Renders textured corpus objects: RGBA with true alpha, anti-aliased by supersampling, under the studio lighting."""

from __future__ import annotations

import numpy as np
import torch

from gen3d.corpus.meshes import Part
from gen3d.geometry.cameras import Cameras, orbit
from gen3d.rendering.lighting import studio_shading
from gen3d.rendering.mesh import rasterize

CANONICAL_VIEWS = 8
CANONICAL_ELEVATION = 15.0
ELEVATION_RANGE = (-10.0, 60.0)


def view_angles(count: int, rng: np.random.Generator) -> np.ndarray:
    """Azimuth and elevation in degrees, [count, 2] float32: eight canonical views around, then random ones."""
    azimuth = np.concatenate([np.arange(CANONICAL_VIEWS) * 45.0, rng.uniform(0, 360, count - CANONICAL_VIEWS)])
    elevation = np.concatenate(
        [np.full(CANONICAL_VIEWS, CANONICAL_ELEVATION), rng.uniform(*ELEVATION_RANGE, count - CANONICAL_VIEWS)]
    )
    return np.stack([azimuth, elevation], 1).astype(np.float32)


def render_object(parts: list[Part], angles: np.ndarray, size: int, supersample: int = 4) -> np.ndarray:
    """Straight-alpha RGBA images uint8 [V, size, size, 4] of normalised `parts` from `angles` [V, 2] (degrees)."""
    cameras = orbit(torch.from_numpy(angles[:, 0]), torch.from_numpy(angles[:, 1]), size * supersample)
    vertices, faces, first_face = _concatenate(parts)
    images = np.empty((len(angles), size, size, 4), np.uint8)
    for view in range(len(angles)):
        fragments = rasterize(vertices, faces, cameras[view : view + 1])
        face, bary = fragments.face[0].numpy(), fragments.bary[0].numpy()
        images[view] = _downsample(_shade(parts, face, bary, first_face, cameras[view : view + 1]), supersample)
    return images


def _concatenate(parts: list[Part]) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    first_vertex = np.cumsum([0] + [len(part.vertices) for part in parts])
    first_face = np.cumsum([0] + [len(part.faces) for part in parts])
    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    faces = np.concatenate([part.faces + offset for part, offset in zip(parts, first_vertex, strict=False)])
    return torch.from_numpy(vertices), torch.from_numpy(faces.astype(np.int32)), first_face


def _shade(
    parts: list[Part], face: np.ndarray, bary: np.ndarray, first_face: np.ndarray, camera: Cameras
) -> np.ndarray:
    """Lit, premultiplied RGBA float32 [H, W, 4]."""
    image = np.zeros((*face.shape, 4), np.float32)
    towards_camera = torch.nn.functional.normalize(camera.positions[0], dim=-1)
    for index, part in enumerate(parts):
        mask = (face >= first_face[index]) & (face < first_face[index + 1])
        if not mask.any():
            continue
        local, weights = face[mask] - first_face[index], bary[mask]
        normals = torch.from_numpy((part.normals[part.faces[local]] * weights[..., None]).sum(1)).float()
        normals = torch.nn.functional.normalize(normals, dim=-1)
        # Furniture models have faces of either winding: turn every normal towards the viewer.
        normals = torch.where(normals @ towards_camera[:, None] < 0, -normals, normals)
        image[mask, :3] = part.sample_color(local, weights) * studio_shading(normals).numpy()
        image[mask, 3] = 1.0
    return np.clip(image, 0, 1)


def _downsample(image: np.ndarray, factor: int) -> np.ndarray:
    height, width = image.shape[0] // factor, image.shape[1] // factor
    small = image.reshape(height, factor, width, factor, 4).mean((1, 3))
    small[..., :3] /= np.maximum(small[..., 3:], 1e-6)
    return (np.clip(small, 0, 1) * 255).round().astype(np.uint8)

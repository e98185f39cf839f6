"""Textured triangle parts: the common form in which every corpus source hands over its objects."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
import trimesh
from PIL import Image

from gen3d.errors import Gen3DError

HALF_EXTENT = 0.95
"""Largest half extent of a normalised object along any axis."""

BOUNDING_RADIUS = 1.25
"""Largest bounding-sphere radius of a normalised object (`gen3d.geometry.cameras.OBJECT_RADIUS`)."""


LARGEST = 1e12
"""How far a vertex may be from the origin: with more, lengths overflow or vanish."""

MAX_PIXELS = 8192 * 8192
"""Pixels of a texture."""


@dataclass
class Part:
    """Triangles of one material. vertices [V, 3] float64, faces [F, 3] int64, normals [V, 3], color sRGB 0..1."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    color: np.ndarray
    uv: np.ndarray | None = None
    texture: np.ndarray | None = None  # [H, W, 3] uint8, row 0 on top
    material: str = ""

    def sample_color(self, face: np.ndarray, bary: np.ndarray) -> np.ndarray:
        """sRGB colours 0..1 [N, 3] at barycentric coordinates `bary` [N, 3] of the triangles `face` [N]."""
        if self.texture is None or self.uv is None:
            return np.broadcast_to(self.color, (len(face), 3))
        uv = (self.uv[self.faces[face]] * bary[..., None]).sum(1)
        uv = np.nan_to_num(uv) % 1.0
        height, width = self.texture.shape[:2]
        column = np.minimum((uv[:, 0] * width).astype(np.int64), width - 1)
        row = np.minimum(((1 - uv[:, 1]) * height).astype(np.int64), height - 1)
        return self.texture[row, column] / 255.0


def check_pixels(data: bytes, name: str) -> None:
    """Raises Gen3DError for the content of an image file that says it has over `MAX_PIXELS`; other content passes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        too_large = image.width * image.height > MAX_PIXELS
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        too_large = True
    except Exception:  # no image, which is for its reader to say
        return
    if too_large:
        raise Gen3DError(f"The texture '{name}' has more than {MAX_PIXELS:,} pixels.")


def parts_of(scene: trimesh.Scene) -> list[Part]:
    """The triangle parts of a trimesh scene, with its transforms applied."""
    parts = []
    for geometry in scene.dump():
        if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
            continue
        vertices = np.asarray(geometry.vertices, np.float64)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise Gen3DError("A part has vertices that are not three numbers each.")
        if not (np.abs(vertices) < LARGEST).all():
            raise Gen3DError(f"A part has vertices that are not finite, or farther away than {LARGEST:g}.")
        part = Part(
            vertices=vertices,
            faces=np.asarray(geometry.faces, np.int64),
            normals=np.nan_to_num(np.asarray(geometry.vertex_normals, np.float64)),
            color=np.full(3, 0.7),
        )
        _apply_material(part, geometry)
        parts.append(part)
    return parts


def _apply_material(part: Part, geometry: trimesh.Trimesh) -> None:
    visual = geometry.visual
    material = getattr(visual, "material", None)
    if material is None:
        if isinstance(visual, trimesh.visual.ColorVisuals) and visual.defined:
            part.color = np.asarray(visual.main_color[:3], np.float64) / 255.0
        return
    part.material = str(getattr(material, "name", "") or "")
    diffuse = getattr(material, "diffuse", None)
    if diffuse is not None:
        part.color = np.asarray(diffuse[:3], np.float64) / 255.0
    image, uv = getattr(material, "image", None), getattr(visual, "uv", None)
    if image is not None and uv is not None and len(uv) == len(part.vertices):
        image = image.convert("RGBA")
        image.thumbnail((512, 512))
        pixels = np.asarray(image, np.float32)
        # Transparent texels show the material's own colour.
        alpha = pixels[..., 3:] / 255.0
        part.texture = (pixels[..., :3] * alpha + 255.0 * part.color * (1 - alpha)).astype(np.uint8)
        part.uv = np.asarray(uv, np.float64)


def normalize(parts: list[Part]) -> None:
    """Centres the parts on their bounding box and scales them, in place, into the cube and sphere of the cameras."""
    stacked = np.concatenate([part.vertices for part in parts])
    low, high = stacked.min(0), stacked.max(0)
    half = np.maximum((high - low) / 2, 1e-9)
    scale = min(HALF_EXTENT / half.max(), BOUNDING_RADIUS / np.linalg.norm(half))
    for part in parts:
        part.vertices = (part.vertices - (low + high) / 2) * scale


def triangle_areas(part: Part) -> np.ndarray:
    """Areas [F] of the part's triangles."""
    a, b, c = (part.vertices[part.faces[:, i]] for i in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)

"""What a run leaves behind: the pictures, the video, the mesh and the web page, and checkpoints on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gen3d.config.section import Bounds, Section


@dataclass
class ExportConfig(Section, key="export"):
    """What is written when a run ends. A run of several stages exports once, by the settings of its last stage."""

    image_size: Annotated[int, Bounds(16, 4096)] = 256
    """Width and height, in pixels, of the views of the contact sheet `preview.png` and of the views that the mesh takes
    its colours from. Larger values are sharper and slower."""
    video_size: Annotated[int, Bounds(16, 4096)] = 320
    """Width and height of the turntable video in pixels. Larger values are sharper and slower."""
    video_frames: Annotated[int, Bounds(1, 10_000)] = 48
    """Frames of the turntable video, which go once around the object. More of them turn it more slowly and take longer
    to draw."""
    video_fps: Annotated[int, Bounds(1, 240)] = 24
    """Frames a second at which the turntable video plays. Larger values turn the object faster."""
    mesh_faces: Annotated[int, Bounds(100, 10_000_000)] = 30000
    """Largest number of triangles of `mesh.glb`: a mesh with more of them is simplified down to it."""
    mesh_grid: Annotated[int, Bounds(8, 512)] = 96
    """Cells along each axis of the grid on which the mesh of a field or of splats is found. Larger values keep finer
    detail; time and memory grow with the third power."""
    texture_size: Annotated[int, Bounds(0, 8192)] = 512
    """Width and height, in texels, of the textures that are baked for the mesh. Larger values keep finer colours; 0
    bakes none and gives colours to the vertices instead."""
    viewer: bool = True
    """Whether `viewer.html` is written, a web page that shows the result without a server."""


@dataclass
class CheckpointsConfig(Section, key="checkpoints"):
    """How often the whole state of a run is saved in its folder, from which an interrupted run goes on."""

    seconds: Annotated[float, Bounds(0, 1_000_000)] = 30.0
    """Time, in seconds, between two checkpoints; 0 saves one after every step. Larger values save time and lose more of
    it when a run is interrupted."""
    keep: Annotated[int, Bounds(0, 1000)] = 2
    """Number of checkpoints that are kept, the newest; 0 saves none. Larger values take more space on the disk."""

"""First scenes that are found among assets, or made by Text2Shape's generator or CLIP-Forge's flow."""

from __future__ import annotations

import logging

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from gen3d.assets.framing import framed
from gen3d.assets.load import connected
from gen3d.assets.surface_mesh import SurfaceMesh
from gen3d.config.schema import RunConfig
from gen3d.corpus.fields import TRUNCATION
from gen3d.corpus.store import Corpus
from gen3d.encoders.text2shape import VoxelGenerator
from gen3d.encoders.trained import clip_folder, load_flow, load_voxel_maker
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.errors import Gen3DError
from gen3d.pipeline.models import Models
from gen3d.representations.initialisers import shape_from_distances, shape_from_mesh, shape_from_voxels
from gen3d.representations.shape import Shape
from gen3d.retrieval.search import search
from gen3d.runtime.files import printable, user_path

logger = logging.getLogger(__name__)

SPREAD = 0.7
"""Standard deviation of the flow's normal numbers. Less than 1 gives likelier shapes that differ less."""


def retrieved_shape(config: RunConfig, text: str, generator: torch.Generator) -> Shape:
    """The asset, or the object of a corpus, in `start.source` that is most like the text, in its default views.

    Raises UsageError where there is none, Gen3DError where none can be used.
    """
    found = search(text, config.start.source, count=1, encoder=config.start.encoder or None, device="cpu")
    if not found:
        raise Gen3DError(f"None of the assets in {printable(config.start.source)} can be used: {found.left_out[0]}")
    [hit] = found
    logger.info("the scene begins as '%s'", hit.name)
    if hit.found.item.row is not None:
        return _of_corpus(Corpus(hit.path), hit.found.item.row)
    surface, _, _ = framed(hit.load().surface)
    assert isinstance(surface, SurfaceMesh)
    return shape_from_mesh(connected(surface), config.field_views.grid)


def _of_corpus(corpus: Corpus, row: int) -> Shape:
    """The object's signed distances, in the colours of its nearest surface points."""
    grid, points, colors = (torch.from_numpy(corpus.array(name)[row].copy()).float() for name in _ARRAYS)
    tree = cKDTree(points.numpy())

    def albedo(places: Tensor) -> Tensor:
        return colors[torch.from_numpy(tree.query(places.numpy())[1])] / 255

    return shape_from_distances(grid * (TRUNCATION / 127), albedo)


_ARRAYS = ("grid", "surface", "surface_rgb")


@torch.no_grad()
def made_shape(config: RunConfig, text: str, generator: torch.Generator) -> Shape:
    """What Text2Shape's generator in `start.source` makes of the text. Raises Gen3DError where that is nothing."""
    maker, tokenizer = load_voxel_maker(user_path(config.start.source))
    voxels = maker(tokenizer([text]), VoxelGenerator.noise(1, generator))[0]  # [4, 32, 32, 32]
    if not bool((voxels[3] > 0.5).any()):
        raise Gen3DError(
            f"Text2Shape's generator in {printable(config.start.source)} makes nothing of '{printable(text)}': train "
            "it for longer, or begin with another start.kind."
        )
    colors = (voxels[:3] / voxels[3:].clamp(min=1e-3)).clamp(0, 1).permute(1, 2, 3, 0)
    return shape_from_voxels(voxels[3], colors)


@torch.no_grad()
def flow_codes(config: RunConfig, text: str, models: Models, generator: torch.Generator) -> Tensor:
    """Codes [`prior.candidates`, K] of the shape prior that the flow in `start.source` gives for the text.

    Raises Gen3DError where it was trained for another shape prior.
    """
    folder, count = user_path(config.start.source), config.prior.candidates
    flow = load_flow(folder)
    if flow.sizes.code != models.prior.code_size:
        raise Gen3DError(
            f"The flow in {printable(folder)} makes codes of {flow.sizes.code} numbers, the shape prior has "
            f"{models.prior.code_size}: train it again with 'gen3d train encoder --kind clipforge'."
        )
    condition = ViewAveragedClip.of_folder(clip_folder(folder)).embed_text([text]).expand(count, -1)
    latent = SPREAD * torch.randn(count, flow.sizes.code, generator=generator)
    return flow.inverse(latent, condition).to(models.device)

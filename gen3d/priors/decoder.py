"""Decodes shape and appearance codes to a continuous field: signed distance and colour at any point.

The linear code gives a coarse field at once; two-layer MLPs correct it from what they see around a point (coarse
distances nearby) and from tri-planes (Chan et al. 2022, EG3D) expanded from the code, which carry the detail a coarse
grid cannot hold. Shape never sees the appearance code, so any appearance can be put on any shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.priors.linear_code import LinearCode
from gen3d.runtime.transfers import constant

PLANE_AXES = ((0, 1), (0, 2), (2, 1))
"""World axes (column, row) that each plane spans: front, top and side views."""


NEIGHBOURS = ((0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
NEIGHBOUR_STEP = 0.05
"""Where the MLPs see the coarse distance: at the point and one grid cell away along each axis."""


class PlaneGenerator(nn.Module):
    """Expands a code [B, K] to tri-planes [B, 3, C, 64, 64].

    The widest work is done on small maps and the last doubling is a pixel shuffle, which suits a CPU.
    """

    def __init__(self, code_size: int, widths: tuple[int, int, int, int] = (64, 48, 32, 16)) -> None:
        super().__init__()
        self.widths = widths
        at_8, at_16, at_32, at_64 = widths
        self.expand = nn.Linear(code_size, 3 * at_8 * 64)
        self.mix_8 = nn.Conv2d(at_8, at_8, 3, padding=1)
        self.to_16 = nn.Conv2d(at_8, at_16, 3, padding=1)
        self.mix_16 = nn.Conv2d(at_16, at_16, 3, padding=1)
        self.to_32 = nn.Conv2d(at_16, at_32, 3, padding=1)
        self.mix_32 = nn.Conv2d(at_32, at_32, 3, padding=1)
        self.to_64 = nn.Conv2d(at_32, 4 * at_64, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        maps = self.expand(code).view(-1, self.widths[0], 8, 8)
        maps = maps + self.mix_8(F.silu(maps))
        maps = self.to_16(F.silu(F.interpolate(maps, scale_factor=2)))
        maps = maps + self.mix_16(F.silu(maps))
        maps = self.to_32(F.silu(F.interpolate(maps, scale_factor=2)))
        maps = maps + self.mix_32(F.silu(maps))
        planes = F.pixel_shuffle(self.to_64(F.silu(maps)), 2)
        return planes.view(len(code), 3, self.widths[-1], *planes.shape[-2:])


def sample_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples [B, P, 3 * C] of tri-planes [B, 3, C, H, W] at `points` [B, P, 3] in [-1, 1]."""
    batch, _, channels, height, width = planes.shape
    coordinates = torch.stack([points[..., axes] for axes in map(list, PLANE_AXES)], 1)  # [B, 3, P, 2]
    sampled = F.grid_sample(
        planes.reshape(batch * 3, channels, height, width),
        coordinates.reshape(batch * 3, 1, -1, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.view(batch, 3, channels, -1).permute(0, 3, 1, 2).flatten(2)


def sample_volume(volume: Tensor, points: Tensor) -> Tensor:
    """Trilinear samples [B, P, C] of volumes [B, C, D, H, W] (z, y, x) at `points` [B, P, 3] in [-1, 1]."""
    sampled = F.grid_sample(volume, points[:, None, None], padding_mode="border", align_corners=False)
    return sampled[:, :, 0, 0].transpose(1, 2)


@dataclass(frozen=True)
class DecodedField:
    """What queries need of a batch of codes: coarse grids [B, C, D, H, W] (z, y, x) and tri-planes [B, 3, C, H, W].

    refined [B, 4, D, H, W]: signed distances and sRGB colours that a `FieldRefiner` made of the decoded ones; None
    where there is no refiner.
    """

    distance: Tensor
    color: Tensor
    shape_planes: Tensor
    color_planes: Tensor
    refined: Tensor | None = None

    def each(self) -> list[DecodedField]:
        """The fields of the codes, one by one."""
        fields = []
        for row in range(len(self.distance)):
            one = slice(row, row + 1)
            planes = self.shape_planes[one], self.color_planes[one]
            refined = None if self.refined is None else self.refined[one]
            fields.append(DecodedField(self.distance[one], self.color[one], *planes, refined))
        return fields


class FieldDecoder(nn.Module):
    """Signed distance from the shape code; colour from both codes. `code` gives the linear part and is not trained.

    widths: channels of the tri-planes at 8, 16, 32 and 64 texels. hidden: neurons of each layer of the two heads.
    """

    def __init__(
        self, code: LinearCode, widths: tuple[int, int, int, int] = (64, 64, 48, 16), hidden: int = 96
    ) -> None:
        super().__init__()
        self._code = [code]  # a list, so that its buffers are not saved a second time with the decoder
        self.widths, self.hidden = widths, hidden
        self.shape_planes = PlaneGenerator(code.shape_size, widths)
        self.color_planes = PlaneGenerator(code.shape_size + code.color_size, widths)
        planar = 3 * widths[-1]
        self.distance_head = _head(planar + len(NEIGHBOURS) + 3, hidden, 1)
        self.color_head = _head(2 * planar + len(NEIGHBOURS) + 6, hidden, 3)

    @staticmethod
    def of_state(code: LinearCode, state: dict[str, Tensor]) -> FieldDecoder:
        """The decoder with the weights `state`, which tell its sizes. Raises KeyError, RuntimeError if they do not."""
        at_8, at_16, at_32 = (len(state[f"shape_planes.mix_{size}.bias"]) for size in (8, 16, 32))
        widths = (at_8, at_16, at_32, len(state["shape_planes.to_64.bias"]) // 4)
        with torch.device("meta"):  # this takes neither memory nor time; the weights are put in its place
            decoder = FieldDecoder(code, widths, len(state["distance_head.0.bias"]))
        decoder.load_state_dict(state, assign=True)
        return decoder

    def decode(self, shape_code: Tensor, color_code: Tensor, plane_dtype: torch.dtype = torch.float32) -> DecodedField:
        """Expands codes [B, Ks], [B, Ka]; the result serves any number of queries.

        plane_dtype: what the convolutions of the tri-planes compute in; the planes come in float32 all the same.
        """
        with torch.autocast(shape_code.device.type, plane_dtype, enabled=plane_dtype != torch.float32):
            shape_planes = self.shape_planes(shape_code)
            color_planes = self.color_planes(torch.cat([shape_code, color_code], -1))
        return DecodedField(
            distance=self._code[0].decode_distance(shape_code),
            color=self._code[0].decode_color(color_code),
            shape_planes=shape_planes.float(),
            color_planes=color_planes.float(),
        )

    def query(self, field: DecodedField, points: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distance [B, P] (world, negative inside) and sRGB colour [B, P, 3] in 0..1 at `points` [B, P, 3]."""
        features, distance = self._shape(field, points)
        coarse = sample_volume(field.color, points).clamp(0.02, 0.98)
        offset = self.color_head(torch.cat([features, sample_planes(field.color_planes, points), coarse], -1))
        return distance, torch.sigmoid(torch.logit(coarse) + offset)

    def distance_at(self, field: DecodedField, points: Tensor) -> Tensor:
        """Signed distance alone, [B, P]."""
        return self._shape(field, points)[1]

    def _shape(self, field: DecodedField, points: Tensor) -> tuple[Tensor, Tensor]:
        """Shape features [B, P, C] and signed distance [B, P]."""
        batch, count, _ = points.shape
        around = points[:, :, None] + constant(NEIGHBOURS, points) * NEIGHBOUR_STEP  # [B, P, 7, 3]
        nearby = sample_volume(field.distance, around.flatten(1, 2)).view(batch, count, -1)
        features = torch.cat([10 * nearby, sample_planes(field.shape_planes, points), points], -1)
        return features, nearby[..., 0] + 0.1 * self.distance_head(features)[..., 0]


def _head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)

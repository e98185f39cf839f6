"""A small 3D U-Net that straightens what a code decodes to: distances and colours on a grid in, better ones out.

A code of a few hundred numbers cannot say where each leg ends, but legs, boards and wheels look alike on all objects.
The refiner sees no code, only the decoded field around a cell. It is trained on crops of decoded fields beside the true
ones, turned and mirrored, so it learns once for all objects that legs are straight and boards are flat (a learned
counterpart of the completion by patches of Dai et al. 2017, 3D-EPN).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REFINED_GRID = 80
"""Cells a side of the cube on which a decoded field is refined, unless a refiner says otherwise: as many as the views
of a field are made from."""

DISTANCE_UNIT = 0.1
"""World units that one unit of the network's distances stands for; farther distances are seen as this one."""

_CHANNELS = 5
"""What the network sees of a cell: its distance, its colour, and its height."""


class _Residual(nn.Module):
    """Adds to features [B, C, D, H, W] what two convolutions find in them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv3d(width, width, 3, padding=1)
        self.outer = nn.Conv3d(width, width, 3, padding=1)
        nn.init.zeros_(self.outer.weight)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.outer(F.silu(self.inner(F.silu(features))))


class FieldRefiner(nn.Module):
    """Distances and colours on a grid -> the same, refined. All convolutions see blocks of 2^3 cells as one, which
    makes them eight times cheaper.

    widths: channels at blocks of 2, 4 and 8 cells. grid: cells a side of the cube that it is made for, a multiple of 8;
    what it has learnt holds for cells of that size. The network is the identity before it is trained.
    """

    def __init__(self, widths: tuple[int, int, int] = (48, 64, 96), grid: int = REFINED_GRID) -> None:
        super().__init__()
        if grid < 8 or grid % 8:
            raise ValueError(f"A field is refined on a multiple of 8 cells a side, not on {grid}.")
        self.widths, self.grid = widths, grid
        fine, middle, coarse = widths
        self.input = nn.Conv3d(8 * _CHANNELS, fine, 3, padding=1)
        self.fine_down = _Residual(fine)
        self.to_middle = nn.Conv3d(fine, middle, 2, stride=2)
        self.middle_down = _Residual(middle)
        self.to_coarse = nn.Conv3d(middle, coarse, 2, stride=2)
        self.coarse = nn.Sequential(_Residual(coarse), _Residual(coarse))
        self.from_coarse = nn.ConvTranspose3d(coarse, middle, 2, stride=2)
        self.middle_up = _Residual(middle)
        self.from_middle = nn.ConvTranspose3d(middle, fine, 2, stride=2)
        self.fine_up = _Residual(fine)
        self.output = nn.Conv3d(fine, 8 * 4, 3, padding=1)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    @staticmethod
    def of_state(state: dict[str, Tensor], grid: int) -> FieldRefiner:
        """The refiner with the weights `state`, which tell its widths.

        Raises KeyError, RuntimeError if they do not, ValueError for a grid that cannot be.
        """
        widths = tuple(len(state[f"{name}.bias"]) for name in ("input", "to_middle", "to_coarse"))
        with torch.device("meta"):  # this takes neither memory nor time; the weights are put in its place
            refiner = FieldRefiner((widths[0], widths[1], widths[2]), grid)
        refiner.load_state_dict(state, assign=True)
        return refiner

    def forward(self, distance: Tensor, color: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
        """Refined signed distances [B, 1, D, H, W] and sRGB colours [B, 3, D, H, W] in 0..1.

        distance, color: the decoded ones, in z, y, x order; sides are multiples of 8. height [B, H]: the world's y of
        the cells' rows.
        """
        color = color.clamp(0.02, 0.98)
        seen = torch.cat(
            [
                (distance / DISTANCE_UNIT).clamp(-1, 1),
                2 * color - 1,
                height[:, None, None, :, None].expand_as(distance),
            ],
            1,
        )
        change = _cells(self._network(_blocks(seen))).float()
        refined = distance + DISTANCE_UNIT * change[:, :1]
        return refined, torch.sigmoid(torch.logit(color) + change[:, 1:])

    def _network(self, blocks: Tensor) -> Tensor:
        fine = self.fine_down(self.input(blocks))
        middle = self.middle_down(self.to_middle(F.silu(fine)))
        coarse = self.coarse(self.to_coarse(F.silu(middle)))
        middle = self.middle_up(middle + self.from_coarse(F.silu(coarse)))
        fine = self.fine_up(fine + self.from_middle(F.silu(middle)))
        output: Tensor = self.output(F.silu(fine))
        return output


def _blocks(cells: Tensor) -> Tensor:
    """[B, C, D, H, W] -> [B, 8 C, D / 2, H / 2, W / 2]: the eight cells of a block become channels."""
    batch, channels, depth, height, width = cells.shape
    split = cells.view(batch, channels, depth // 2, 2, height // 2, 2, width // 2, 2)
    blocks = split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, 8 * channels, depth // 2, height // 2, width // 2)
    return blocks.contiguous(memory_format=torch.channels_last_3d)  # what convolutions on a CPU are fastest with


def _cells(blocks: Tensor) -> Tensor:
    """What undoes `_blocks`."""
    batch, channels, depth, height, width = blocks.shape
    split = blocks.reshape(batch, channels // 8, 2, 2, 2, depth, height, width)
    cells = split.permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cells.reshape(batch, channels // 8, 2 * depth, 2 * height, 2 * width)

"""What transformers of several encoders are made of, and bounds on what files may ask for."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

MAX_LAYERS, MAX_SIZE = 64, 1 << 16
"""Bounds of what a file may ask for: of layers in a row, and of any width, length or number of tokens."""


def check_sizes(*sizes: int, most: int = MAX_SIZE) -> None:
    """Raises ValueError for what is no whole number from 1 to `most`."""
    for size in sizes:
        if type(size) is not int or not 1 <= size <= most:
            raise ValueError(f"one of its sizes is {size!r}, not a whole number from 1 to {most}")


class Block(nn.Module):
    """Attention over x [B, L, C] and two linear layers, each added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        parts = {"c_fc": nn.Linear(width, 4 * width), "gelu": nn.GELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        normal = self.ln_1(x)
        x = x + self.attn(normal, normal, normal, need_weights=False, attn_mask=attn_mask)[0]
        return x + self.mlp(self.ln_2(x))

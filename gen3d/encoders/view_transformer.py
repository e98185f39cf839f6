"""A vision transformer that sees one view as CLIP does, or several views of an object at once as DuoduoCLIP does.

In the later half of the blocks attention runs over the tokens of all views (Lee et al. 2024, DuoduoCLIP, section 3.1).
Views have no embedding of their own, so their order and poses do not matter, and their number is free. With one view it
is open_clip's VisionTransformer, whose parameters it takes by their names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gen3d.encoders.blocks import MAX_LAYERS, Block, check_sizes


@dataclass(frozen=True)
class ViewTransformerSizes:
    """`vision_cfg` of open_clip, as far as it is written out here: an unknown name raises TypeError."""

    layers: int
    width: int
    patch_size: int
    image_size: int
    head_width: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.layers, most=MAX_LAYERS)
        check_sizes(self.width, self.head_width, self.patch_size, self.image_size)
        if self.width % self.head_width or self.image_size % self.patch_size:
            raise ValueError(
                f"a width of {self.width} with heads of {self.head_width}, or {self.image_size} pixels in patches of "
                f"{self.patch_size}, do not fit"
            )


class ViewTransformer(nn.Module):
    """Views [B, V, 3, H, W] -> features [B, D]; images [B, 3, H, W] are one view each. Normalised pixels."""

    def __init__(self, sizes: ViewTransformerSizes, features: int) -> None:
        super().__init__()
        self.sizes, self.image_size, width = sizes, sizes.image_size, sizes.width
        self.joint_from = sizes.layers // 2
        """The first block whose attention runs over all views."""
        tokens = (sizes.image_size // sizes.patch_size) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, sizes.patch_size, sizes.patch_size, bias=False)
        scale = width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(tokens, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width, width // sizes.head_width) for _ in range(sizes.layers))
        self.proj = nn.Parameter(scale * torch.randn(width, features))

    def forward(self, images: Tensor) -> Tensor:
        views = images[:, None] if images.ndim == 4 else images
        batch, count = views.shape[:2]
        x = self.conv1(views.flatten(0, 1)).flatten(2).transpose(1, 2)  # [B V, L - 1, C]
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.ln_pre(x)
        for index, block in enumerate(self.transformer.resblocks):  # type: ignore[arg-type]
            if index == self.joint_from:
                x = x.reshape(batch, -1, x.shape[-1])  # [B, V L, C]: from here on views see each other
            x = block(x)
        classes = x.view(batch, count, -1, x.shape[-1])[:, :, 0]  # [B, V, C]
        features: Tensor = self.ln_post(classes).mean(1) @ self.proj
        return features

    def joint_attention(self) -> list[nn.Parameter]:
        """The parameters that DuoduoCLIP trains: those of the attention over all views."""
        blocks = list(self.transformer.resblocks)[self.joint_from :]  # type: ignore[arg-type]
        return [parameter for block in blocks for parameter in block.attn.parameters()]

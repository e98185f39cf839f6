"""The in-house CLIP's network, for looking only: open_clip's image towers and causal text transformer, written out.

Training builds open_clip's own classes. To load what they learned, a run would have to import open_clip with timm,
torchvision and the hub's client, which takes longer than everything else before its first step. The parameters have
the names that open_clip gives them, and the operations are the same in the same order: the tests compare features and
gradients with those of open_clip's classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.encoders.blocks import MAX_LAYERS, Block, check_sizes
from gen3d.encoders.view_transformer import ViewTransformer, ViewTransformerSizes

EXPANSION = 4
"""How many times wider a bottleneck's output is than its inside."""


class ClipNetwork(nn.Module):
    """Image and text towers with features of one space; made without weights, see `with_weights`.

    Its interface is the part of `open_clip.CLIP` that gen3d asks of any open_clip model.
    """

    def __init__(self, config: Mapping[str, Any], vocab_size: int) -> None:
        """Makes the towers. config: `model_cfg` in the layout of open_clip's hub files. Raises TypeError, KeyError or
        ValueError where it asks for what is not written out here, or makes no sense.
        """
        super().__init__()
        features = config["embed_dim"]
        vision = config["vision_cfg"]
        text = _TextSizes(**{name: value for name, value in config["text_cfg"].items() if name != "vocab_size"})
        check_sizes(features, vocab_size)
        self.visual: nn.Module = (
            ViewTransformer(ViewTransformerSizes(**vision), features)
            if "patch_size" in vision
            else _ImageTower(_ImageSizes(**vision), features)
        )
        self.transformer = _Transformer(text.width, text.heads, text.layers)
        # An ordinary embedding draws its vectors, and to draw on the meta device torch imports its compiler: a second.
        self.token_embedding = nn.Embedding.from_pretrained(torch.empty(vocab_size, text.width), freeze=False)
        self.positional_embedding = nn.Parameter(torch.empty(text.context_length, text.width))
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.empty(text.width, features))
        self.logit_scale = nn.Parameter(torch.empty(()))

    @staticmethod
    def with_weights(config: Mapping[str, Any], vocab_size: int, state: Mapping[str, Tensor]) -> ClipNetwork:
        """The network of these weights, in evaluation mode and frozen. Raises RuntimeError where they do not fit,
        else as the constructor.
        """
        with torch.device("meta"):  # this takes neither memory nor time; the weights are put in its place
            model = ClipNetwork(config, vocab_size)
        model.load_state_dict(state, assign=True)
        # Convolutions over few channels run a third faster on the CPU with the channels innermost.
        model.visual.to(memory_format=torch.channels_last)
        return model.eval().requires_grad_(False)

    @property
    def attn_mask(self) -> Tensor:
        """What is added to the attention [L, L] of the text: minus infinity towards what comes later."""
        length = len(self.positional_embedding)
        return torch.full((length, length), -torch.inf, device=self.positional_embedding.device).triu_(1)

    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> features [B, D], differentiable."""
        features: Tensor = self.visual(images)
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids [B, L], where L is the whole context, -> features [B, D]."""
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x, self.attn_mask))
        pooled = x[torch.arange(len(tokens)), tokens.argmax(-1)]  # the end token is the highest id
        return pooled @ self.text_projection


@dataclass(frozen=True)
class _ImageSizes:
    """`vision_cfg` with open_clip's defaults, as far as it is written out here: an unknown name raises TypeError."""

    layers: list[int]
    width: int = 64
    head_width: int = 64
    image_size: int = 224

    def __post_init__(self) -> None:
        if not isinstance(self.layers, list) or len(self.layers) != 4:
            raise ValueError(f"the layers of its image tower are {self.layers}, not four numbers")
        check_sizes(*self.layers, most=MAX_LAYERS)
        check_sizes(self.width, self.head_width, self.image_size)
        if 8 * EXPANSION * self.width % self.head_width or self.width % 2 or self.image_size % 32:
            raise ValueError(
                f"a width of {self.width}, heads of {self.head_width} and {self.image_size} pixels do not fit"
            )


@dataclass(frozen=True)
class _TextSizes:
    """`text_cfg`, as far as it is written out here: an unknown name raises TypeError."""

    context_length: int
    width: int
    heads: int
    layers: int
    pool_type: str = "argmax"

    def __post_init__(self) -> None:
        if self.pool_type != "argmax":
            raise ValueError(f"its texts are pooled by '{self.pool_type}', not 'argmax'")
        check_sizes(self.layers, most=MAX_LAYERS)
        check_sizes(self.context_length, self.width, self.heads)
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not share a width of {self.width}")


class _ImageTower(nn.Module):
    """ModifiedResNet (Radford et al. 2021, section 2.4): a stem of three convolutions, average pooling in front of
    whatever strides, and attention in place of the last pooling.
    """

    def __init__(self, sizes: _ImageSizes, features: int) -> None:
        super().__init__()
        self.image_size, width, layers = sizes.image_size, sizes.width, sizes.layers
        half, widest = width // 2, 8 * EXPANSION * width
        self.conv1, self.bn1 = _convolution(3, half, 3, stride=2), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = _convolution(half, half, 3), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = _convolution(half, width, 3), nn.BatchNorm2d(width)
        self.layer1 = _layer(width, width, layers[0], 1)
        self.layer2 = _layer(EXPANSION * width, 2 * width, layers[1], 2)
        self.layer3 = _layer(2 * EXPANSION * width, 4 * width, layers[2], 2)
        self.layer4 = _layer(4 * EXPANSION * width, 8 * width, layers[3], 2)
        self.attnpool = _AttentionPool(sizes.image_size // 32, widest, widest // sizes.head_width, features)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(convolution(x)), inplace=True)
        x = F.avg_pool2d(x, 2)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        pooled: Tensor = self.attnpool(x)
        return pooled


def _layer(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (_Bottleneck(EXPANSION * planes, planes) for _ in range(1, blocks))
    return nn.Sequential(_Bottleneck(inputs, planes, stride), *rest)


class _Bottleneck(nn.Module):
    """Three convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, outputs = stride, EXPANSION * planes
        self.conv1, self.bn1 = _convolution(inputs, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _convolution(planes, planes, 3), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _convolution(planes, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            parts = {"-1": nn.AvgPool2d(stride), "0": _convolution(inputs, outputs, 1), "1": nn.BatchNorm2d(outputs)}
            self.downsample = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        if self.stride > 1:
            out = F.avg_pool2d(out, self.stride)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)


class _AttentionPool(nn.Module):
    """A map [B, C, H, W] as what its mean asks of it by attention, [B, D]."""

    def __init__(self, side: int, width: int, heads: int, features: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.empty(side**2 + 1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, features)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).permute(2, 0, 1)  # [H * W, B, C]
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
        biases = torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])
        pooled, _ = F.multi_head_attention_forward(
            x, x, x, x.shape[-1], self.heads, None, biases, None, None, False, 0.0, self.c_proj.weight,
            self.c_proj.bias, self.training, need_weights=False, use_separate_proj_weight=True,
            q_proj_weight=self.q_proj.weight, k_proj_weight=self.k_proj.weight, v_proj_weight=self.v_proj.weight,
        )  # fmt: skip
        return pooled[0]


class _Transformer(nn.Module):
    """Blocks that normalise before attention and before their two linear layers (Radford et al. 2019, GPT-2)."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        """What the blocks make of x [B, L, C]. attn_mask: [L, L], added to the logits of the attention."""
        for block in self.resblocks:
            x = block(x, attn_mask)
        return x


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)

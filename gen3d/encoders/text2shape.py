"""Text2Shape (Chen et al. 2018): a text GRU and a voxel CNN with features of one space, and a conditional WGAN that
makes voxels from text.

Features are used as they are, not scaled to unit length: learning by association trains raw dot products.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from gen3d.encoders.blocks import check_sizes
from gen3d.encoders.tokenizer import PAD

FEATURES, NOISE = 128, 8
_SIDE = 4  # cells a side from which voxels are grown


@dataclass(frozen=True)
class Text2ShapeSizes:
    """Sizes of the networks; those of the paper are word 128, text (128, 128, 256, 256), hidden 256, shape (64, 128,
    256), made (512, 256, 128).
    """

    vocabulary: int
    word: int = 128
    text: tuple[int, ...] = (128, 128, 256, 256)
    hidden: int = 256
    shape: tuple[int, int, int] = (64, 128, 256)
    made: tuple[int, int, int] = (128, 64, 32)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", tuple(self.text))  # JSON has lists
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "made", tuple(self.made))
        if len(self.shape) != 3 or len(self.made) != 3 or not 1 <= len(self.text) <= 16:
            raise ValueError("three widths of each voxel network and 1 to 16 of the text network are needed")
        check_sizes(self.vocabulary, self.word, self.hidden, *self.text, *self.shape, *self.made)


class TextGru(nn.Module):
    """Token ids [B, L], padded with 0 behind the text, -> features [B, 128]: embedding, convolutions of three words
    with batch norm, a GRU, two linear layers.
    """

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.vocabulary, sizes.word, padding_idx=PAD)
        widths = [sizes.word, *sizes.text]
        pairs = list(itertools.pairwise(widths))
        self.convolutions = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for _, b in pairs)
        self.gru = nn.GRU(widths[-1], sizes.hidden, batch_first=True)
        self.head = nn.Sequential(nn.Linear(sizes.hidden, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, FEATURES))

    def forward(self, tokens: Tensor) -> Tensor:
        present = (tokens != PAD)[:, None]  # [B, 1, L]
        x = self.words(tokens).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # What lies behind a text stays 0, or its feature would depend on the longest text of its batch.
            x = torch.relu(norm(convolution(x))) * present
        lengths = present.sum((1, 2)).clamp(min=1).cpu()
        _, last = self.gru(pack_padded_sequence(x.transpose(1, 2), lengths, batch_first=True, enforce_sorted=False))
        features: Tensor = self.head(last[0])
        return features


class VoxelCnn(nn.Module):
    """Voxels [B, 4, 32, 32, 32] in 0..1 -> features [B, 128]: three strided convolutions with batch norm, the mean."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        widths = (4, *sizes.shape)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Conv3d(a, b, 3, stride=2, padding=1), nn.BatchNorm3d(b), nn.ReLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], FEATURES)

    def forward(self, voxels: Tensor) -> Tensor:
        features: Tensor = self.head(self.layers(voxels).mean((2, 3, 4)))
        return features


class Text2Shape(nn.Module):
    """The two encoders, trained together."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.sizes, self.text, self.shape = sizes, TextGru(sizes), VoxelCnn(sizes)


class VoxelGenerator(nn.Module):
    """Text features [B, 128] and noise [B, 8] -> voxels [B, 4, 32, 32, 32] in 0..1."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        first, second, third = sizes.made
        self.width = first
        self.start = nn.Linear(FEATURES + NOISE, first * _SIDE**3)
        self.grow = nn.Sequential(
            nn.BatchNorm3d(first), nn.ReLU(), nn.ConvTranspose3d(first, first, 3, 1, 1),  # 4
            nn.BatchNorm3d(first), nn.ReLU(), nn.ConvTranspose3d(first, second, 4, 2, 1),  # 8
            nn.BatchNorm3d(second), nn.ReLU(), nn.ConvTranspose3d(second, third, 4, 2, 1),  # 16
            nn.BatchNorm3d(third), nn.ReLU(), nn.ConvTranspose3d(third, 4, 4, 2, 1),  # 32
        )  # fmt: skip

    def forward(self, texts: Tensor, noise: Tensor) -> Tensor:
        x = self.start(torch.cat([texts, noise], 1)).view(-1, self.width, _SIDE, _SIDE, _SIDE)
        voxels: Tensor = self.grow(x).sigmoid()
        return voxels

    @staticmethod
    def noise(count: int, generator: torch.Generator) -> Tensor:
        """Noise [count, 8], uniform in -1/2..1/2."""
        return torch.rand(count, NOISE, generator=generator) - 0.5


class VoxelCritic(nn.Module):
    """D(t, s): text features [B, 128], voxels [B, 4, 32, 32, 32] -> scores [B]. It has no batch norm, with which the
    gradient penalty of a row would depend on the others.
    """

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        third, second, first = sizes.made
        self.shape = nn.Sequential(
            nn.Conv3d(4, first, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv3d(first, second, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv3d(second, third, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(third * _SIDE**3, FEATURES),
        )  # fmt: skip
        self.text = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.LeakyReLU(0.2))
        self.both = nn.Sequential(nn.Linear(2 * FEATURES, FEATURES), nn.LeakyReLU(0.2), nn.Linear(FEATURES, 1))

    def forward(self, texts: Tensor, voxels: Tensor) -> Tensor:
        scores: Tensor = self.both(torch.cat([self.text(texts), self.shape(voxels)], 1))
        return scores[:, 0]


class VoxelGan(nn.Module):
    """Generator and critic, trained against each other."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.generator, self.critic = VoxelGenerator(sizes), VoxelCritic(sizes)


class VoxelMaker(nn.Module):
    """Token ids [B, L] and noise [B, 8] -> voxels [B, 4, 32, 32, 32]: the trained text network and the generator."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.text, self.generator = TextGru(sizes), VoxelGenerator(sizes)

    def forward(self, tokens: Tensor, noise: Tensor) -> Tensor:
        voxels: Tensor = self.generator(self.text(tokens), noise)
        return voxels

"""The bank of codes: every training object, mirrored and stretched, in every appearance, encoded once.

Both networks of the shape prior train on it, so a training step costs no geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gen3d.encoders.minilm import FEATURES, TextEncoder
from gen3d.errors import Gen3DError
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.priors.linear_code import COLOR_GRID, LinearCode, surface_grids
from gen3d.runtime.tensors import check_shapes, load_weights, save_tensors, shapes_of
from gen3d.training.dataset import APPEARANCES, FieldDataset, caption_choices

SHAPE_VARIANTS = 3
OWN_SHARE = 0.45
SHAPE_SIZE, COLOR_SIZE = 256, 96
"""Sizes of the two codes."""


@dataclass
class Draw:
    """Indices of a batch: objects [B], mirrored or not [B], proportions [B], appearances [B]."""

    item: Tensor
    mirror: Tensor
    variant: Tensor
    appearance: Tensor


@dataclass
class CodeBank:
    """Codes and captions of the training objects.

    shape [N, 2, S, Ks]: mirrored or not, S proportions [N, 2, S, 3]. color [N, 2, A, Ka]: appearances. text [T, 768]:
    features of every distinct caption. caption_start, caption_count [N, A]: the range of `caption_index` that describes
    object n in appearance a; a count of 0 means that the pair is held out.
    """

    shape: Tensor
    proportions: Tensor
    color: Tensor
    text: Tensor
    caption_index: Tensor
    caption_start: Tensor
    caption_count: Tensor

    def draw(self, size: int, generator: torch.Generator) -> Draw:
        """A random batch; appearances without a caption fall back to the object's own."""

        def below(limit: int) -> Tensor:
            return torch.randint(limit, (size,), generator=generator)

        item = below(len(self.shape))
        appearance = below(len(APPEARANCES))
        appearance[torch.rand(size, generator=generator) < OWN_SHARE] = 0
        appearance[self.caption_count[item, appearance] == 0] = 0
        return Draw(item, below(2), below(SHAPE_VARIANTS), appearance)

    def codes(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Shape codes [B, Ks] and appearance codes [B, Ka]."""
        return (
            self.shape[draw.item, draw.mirror, draw.variant],
            self.color[draw.item, draw.mirror, draw.appearance],
        )

    def captions(self, draw: Draw, generator: torch.Generator) -> Tensor:
        """Text features [B, 768] of one caption each."""
        start, count = self.caption_start[draw.item, draw.appearance], self.caption_count[draw.item, draw.appearance]
        choice = (torch.rand(len(start), generator=generator) * count).long()
        return self.text[self.caption_index[start + choice]]


def save_bank(path: Path, code: LinearCode, bank: CodeBank) -> None:
    """Writes the bank, with the linear code it was encoded by, to one safetensors file."""
    tensors = {f"code.{name}": value for name, value in code.state_dict().items()}
    save_tensors(path, tensors | {f"bank.{name}": value for name, value in vars(bank).items()})


def load_bank(path: Path) -> tuple[LinearCode, CodeBank]:
    """What `save_bank` wrote. Raises Gen3DError naming the file, and the tensor that is not finite, not of the shape
    that the others ask for, or points at a text that is not there.
    """
    tensors = load_weights(path)
    try:
        sizes = [tensors[f"code.{name}_basis"].shape[1] for name in ("shape", "color")]
        objects, texts, choices = (len(tensors[f"bank.{name}"]) for name in ("shape", "text", "caption_index"))
    except (KeyError, IndexError, TypeError) as error:
        raise Gen3DError(f"The file '{path}' is no bank of codes ({error}): remove it, and it is made anew.") from None
    with torch.device("meta"):  # only the shapes are asked for
        expected = {f"code.{name}": shape for name, shape in shapes_of(LinearCode(*sizes).state_dict()).items()}
    expected |= {
        "bank.shape": (objects, 2, SHAPE_VARIANTS, sizes[0]),
        "bank.proportions": (objects, 2, SHAPE_VARIANTS, 3),
        "bank.color": (objects, 2, len(APPEARANCES), sizes[1]),
        "bank.text": (texts, FEATURES),
        "bank.caption_index": (choices,),
        "bank.caption_start": (objects, len(APPEARANCES)),
        "bank.caption_count": (objects, len(APPEARANCES)),
    }
    check_shapes(shapes_of(tensors), expected, path)
    index, start, count = (tensors[f"bank.caption_{name}"] for name in ("index", "start", "count"))
    if (index < 0).any() or (index >= texts).any():
        raise Gen3DError(
            f"The tensor 'bank.caption_index' in '{path}' names texts that are not there: remove the file."
        )
    if (start < 0).any() or (count < 0).any() or (start + count > choices).any():
        raise Gen3DError(f"The tensor 'bank.caption_start' in '{path}' names captions that are not there: remove it.")
    code = LinearCode(*sizes)
    code.load_state_dict(_under(tensors, "code."))
    return code, CodeBank(**_under(tensors, "bank."))


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def build_bank(
    dataset: FieldDataset,
    text: TextEncoder,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
    fitted: LinearCode | None = None,
) -> tuple[LinearCode, CodeBank, dict[str, float]]:
    """Fits the linear code, unless a fitted one is given, and encodes the bank.

    The third value tells the variance that each part of a code fitted here loses.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(dataset)
    proportions = torch.ones(count, 2, SHAPE_VARIANTS, 3)
    surfaces, surface_owner, colors, distances = [], [], [], []
    for item in range(count):
        for mirror in range(2):
            for variant in range(SHAPE_VARIANTS):
                if variant:
                    proportions[item, mirror, variant] = dataset.proportions(generator)
                shape = proportions[item, mirror, variant]
                distances.append(dataset.distance_grid(item, bool(mirror), shape).half())
                if variant < 2:
                    cloud = dataset.cloud(item, "own", bool(mirror), shape, generator)
                    surfaces.append(surface_grids(cloud)[0])
                    surface_owner.append(len(distances) - 1)
        plain = _color_grids(dataset, item, generator)
        mirrored = plain.view(-1, 3, COLOR_GRID, COLOR_GRID, COLOR_GRID).flip(-1).flatten(1)
        colors += [plain, mirrored if dataset.may_mirror(item) else plain]
        report(item + 1, count)
    distance_grids, color_grids = torch.stack(distances), torch.stack(colors)  # [N*2*S, G], [N*2, A, C]

    code, lost = (fitted, {}) if fitted else _fit(distance_grids, color_grids)
    shape_codes = torch.cat([code.encode_distance(part.float()) for part in distance_grids.split(512)])
    if not fitted:
        lost["surface"] = code.fit_surface_map(torch.cat(surfaces), shape_codes[surface_owner])
    color_codes = torch.cat([code.encode_color(part.float()) for part in color_grids.flatten(0, 1).split(2048)])

    index, start, number, features = _encode_captions(dataset, text)
    bank = CodeBank(
        shape=shape_codes.view(count, 2, SHAPE_VARIANTS, -1),
        proportions=proportions,
        color=color_codes.view(count, 2, len(APPEARANCES), -1),
        text=features,
        caption_index=index,
        caption_start=start,
        caption_count=number,
    )
    return code, bank, lost


def _fit(distance_grids: Tensor, color_grids: Tensor) -> tuple[LinearCode, dict[str, float]]:
    some_distances = distance_grids[torch.arange(len(distance_grids)) % SHAPE_VARIANTS < 2]
    some_colors = color_grids[:, :: max(1, len(APPEARANCES) // 4)].flatten(0, 1)
    # A small corpus spans fewer directions than the usual code has.
    code = LinearCode(min(SHAPE_SIZE, len(some_distances) - 1), min(COLOR_SIZE, len(some_colors) - 1))
    shape, color = code.fit(some_distances.float(), some_colors.float())
    return code, {"shape": shape, "color": color}


def _color_grids(dataset: FieldDataset, item: int, generator: torch.Generator) -> Tensor:
    """Colour grids [A, 3 * 16^3] of one object in every appearance, from one set of points."""
    clouds = []
    state = generator.get_state()
    for appearance in APPEARANCES:
        generator.set_state(state)  # the same points every time: only the colours differ
        clouds.append(dataset.cloud(item, appearance, False, torch.ones(3), generator))
    cloud = SurfaceCloud(
        torch.cat([each.points for each in clouds]),
        torch.cat([each.areas for each in clouds]),
        torch.cat([each.colors for each in clouds]),
    )
    return surface_grids(cloud)[1].half()


def _encode_captions(dataset: FieldDataset, text: TextEncoder) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    captions: dict[str, int] = {}
    index: list[int] = []
    start = torch.zeros(len(dataset), len(APPEARANCES), dtype=torch.long)
    number = torch.zeros(len(dataset), len(APPEARANCES), dtype=torch.long)
    for item, record in enumerate(dataset.records):
        for column, appearance in enumerate(APPEARANCES):
            choices = caption_choices(record, appearance)
            start[item, column], number[item, column] = len(index), len(choices)
            index += [captions.setdefault(choice, len(captions)) for choice in choices]
    return torch.tensor(index), start, number, text.encode(list(captions))

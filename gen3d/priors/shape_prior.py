"""The shape prior as the rest of gen3d uses it: text to codes, codes to fields, and both directions of distance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from gen3d.encoders.minilm import TextEncoder
from gen3d.errors import Gen3DError
from gen3d.geometry.grids import cell_centers
from gen3d.priors.concepts import Concepts
from gen3d.priors.decoder import DecodedField, FieldDecoder, sample_volume
from gen3d.priors.denoiser import CodeDenoiser, sample_codes
from gen3d.priors.linear_code import LinearCode
from gen3d.priors.refiner import FieldRefiner
from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.strict_json import parse_json
from gen3d.runtime.tensors import check_shapes, load_weights, read_metadata, save_tensors, shapes_of

CODE_FILE, DECODER_FILE, DENOISER_FILE = (
    "prior_code.safetensors",
    "prior_decoder.safetensors",
    "prior_denoiser.safetensors",
)
DECODED_BAND = 0.13
"""World units from the surface of the linear code within which the decoder is asked; it moves no surface farther."""

_POINTS_AT_ONCE = 1 << 16

REFINER_FILE = "prior_refiner.safetensors"
"""The file of the refiner, which a prior may be without: its fields are then as they are decoded."""

TRAINING_FILE, CONCEPTS_FILE = "prior_training.safetensors", "prior_concepts.json"


@torch.no_grad()
def decoded_near(decoder: FieldDecoder, field: DecodedField, points: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances [P] and sRGB colours [P, 3] of the field of one code at `points` [1, P, 3].

    Farther than `DECODED_BAND` from the coarse surface they are those of the linear code.
    """
    distances, near = _coarse(field, points)
    colors = sample_volume(field.color, points)[0].clamp(0.02, 0.98)
    for some in near:
        found = decoder.query(field, points[:, some])
        distances[some], colors[some] = found[0][0], found[1][0]
    return distances, colors


def _coarse(field: DecodedField, points: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    """The linear code's distances [P] at `points` [1, P, 3], and the indices of those near enough to its surface for
    the decoder to be asked, in parts of which each is asked at once.
    """
    distances = sample_volume(field.distance, points)[0, :, 0]
    near = torch.nonzero(distances.abs() < DECODED_BAND)[:, 0]
    return distances, near.split(_POINTS_AT_ONCE) if len(near) else ()


@dataclass(frozen=True)
class TrainingObjects:
    """Codes [N, K] (fp32) and names of the training objects, to tell how far a sample is from what was seen."""

    codes: Tensor
    names: list[str]
    spacing: float
    """Mean distance of a training object's shape code to its nearest neighbour's."""

    def __post_init__(self) -> None:
        """Raises ValueError where there is not one name for each code, or the spacing is no distance."""
        if len(self.names) != len(self.codes) or math.isnan(self.spacing) or self.spacing < 0:
            raise ValueError(f"{len(self.names)} names for {len(self.codes)} codes, {self.spacing} apart")
        if not isinstance(self.names, list) or not all(isinstance(name, str) for name in self.names):
            raise TypeError("a name of a training object is no text")


class ShapePrior:
    """Text -> code -> signed distance and colour. Frozen, in fp32, on any device.

    Codes, features and points may come from any device; codes, scores and fields are where the prior is, what meshes
    are made of (`distance_grid`, `albedo_at`) comes to the CPU. Draws are those of the CPU's generator everywhere.
    """

    def __init__(
        self,
        code: LinearCode,
        decoder: FieldDecoder,
        denoiser: CodeDenoiser,
        concepts: Concepts,
        training: TrainingObjects,
        text: TextEncoder | None = None,
        refiner: FieldRefiner | None = None,
    ) -> None:
        self.code, self.decoder, self.denoiser = code.eval(), decoder.eval(), denoiser.eval()
        self.refiner = refiner.eval() if refiner else None
        for module in self._networks():
            module.requires_grad_(False)
        self.concepts, self.training = concepts, training
        self._text = text

    @cached_property
    def text(self) -> TextEncoder:
        return self._text or TextEncoder()

    @property
    def device(self) -> torch.device:
        return self.code.scales.device

    def to(self, device: torch.device | str) -> ShapePrior:
        """Moves the networks, in place; returns itself. What is only looked up (training objects, concepts) stays."""
        for module in self._networks():
            module.to(device)
        return self

    def _networks(self) -> list[nn.Module]:
        return [self.code, self.decoder, self.denoiser, *([self.refiner] if self.refiner else [])]

    @property
    def code_size(self) -> int:
        return self.code.shape_size + self.code.color_size

    def split(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Shape and appearance parts of codes [B, K]."""
        return codes[:, : self.code.shape_size], codes[:, self.code.shape_size :]

    def sample(
        self,
        features: Tensor,
        count: int,
        generator: torch.Generator,
        guidance_scale: float = 2.5,
        steps: int = 40,
        guided_above: float = 0.5,
    ) -> Tensor:
        """`count` codes [count, K] for the text features [768] of one prompt; the rest is as in `sample_codes`."""
        text = features.to(self.device).expand(count, -1)
        return sample_codes(self.denoiser, text, guidance_scale, steps, generator, guided_above)

    @torch.no_grad()
    def text_match(self, codes: Tensor, features: Tensor, generator: torch.Generator, draws: int = 32) -> Tensor:
        """How much better the text explains each code [B, K] than no text does, [B]; higher is better.

        The difference of unconditional and conditional denoising errors at middle and high noise, as a diffusion
        classifier (Li et al. 2023) compares prompts.
        """
        codes = codes.to(self.device)
        score = codes.new_zeros(len(codes))
        text = features.to(codes).expand(len(codes), -1)
        null = self.denoiser.null_text.expand(len(codes), -1)
        for t in torch.linspace(0.6, 0.97, draws):
            # The same noise for all candidates keeps the comparison between them quiet.
            noisy = (1 - t) * codes + t * torch.randn(1, codes.shape[1], generator=generator).to(codes)
            times = t.to(codes).expand(len(codes))
            with_text = (self.denoiser(noisy, times, text) - codes).square().mean(1)
            without = (self.denoiser(noisy, times, null) - codes).square().mean(1)
            score += (without - with_text) / draws
        return score

    @torch.no_grad()
    def plausibility(self, codes: Tensor, features: Tensor, generator: torch.Generator, draws: int = 16) -> Tensor:
        """How likely each code [B, K] is under the text, [B]; higher is better.

        Minus the denoising error at middle noise, the part of the variational bound (Ho et al. 2020, eq. 14) that tells
        clean codes from blends of several objects. Unlike `text_match` it does not favour what is rare without a text.
        """
        codes = codes.to(self.device)
        score = codes.new_zeros(len(codes))
        text = features.to(codes).expand(len(codes), -1)
        for t in torch.linspace(0.4, 0.7, draws):
            noisy = (1 - t) * codes + t * torch.randn(1, codes.shape[1], generator=generator).to(codes)
            times = t.to(codes).expand(len(codes))
            score -= (self.denoiser(noisy, times, text) - codes).square().mean(1) / draws
        return score

    @torch.no_grad()
    def field(self, codes: Tensor) -> DecodedField:
        """The decoded field of codes [B, K], refined where the prior has a refiner."""
        field = self.decoder.decode(*self.split(codes.to(self.device)))
        if self.refiner is None:
            return field
        return replace(field, refined=torch.cat([self._refined(each) for each in field.each()]))

    def _refined(self, field: DecodedField) -> Tensor:
        """Distances and colours [1, 4, R, R, R] (z, y, x) of the field of one code, straightened by the refiner."""
        assert self.refiner is not None
        size = self.refiner.grid
        distances, colors = decoded_near(self.decoder, field, cell_centers(size, self.device).view(1, -1, 3))
        height = ((torch.arange(size, device=self.device) + 0.5) * (2 / size) - 1)[None]
        cube = (size, size, size)
        return torch.cat(self.refiner(distances.view(1, 1, *cube), colors.T.reshape(1, 3, *cube), height), 1)

    @torch.no_grad()
    def distance_grid(self, codes: Tensor, size: int, field: DecodedField | None = None) -> Tensor:
        """Signed distances [size, size, size] (z, y, x) of one code [1, K] at cell centres of [-1, 1]^3, on the CPU.

        Farther than `DECODED_BAND` from the coarse surface they are those of the linear code. field: what the code
        decodes to, for whoever has it already.
        """
        points = cell_centers(size, self.device).view(1, -1, 3)
        field = self.field(codes) if field is None else field
        if field.refined is not None:
            distances = sample_volume(field.refined[:, :1], points)[0, :, 0]
            return distances.view(size, size, size).cpu()
        distances, near = _coarse(field, points)
        for some in near:
            distances[some] = self.decoder.distance_at(field, points[:, some])[0]
        return distances.view(size, size, size).cpu()

    @torch.no_grad()
    def albedo_at(self, codes: Tensor, points: Tensor, field: DecodedField | None = None) -> Tensor:
        """sRGB albedo [P, 3] in 0..1 of one code [1, K] at points [P, 3], on the CPU. field: as in `distance_grid`."""
        field = self.field(codes) if field is None else field
        chunks = points.to(self.device).split(_POINTS_AT_ONCE)
        if field.refined is not None:
            return torch.cat([sample_volume(field.refined[:, 1:], chunk[None])[0].cpu() for chunk in chunks])
        return torch.cat([self.decoder.query(field, chunk[None])[1][0].cpu() for chunk in chunks])

    def nearest_training_object(self, codes: Tensor) -> tuple[str, float]:
        """Name of the training object whose shape is nearest to code [1, K], and the distance over the mean spacing."""
        row, distance = self.nearest_training_row(codes)
        return self.training.names[row], distance

    def nearest_training_row(self, codes: Tensor) -> tuple[int, float]:
        """What `nearest_training_object` gives, with the object's place among the corpus' training objects."""
        shape = self.code.shape_size
        gap = torch.cdist(codes[:, :shape].to(self.training.codes), self.training.codes[:, :shape])[0]
        best = int(gap.argmin())
        return best, float(gap[best]) / self.training.spacing

    def save(self, folder: Path) -> None:
        """Writes the files of the prior; weights in fp16, the linear code in int8 with a scale per column."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / CODE_FILE, _quantize(self.code.state_dict()), {"sizes": json.dumps(self._sizes())})
        for name, module in ((DECODER_FILE, self.decoder), (DENOISER_FILE, self.denoiser)):
            save_tensors(folder / name, _to_half(module.state_dict()))
        if self.refiner:
            save_refiner(self.refiner, folder)
        tensors = {"codes": self.training.codes.half(), "concepts": self.concepts.features.half()}
        metadata = {"names": json.dumps(self.training.names), "spacing": str(self.training.spacing)}
        save_tensors(folder / TRAINING_FILE, tensors, metadata)
        temporary = folder / f"{CONCEPTS_FILE}.tmp"
        self.concepts.save(temporary)
        os.replace(temporary, folder / CONCEPTS_FILE)

    def _sizes(self) -> list[int]:
        return [self.code.shape_size, self.code.color_size]

    @staticmethod
    def load(folder: Path | None = None, device: torch.device | str = "cpu") -> ShapePrior:
        """Loads the packaged prior, or one that `gen3d train prior` wrote to `folder`, onto a device.

        Raises Gen3DError when a file is missing or does not fit.
        """
        folder = folder or packaged_weights()
        for name in (CODE_FILE, DECODER_FILE, DENOISER_FILE, TRAINING_FILE, CONCEPTS_FILE):
            if not (folder / name).is_file():
                raise Gen3DError(
                    f"The shape prior's file '{name}' is missing from '{folder}'; reinstall gen3d, or train one with "
                    "'gen3d train prior'."
                )
        try:
            with torch.device("meta"):  # this takes neither memory nor time; the weights are put in its place
                code = LinearCode(*parse_json(read_metadata(folder / CODE_FILE)["sizes"]))
                denoiser = CodeDenoiser(code.shape_size + code.color_size)
            state = _dequantize(load_weights(folder / CODE_FILE))
            check_shapes(shapes_of(state), shapes_of(code.state_dict()), folder / CODE_FILE)
            code.load_state_dict(state, assign=True)
            weights = load_weights(folder / DENOISER_FILE, shapes_of(denoiser.state_dict()))
            denoiser.load_state_dict(_to_float(weights), assign=True)
            decoder = FieldDecoder.of_state(code, _to_float(load_weights(folder / DECODER_FILE)))
            refiner = None
            if (path := folder / REFINER_FILE).is_file():
                refiner = FieldRefiner.of_state(_to_float(load_weights(path)), int(read_metadata(path)["grid"]))
            tensors, metadata = load_weights(folder / TRAINING_FILE), read_metadata(folder / TRAINING_FILE)
            training = TrainingObjects(
                tensors["codes"].float(), parse_json(metadata["names"]), float(metadata["spacing"])
            )
            if training.codes.shape[1:] != (denoiser.code_size,):
                raise ValueError(f"its training objects' codes have the shape {list(training.codes.shape)}")
            concepts = Concepts.load(folder / CONCEPTS_FILE, tensors["concepts"].float())
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise Gen3DError(
                f"The shape prior in '{folder}' does not fit this version of gen3d: {str(error).rstrip('.')}."
            ) from error
        return ShapePrior(code, decoder, denoiser, concepts, training, refiner=refiner).to(device)


def save_refiner(refiner: FieldRefiner, folder: Path) -> Path:
    """Writes the refiner's file, in fp16, beside the prior's others in `folder`; returns its path."""
    save_tensors(folder / REFINER_FILE, _to_half(refiner.state_dict()), {"grid": str(refiner.grid)})
    return folder / REFINER_FILE


def _to_half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half() for name, value in state.items()}


def _to_float(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() for name, value in state.items()}


def _quantize(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in int8 with one scale a column; vectors as they are."""
    stored: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.dim() == 2:
            scale = value.abs().amax(0).clamp(min=1e-12) / 127
            stored[name] = (value / scale).round().to(torch.int8)
            stored[f"{name}.scale"] = scale
        else:
            stored[name] = value
    return stored


def _dequantize(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value * stored[f"{name}.scale"] if value.dtype == torch.int8 else value
        for name, value in stored.items()
        if not name.endswith(".scale")
    }

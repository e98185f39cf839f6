"""Training from a tiny corpus on disk to a loadable prior: it learns, resumes, and never sees what is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gen3d.corpus.fields import TRUNCATION, object_field
from gen3d.corpus.meshes import Part
from gen3d.corpus.store import Corpus, ObjectRecord, write_records
from gen3d.encoders.minilm import TextEncoder
from gen3d.language.captions import object_captions
from gen3d.priors.decoder import FieldDecoder
from gen3d.priors.shape_prior import ShapePrior
from gen3d.runtime.progress import LogReporter
from gen3d.training.bank import build_bank
from gen3d.training.checkpoint import Budget
from gen3d.training.dataset import APPEARANCES, FieldDataset, caption_choices
from gen3d.training.recolor import find_dominant, random_proportions, recolor, refinish
from gen3d.training.train_decoder import field_batch, field_loss
from gen3d.training.train_prior import train_prior

SHAPES = {
    "box": trimesh.creation.box((1.0, 1.4, 0.8)),
    "ball": trimesh.creation.icosphere(subdivisions=3, radius=0.7),
    "pole": trimesh.creation.cylinder(radius=0.15, height=1.6),
    "secret": trimesh.creation.cone(radius=0.5, height=1.2),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    fields, records = [], []
    for index, (name, mesh) in enumerate(SHAPES.items()):
        part = Part(
            np.asarray(mesh.vertices, float), np.asarray(mesh.faces), np.asarray(mesh.vertex_normals),
            np.array([0.6, 0.5, 0.4]),
        )  # fmt: skip
        field = object_field([part], np.random.default_rng(index), 2048, 4096)
        fields.append(field)
        captions = object_captions([name])
        records.append(ObjectRecord(
            id=name, name=name, nouns=[name], category="Test", captions=captions, source="", license="CC0",
            creator="us", held_out=name == "secret", evaluate=True, area=field.area,
        ))  # fmt: skip
    write_records(folder, records)
    columns = {
        "surface": [f.surface.astype(np.float16) for f in fields],
        "surface_rgb": [f.surface_rgb for f in fields],
        "surface_part": [f.surface_part for f in fields],
        "volume": [np.concatenate([f.volume, f.sdf[:, None]], 1).astype(np.float16) for f in fields],
        "volume_rgb": [f.volume_rgb for f in fields],
        "volume_part": [f.volume_part for f in fields],
        "grid": [(f.grid * 127 / TRUNCATION).round().astype(np.int8) for f in fields],
    }
    for name, rows in columns.items():
        np.save(folder / f"{name}.npy", np.stack(rows))
    return Corpus(folder)


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder()


def test_held_out_objects_are_not_in_the_dataset(corpus: Corpus) -> None:
    assert [record.name for record in FieldDataset(corpus).records] == ["box", "ball", "pole"]


def test_distance_grids_follow_mirror_and_proportions(corpus: Corpus) -> None:
    dataset = FieldDataset(corpus)
    plain = dataset.distance_grid(0, False, torch.ones(3)).view(40, 40, 40)
    mirrored = dataset.distance_grid(0, True, torch.ones(3)).view(40, 40, 40)
    assert torch.allclose(mirrored, plain.flip(2), atol=1e-4)
    narrow = dataset.distance_grid(0, False, torch.tensor([0.5, 1.0, 1.0])).view(40, 40, 40)
    assert (narrow < 0).sum() == pytest.approx(0.5 * (plain < 0).sum().item(), rel=0.1)


def test_a_bank_draws_codes_with_their_captions(corpus: Corpus, text: TextEncoder) -> None:
    dataset = FieldDataset(corpus)
    code, bank, lost = build_bank(dataset, text)
    assert lost["shape"] < 0.02
    generator = torch.Generator().manual_seed(0)
    draw = bank.draw(64, generator)
    shape, color = bank.codes(draw)
    assert shape.shape == (64, code.shape_size)
    assert color.shape == (64, code.color_size)
    assert (bank.caption_count[draw.item, draw.appearance] > 0).all()
    # Codes of one object in two colours share their shape and differ in appearance.
    red, blue = APPEARANCES.index("red"), APPEARANCES.index("blue")
    assert (bank.color[0, 0, red] - bank.color[0, 0, blue]).norm() > 1


def test_training_writes_a_prior_that_loads_and_draws(corpus: Corpus, tmp_path: Path) -> None:
    steps: list[dict[str, float]] = []

    class Watcher(LogReporter):
        def step(self, step, total, values):  # type: ignore[no-untyped-def]
            if "distance" in values:
                steps.append(dict(values))

    checkpoints = tmp_path / "checkpoints"
    arguments = dict(decoder_budget=Budget(steps=10), denoiser_budget=Budget(steps=20), refiner_budget=Budget(steps=2))
    train_prior(corpus, checkpoints, tmp_path / "weights", Watcher(), **arguments)
    assert steps, "no progress was reported"
    prior = ShapePrior.load(tmp_path / "weights")
    assert prior.training.names == ["box", "ball", "pole"]
    assert prior.refiner is not None
    features = prior.text.encode(["a red ball"])[0]
    assert prior.concepts.check("a red ball", features) is None
    codes = prior.sample(features, 2, torch.Generator().manual_seed(0), steps=8)
    assert torch.isfinite(codes).all()
    # A finished training resumes to the same weights at once.
    again = train_prior(corpus, checkpoints, tmp_path / "again", LogReporter(), **arguments)
    for one, two in zip(again.denoiser.parameters(), prior.denoiser.parameters(), strict=True):
        assert torch.allclose(one, two, atol=2e-3)
    # A new training can start from finished weights; what they were made for, the linear code, stays.
    arguments |= dict(decoder_budget=Budget(steps=1), denoiser_budget=Budget(steps=1), initial=tmp_path / "weights")
    further = train_prior(corpus, tmp_path / "new", tmp_path / "further", LogReporter(), **arguments)
    assert torch.equal(further.code.shape_basis, prior.code.shape_basis)
    assert further.refiner is not None
    start, end, fresh = (
        torch.nn.utils.parameters_to_vector(decoder.parameters())
        for decoder in (prior.decoder, further.decoder, FieldDecoder(prior.code))
    )
    assert (end - start).norm() < 0.1 * (fresh - start).norm()


def test_a_decoder_learns_the_field_of_its_codes(corpus: Corpus, text: TextEncoder) -> None:
    """The training step itself, on fixed codes and points: distance, side and colour all improve."""
    dataset = FieldDataset(corpus)
    code, bank, _ = build_bank(dataset, text)
    generator = torch.Generator().manual_seed(0)
    draw = bank.draw(4, generator)
    points, distance, color = field_batch(dataset, bank, draw, generator)
    # The linear code already knows the one colour of these objects: swapped channels leave the head something to learn.
    color = color.flip(-1)
    torch.manual_seed(0)
    decoder = FieldDecoder(code, widths=(8, 8, 8, 4), hidden=32)
    optimizer = torch.optim.AdamW(decoder.parameters(), 5e-3)
    near = distance.abs() < 0.05
    distance_errors, color_errors = [], []
    for _ in range(40):
        predicted, painted = decoder.query(decoder.decode(*bank.codes(draw)), points)
        # Measured apart from the loss, so that a loss that pulls the wrong way is seen.
        distance_errors.append((predicted - distance)[near].abs().mean().item())
        color_errors.append((painted - color)[near].abs().mean().item())
        optimizer.zero_grad()
        torch.stack(list(field_loss(predicted, painted, distance, color).values())).sum().backward()
        optimizer.step()
    assert distance_errors[-1] < 0.5 * distance_errors[0]
    assert color_errors[-1] < 0.5 * color_errors[0]


def test_recolouring_changes_the_dominant_material_only() -> None:
    colors = torch.cat([torch.full((80, 3), 0.6), torch.full((20, 3), 0.05)])
    materials = torch.cat([torch.zeros(80), torch.ones(20)]).to(torch.uint8)
    dominant = find_dominant(colors, materials)
    red = recolor(colors, materials, dominant, "red")
    assert (red[:80, 0] > 2 * red[:80, 1]).all()
    assert torch.equal(red[80:], colors[80:])
    wood = refinish(colors, torch.rand(100, 3), materials, dominant, "wooden", 0)
    assert (wood[:80, 0] > wood[:80, 2]).all()
    assert torch.equal(wood[80:], colors[80:])


def test_proportions_never_leave_the_cube() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = torch.stack([random_proportions(generator) for _ in range(200)])
    assert factors.max() <= 1
    assert factors.min() > 0.7


def test_held_out_pairs_have_no_captions() -> None:
    def record(noun: str, category: str = "Living room") -> ObjectRecord:
        return ObjectRecord("x", noun, [noun], category, [noun], "", "", "", False, True, 1.0)

    assert caption_choices(record("sofa"), "purple") == []
    assert "a red sofa" in caption_choices(record("sofa"), "red")
    assert caption_choices(record("a red cube", "primitives"), "blue") == []
    assert "wooden sofa" in caption_choices(record("sofa"), "wooden-light")

"""Coarse and true views of a tiny corpus on disk, and the training on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gen3d.corpus.fields import TRUNCATION
from gen3d.corpus.render import view_angles
from gen3d.corpus.store import Corpus, ObjectRecord, write_records
from gen3d.geometry.cameras import orbit
from gen3d.priors.linear_code import DISTANCE_GRID
from gen3d.priors.shape_prior import ShapePrior
from gen3d.priors.view_prior import ViewPrior, camera_directions
from gen3d.rendering.lighting import studio_shading
from gen3d.runtime.progress import LogReporter
from gen3d.training import view_data
from gen3d.training.checkpoint import Budget
from gen3d.training.train_view import train_view, view_loss
from gen3d.training.view_data import (
    ViewPairs,
    coarse_views,
    corpus_cameras,
    encode_object,
    premultiplied,
    prepare_pairs,
)

RADII = (0.45, 0.5, 0.55, 0.6, 0.65)
VIEWS = 10


def sphere_grid(radius: float) -> np.ndarray:
    axis = (np.arange(DISTANCE_GRID) + 0.5) * (2 / DISTANCE_GRID) - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    distances = np.sqrt(x**2 + y**2 + z**2) - radius
    return (distances.clip(-TRUNCATION, TRUNCATION) * 127 / TRUNCATION).round().astype(np.int8)


def true_views(radius: float, angles: np.ndarray) -> np.ndarray:
    """Discs with stripes, which the field of a plain sphere does not have; uint8, straight alpha."""
    _, directions = orbit(torch.from_numpy(angles[:, 0]), torch.from_numpy(angles[:, 1]), 64).rays()
    del directions  # a sphere looks alike from everywhere
    v, u = np.meshgrid(np.arange(64) - 31.5, np.arange(64) - 31.5, indexing="ij")
    inside = u**2 + v**2 < (radius / 2.66 * 64) ** 2
    rgba = np.zeros((64, 64, 4))
    rgba[inside] = [0.8, 0.3, 0.2, 1.0]
    rgba[inside & (v.astype(int) % 8 < 3), :3] *= 0.4
    return np.broadcast_to((rgba * 255).astype(np.uint8), (len(angles), 64, 64, 4))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(len(RADII), 1500, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    radii = np.array(RADII)
    angles = np.stack([view_angles(VIEWS, rng) for _ in RADII])
    np.save(folder / "grid.npy", np.stack([sphere_grid(radius) for radius in RADII]))
    np.save(folder / "surface.npy", (directions * radii[:, None, None]).astype(np.float16))
    np.save(folder / "surface_rgb.npy", np.broadcast_to(np.uint8([204, 76, 51]), (len(RADII), 1500, 3)))
    np.save(folder / "cameras.npy", angles)
    np.save(folder / "views.npy", np.stack([true_views(*row) for row in zip(RADII, angles, strict=True)]))
    write_records(folder, [
        ObjectRecord(
            id=str(row), name="ball", nouns=["ball"], category="primitives" if row == 1 else "Toys",
            captions=["a red ball"], source="", license="CC0", creator="us", held_out=row == 0, evaluate=True,
            area=4 * np.pi * radius**2,
        )
        for row, radius in enumerate(RADII)
    ])  # fmt: skip
    return Corpus(folder)


@pytest.fixture(scope="module")
def pairs(corpus: Corpus, session_prior: ShapePrior, tmp_path_factory: pytest.TempPathFactory) -> ViewPairs:
    folder = tmp_path_factory.mktemp("pairs")
    return prepare_pairs(corpus, session_prior, folder, LogReporter(), session_prior.text)


@pytest.fixture(scope="module")
def session_prior(tiny_prior: ShapePrior) -> ShapePrior:
    return tiny_prior


def test_a_coarse_view_is_the_object_under_its_camera(corpus: Corpus, tiny_prior: ShapePrior) -> None:
    cameras = corpus_cameras(corpus, 2)
    views = coarse_views(tiny_prior, encode_object(tiny_prior, corpus, 2), cameras)
    assert views.shape == (VIEWS, 64, 64, 4)
    # Row and column of the middle of a sphere, its silhouette's area, and its colour, which is lit from outside.
    true = premultiplied(corpus.array("views")[2])
    assert (views[..., 3] - true[..., 3]).abs().mean() < 0.02
    centre = views[:, 28:36, 28:36]
    assert (centre[..., 3] > 0.99).all()
    assert (centre[..., 0] > 1.8 * centre[..., 2]).all()
    lights = centre[..., :3].mean((1, 2, 3))
    assert lights.max() > 1.05 * lights.min()
    # Normals point outwards: the sides of a sphere are lit as its normals say, weighted by the area that is seen.
    cameras = orbit(torch.tensor([30.0, 120.0, 210.0, 300.0]), 40.0, 64)
    seen = coarse_views(tiny_prior, encode_object(tiny_prior, corpus, 2), cameras)[..., 0].sum((1, 2))
    normals = torch.from_numpy(trimesh.creation.icosphere(subdivisions=3).vertices.copy()).float()
    facing = (camera_directions(cameras) @ normals.T).clamp(min=0)
    expected = facing @ studio_shading(normals)[:, 0]
    assert expected.max() > 1.05 * expected.min()
    assert torch.allclose(seen / seen.mean(), expected / expected.mean(), atol=0.015)


def test_a_field_without_a_surface_gives_empty_views(tiny_prior: ShapePrior) -> None:
    far = torch.zeros(1, tiny_prior.code_size)
    distances = tiny_prior.distance_grid
    tiny_prior.distance_grid = lambda code, size, field: torch.ones(size, size, size)  # type: ignore[method-assign]
    try:
        views = coarse_views(tiny_prior, far, orbit(torch.zeros(2), 0.0, 16))
    finally:
        tiny_prior.distance_grid = distances  # type: ignore[method-assign]
    assert views.shape == (2, 16, 16, 4)
    assert not views.any()


def test_pairs_leave_out_what_is_held_out(corpus: Corpus, pairs: ViewPairs) -> None:
    assert pairs.indices == [1, 2, 3, 4]
    coarse, true = pairs.images([0, 3], [1, 5])
    assert (coarse[..., 3] - true[..., 3]).abs().mean() < 0.02
    assert coarse[0, ..., 3].sum() < 0.7 * coarse[1, ..., 3].sum()  # each row is its own object


def test_shards_are_kept_and_belong_to_one_prior(
    corpus: Corpus, tiny_prior: ShapePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_data, "SHARD_OBJECTS", 2)
    prepare_pairs(corpus, tiny_prior, tmp_path, LogReporter(), tiny_prior.text)
    first, second = sorted(tmp_path.glob("pairs-*/coarse-*.npy"))
    kept, wanted = first.stat().st_mtime_ns, np.load(second)
    second.unlink()
    again = prepare_pairs(corpus, tiny_prior, tmp_path, LogReporter(), tiny_prior.text)
    assert first.stat().st_mtime_ns == kept
    assert np.array_equal(np.load(second), wanted)
    assert np.array_equal(again.images([3], [4])[0], torch.from_numpy(wanted[1, 4]).float()[None] / 255)
    assert not list(tmp_path.glob("pairs-*/*.tmp*"))
    # A shard that was cut off, or is of another form, is made again.
    for content in (second.read_bytes()[:-100], b"", first.read_bytes()[:60]):
        second.write_bytes(content)
        prepare_pairs(corpus, tiny_prior, tmp_path, LogReporter(), tiny_prior.text)
        assert np.array_equal(np.load(second), wanted)
    before = view_data.fingerprint(corpus, tiny_prior)
    bias = tiny_prior.decoder.distance_head[-1].bias
    bias.data += 1
    assert view_data.fingerprint(corpus, tiny_prior) != before
    bias.data -= 1


def test_augmentation_changes_both_views_alike(pairs: ViewPairs) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = pairs.batch(64, generator)
    for images in (batch.coarse, batch.true):
        assert images.min() >= 0
        assert (images[..., :3] <= images[..., 3:] + 1e-6).all()
    hues = [views[..., :3].sum((1, 2)) / views[..., 3:].sum((1, 2)) for views in (batch.coarse, batch.true)]
    plain = hues[0][:, 0] > 1.8 * hues[0][:, 2]
    assert 0.3 < plain.float().mean() < 0.95  # some are recoloured, some are not
    # Whatever colour the coarse view has, the true one has it too.
    unit = [torch.nn.functional.normalize(hue, dim=1) for hue in hues]
    assert (unit[0] * unit[1]).sum(1).min() > 0.93
    assert torch.allclose(batch.camera.norm(dim=1), torch.ones(64), atol=1e-5)


def test_mirroring_flips_views_and_camera_together(pairs: ViewPairs) -> None:
    rows, camera = [0, 1, 2, 3] * 8, torch.tensor([0.6, 0.0, 0.8]).repeat(32, 1)
    coarse, true = torch.rand(2, 32, 64, 64, 4).unbind(0)
    generator = torch.Generator().manual_seed(0)
    new_coarse, new_true, new_camera = pairs._mirror(rows, coarse, true, camera, generator)
    mirrored = new_camera[:, 0] < 0
    assert not mirrored[0::4].any()  # the generated scene says left and right
    assert mirrored.any()
    for old, new in ((coarse, new_coarse), (true, new_true)):
        assert torch.equal(new[mirrored], old[mirrored].flip(2))
        assert torch.equal(new[~mirrored], old[~mirrored])


def test_training_learns_what_the_field_cannot_hold(pairs: ViewPairs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ViewPrior(widths=(16, 32), groups=4)
    trained = train_view(pairs, tmp_path, Budget(steps=60), model=model)
    batch = pairs.batch(16, torch.Generator().manual_seed(5), augmented=False)
    text, t = batch.text, torch.full((16,), 0.4)
    noisy = 0.6 * batch.coarse + 0.4 * torch.randn(batch.coarse.shape, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        refined = trained.denoise(noisy, t, batch.coarse, text, batch.camera)
        expected = trained.expected(batch.coarse, text, batch.camera)
    before = (batch.coarse - batch.true).square().mean()
    for found in (refined, expected):
        assert (found - batch.true).square().mean() < 0.7 * before


def test_the_loss_is_one_for_an_untrained_network_on_gaussian_residuals() -> None:
    model = ViewPrior(widths=(8, 16), groups=4)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(8, 64, 64, 4, generator=generator)
    true = coarse + 0.06 * torch.randn(coarse.shape, generator=generator)
    batch = view_data.ViewBatch(coarse, true, torch.zeros(8, 3), torch.zeros(8, 768))
    assert view_loss(model, batch, generator).item() == pytest.approx(1.0, rel=0.03)


def test_an_interrupted_training_ends_at_the_same_weights(pairs: ViewPairs, tmp_path: Path) -> None:
    class StopAfter:
        """Asks to stop once the training has looked `count` times."""

        def __init__(self, count: int) -> None:
            self.left = count

        def __bool__(self) -> bool:
            self.left -= 1
            return self.left < 0

    def run(folder: Path, stop: StopAfter | None) -> ViewPrior:
        torch.manual_seed(3)
        model = ViewPrior(widths=(8, 8), groups=4)
        return train_view(pairs, folder, Budget(steps=6), model=model, stop=stop)  # type: ignore[arg-type]

    straight = run(tmp_path / "a", None)
    run(tmp_path / "b", StopAfter(3))
    resumed = run(tmp_path / "b", None)
    for one, two in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_most_of_a_batch_is_given_no_noisy_view() -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Watched(ViewPrior):
        def denoise(self, noisy, t, coarse, text, camera):  # type: ignore[no-untyped-def]
            seen.append((noisy, t))
            return super().denoise(noisy, t, coarse, text, camera)

    generator = torch.Generator().manual_seed(0)
    views = torch.rand(64, 64, 64, 4, generator=generator)
    batch = view_data.ViewBatch(views, views, torch.zeros(64, 3), torch.zeros(64, 768))
    view_loss(Watched(widths=(8, 8), groups=4), batch, generator)
    (noisy, t), given = seen[0], seen[0][1] < 1
    assert 4 < given.sum() < 32
    assert not noisy[~given].any()
    assert t[given].max() <= 0.6
    assert noisy[given].flatten(1).abs().mean(1).min() > 0.1

"""The prior as a whole: sampling, decoding, saving, and what it says of prompts it does not know."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from gen3d.errors import Gen3DError
from gen3d.priors import shape_prior as model_module
from gen3d.priors.concepts import Concepts, content_words
from gen3d.priors.shape_prior import ShapePrior, TrainingObjects, _dequantize, _quantize
from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.tensors import load_weights, read_metadata, save_tensors


def test_samples_depend_on_the_seed_alone(tiny_prior: ShapePrior) -> None:
    features = tiny_prior.text.encode(["a ball"])[0]
    one = tiny_prior.sample(features, 2, torch.Generator().manual_seed(3), steps=5)
    two = tiny_prior.sample(features, 2, torch.Generator().manual_seed(3), steps=5)
    assert one.shape == (2, tiny_prior.code_size)
    assert torch.equal(one, two)


def test_the_mean_code_is_a_sphere(tiny_prior: ShapePrior) -> None:
    grid = tiny_prior.distance_grid(torch.zeros(1, tiny_prior.code_size), 24)
    inside = (grid < 0).float().mean().item()
    assert 4 / 3 * torch.pi * 0.5**3 / 8 < inside < 4 / 3 * torch.pi * 0.62**3 / 8


def test_a_field_that_is_decoded_already_gives_the_same_distances(tiny_prior: ShapePrior) -> None:
    code = tiny_prior.training.codes[1:2]
    field = tiny_prior.field(code)
    assert torch.equal(tiny_prior.distance_grid(code, 24, field), tiny_prior.distance_grid(code, 24))


def test_the_nearest_training_object_of_a_training_code_is_itself(tiny_prior: ShapePrior) -> None:
    name, distance = tiny_prior.nearest_training_object(tiny_prior.training.codes[2:3])
    assert name == "c"
    assert distance == pytest.approx(0, abs=1e-3)


def test_quantised_matrices_keep_their_values(tiny_prior: ShapePrior) -> None:
    state = tiny_prior.code.state_dict()
    restored = _dequantize(_quantize(state))
    assert set(restored) == set(state)
    for name, value in state.items():
        bound = value.abs().amax() / 127 if value.dim() == 2 else 0
        assert (restored[name] - value).abs().max() <= bound


def test_saving_writes_files_that_a_broken_folder_is_told_from(tiny_prior: ShapePrior, tmp_path: Path) -> None:
    tiny_prior.save(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    # The tiny networks are not of the packaged size: loading them is refused with a sentence, not a traceback.
    with pytest.raises(Gen3DError, match="does not fit"):
        ShapePrior.load(tmp_path)
    (tmp_path / model_module.DECODER_FILE).unlink()
    with pytest.raises(Gen3DError, match="prior_decoder"):
        ShapePrior.load(tmp_path)


@pytest.mark.parametrize("name", ["prior_code", "prior_decoder", "prior_denoiser", "prior_training"])
def test_weights_that_are_not_finite_are_refused_by_file_and_tensor(name: str, tmp_path: Path) -> None:
    for file in packaged_weights().glob("prior_*"):
        (tmp_path / file.name).symlink_to(file)
    path = tmp_path / f"{name}.safetensors"
    tensors, metadata = load_weights(path), read_metadata(path)
    broken = next(key for key, value in tensors.items() if value.is_floating_point())
    tensors[broken] = tensors[broken].index_fill(0, torch.tensor([0]), torch.nan)
    save_tensors(path, tensors, metadata)  # takes the place of the link
    with pytest.raises(Gen3DError, match=rf"The tensor '{broken}' in '.*{name}.safetensors' holds numbers .* finite"):
        ShapePrior.load(tmp_path)


def test_training_objects_without_a_name_each_are_refused() -> None:
    with pytest.raises(ValueError, match="1 names for 2 codes"):
        TrainingObjects(torch.zeros(2, 3), ["chair"], 1.0)
    with pytest.raises(ValueError, match="nan apart"):
        TrainingObjects(torch.zeros(1, 3), ["chair"], float("nan"))
    with pytest.raises(TypeError, match="no text"):
        TrainingObjects(torch.zeros(1, 3), [None], 1.0)  # type: ignore[list-item]


@pytest.mark.parametrize("content", ['{"words": "chair", "names": ["a"]}', '{"words": [], "names": [1]}', "[]", "{}"])
def test_concepts_that_are_no_texts_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "concepts.json").write_text('{"words": ["red"], "names": ["chair"]}')
    assert Concepts.load(tmp_path / "concepts.json", torch.zeros(1, 4)).names == ["chair"]
    with pytest.raises(ValueError, match="lists 1 names for features of the shape"):
        Concepts.load(tmp_path / "concepts.json", torch.zeros(2, 4))
    (tmp_path / "concepts.json").write_text(content)
    with pytest.raises((TypeError, KeyError)):
        Concepts.load(tmp_path / "concepts.json", torch.zeros(1, 4))


def test_unknown_words_are_named_with_the_nearest_concept(tiny_prior: ShapePrior) -> None:
    features = tiny_prior.text.encode(["planet"])[0]
    unknown = tiny_prior.concepts.check("a red gizmo", features)
    assert unknown is not None
    assert unknown.words == ["gizmo"]
    assert unknown.nearest == "planet"
    assert tiny_prior.concepts.check("the red balls", features) is None


def test_content_words() -> None:
    assert content_words("A Red ball, on the 3D-printed cube!") == ["red", "ball", "printed", "cube"]


def test_the_decoded_band_misses_no_surface() -> None:
    """The packaged prior is tested here: what is not asked near the coarse surface would have had the same sign."""
    prior, size = ShapePrior.load(), 40
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).view(1, -1, 3)
    for row in (0, 300, 600):
        code = prior.training.codes[row : row + 1]
        with torch.no_grad():
            asked = prior.decoder.distance_at(prior.field(code), points).view(size, size, size)
        grid = prior.distance_grid(code, size)
        assert torch.equal(grid < 0, asked < 0)
        assert torch.allclose(grid[asked.abs() < 0.05], asked[asked.abs() < 0.05], atol=1e-5)


def test_a_code_without_any_surface_gives_a_grid_all_the_same(tiny_prior: ShapePrior) -> None:
    """The grid is of one sign, so that `field_surface` can say that it is empty."""
    prior = copy.deepcopy(tiny_prior)
    prior.code.shape_mean.fill_(1.0)
    assert bool((prior.distance_grid(torch.zeros(1, prior.code_size), 12) > 0).all())

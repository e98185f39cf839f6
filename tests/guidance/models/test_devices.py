"""Adapters on pretended CUDA devices: one step with its gradient, on every device what it is on the CPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gen3d.config.schema import DiffusionConfig
from gen3d.geometry.cameras import orbit
from gen3d.guidance.contract import PromptSet
from gen3d.guidance.diffusion import DiffusionGuidance
from gen3d.guidance.models.load import LoadOptions, load_prior
from gen3d.guidance.models.placement import Placement
from gen3d.rendering.views import Render
from tests.pretended_device import PretendedCuda

NAMES = ("sd", "sdxl", "sd3", "flux", "if", "multiview", "zero123")
CAMERAS = orbit(torch.tensor([0.0, 90.0, 180.0, 45.0]), torch.tensor([0.0, 10.0, -10.0, 60.0]), 16)
REFERENCE = orbit(torch.tensor([20.0]), torch.tensor([10.0]), 16)

Load = Callable[..., Any]


@pytest.fixture(autouse=True)
def _one_order_of_sums() -> Iterator[None]:
    """Attention by its formula everywhere: the pretended device has no fused kernel, which would sum differently."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@pytest.fixture
def load(model_folder: Callable[[str], Path]) -> Load:
    """Loads a model anew, with options."""

    def loaded(name: str, **options: Any) -> Any:
        settings = {"resolution": 16 if name == "flux" else None, **options}
        return load_prior(str(model_folder(name)), LoadOptions(**settings), torch.Generator().manual_seed(3))

    return loaded


@pytest.fixture(scope="module")
def on_cpu(model_folder: Callable[[str], Path]) -> Callable[..., Tensor]:
    """The gradient of one step on the CPU, by model, precision and settings of the guidance; computed once."""
    known: dict[str, Tensor] = {}

    def expected(name: str, dtype: str = "fp32", **settings: Any) -> Tensor:
        key = f"{name} {dtype} {settings}"
        if key not in known:
            options = LoadOptions(dtype=dtype, resolution=16 if name == "flux" else None)
            prior = load_prior(str(model_folder(name)), options, torch.Generator().manual_seed(3))
            known[key] = gradient(guide_of(prior, **settings))
        return known[key]

    return expected


def renders(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Premultiplied colours [4, 16, 16, 3] and alphas of four views."""
    generator = torch.Generator().manual_seed(0)
    alpha = torch.rand(4, 16, 16, 1, generator=generator)
    return (alpha * torch.rand(4, 16, 16, 3, generator=generator)).to(dtype), alpha.to(dtype)


def guide_of(prior: Any, **settings: Any) -> DiffusionGuidance:
    if hasattr(prior, "set_reference"):
        rgb, alpha = renders()
        prior.set_reference(torch.cat([rgb, alpha], -1)[0], REFERENCE)
    config = DiffusionConfig(weight=1.0, **{"guidance_scale": 7.5, "t_min": 0.3, "t_max": 0.6, **settings})
    return DiffusionGuidance(prior, "a red chair", config, torch.Generator().manual_seed(0))


def gradient(guide: DiffusionGuidance, where: str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """The gradient of the colours of renders on a device, after one step of guidance."""
    rgb, alpha = (image.to(where) for image in renders(dtype))
    rgb.requires_grad_()
    render = Render(rgb, alpha, alpha)
    loss = guide(render, CAMERAS.to(where), 0.0, render).loss
    assert str(loss.device) == where
    (found,) = torch.autograd.grad(loss, rgb)
    assert (str(found.device), found.dtype) == (where, dtype)
    return found


def places(prior: Any) -> set[str]:
    """Where the parameters of a prior's parts are."""
    parts = [prior.network, getattr(prior, "projection", None), getattr(prior.codec, "vae", None)]
    return {str(parameter.device) for part in parts if part is not None for parameter in part.parameters()}


@pytest.mark.parametrize("device", [torch.device("cuda:0"), "cuda:1"], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_the_same_on_every_device(
    name: str, device: torch.device | str, load: Load, on_cpu: Callable[..., Tensor]
) -> None:
    expected = on_cpu(name)
    assert expected.abs().max() > 0
    with PretendedCuda():
        prior = load(name, device=device)
        assert places(prior) == {str(device)}
        assert torch.equal(gradient(guide_of(prior), str(device)).cpu(), expected)


@pytest.mark.parametrize("name", ["sd", "sd3", "if", "zero123"])
def test_renders_of_another_device_and_precision_are_moved_and_answers_come_back(
    name: str, load: Load, on_cpu: Callable[..., Tensor]
) -> None:
    exact = on_cpu(name)
    with PretendedCuda():
        guide = guide_of(load(name, device="cuda:1"))
        coarse = gradient(guide, "cuda:0", torch.float16).cpu()
        rgb, alpha = renders()
        latents = guide.prior.encode_image(torch.cat([rgb, alpha], -1), torch.ones(3))
        assert (str(latents.device), latents.dtype) == ("cpu", torch.float32)
        halves = guide.prior.predict(latents.half(), torch.full((4,), 0.5), guide.conditioning, CAMERAS)
        assert (str(halves.conditional.device), halves.conditional.dtype) == ("cpu", torch.float32)
        assert guide.prior.decode(latents).dtype == torch.float32
    torch.testing.assert_close(coarse.float(), exact, atol=0.05 * float(exact.abs().max()), rtol=0.1)


@pytest.mark.parametrize(
    ("name", "dtype"), [("sd", "fp16"), ("sdxl", "fp16"), ("flux", "bf16"), ("if", "fp16"), ("zero123", "bf16")]
)
def test_half_precision_is_the_same_on_every_device(
    name: str, dtype: str, load: Load, on_cpu: Callable[..., Tensor]
) -> None:
    expected, full = on_cpu(name, dtype), on_cpu(name)
    with PretendedCuda():
        found = gradient(guide_of(load(name, dtype=dtype, device="cuda:0")), "cuda:0").cpu()
    torch.testing.assert_close(found, expected, atol=1e-2 * float(full.abs().max()), rtol=1e-2)
    assert not torch.equal(found, full)
    torch.testing.assert_close(found, full, atol=0.3 * float(full.abs().max()), rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"rule": "vsd"},
        {"rule": "dds", "source": "a blue ball"},
        {"rule": "refine", "refine_steps": 3},
        {"rule": "reconstruction", "perp_neg": True},
        {"rule": "nfsd", "negative": "blurry", "clip_gradient": 0.1},
    ],
    ids=lambda settings: settings["rule"],
)
def test_every_kind_of_rule_runs_beside_renders_of_another_device(
    settings: dict[str, Any], load: Load, on_cpu: Callable[..., Tensor]
) -> None:
    with PretendedCuda():
        guide = guide_of(load("sd", device="cuda:1"), **settings)
        found = gradient(guide, "cuda:0").cpu()
    assert torch.equal(found, on_cpu("sd", **settings))


@pytest.mark.parametrize("name", ["sd", "sd3", "if", "zero123"])
def test_offloaded_models_are_on_the_device_only_while_they_compute(
    name: str, load: Load, on_cpu: Callable[..., Tensor]
) -> None:
    pytest.importorskip("accelerate")
    with PretendedCuda():
        prior = load(name, device="cuda:1", cpu_offload=True)
        seen: set[str] = set()
        layer = next(module for module in prior.network.modules() if isinstance(module, torch.nn.Linear))
        layer.register_forward_pre_hook(lambda module, _: seen.add(str(module.weight.device)))
        guide = guide_of(prior)
        for _ in range(2 if name == "sd" else 1):
            assert {str(parameter.device) for parameter in prior.network.parameters()} == {"cpu"}
            guide.generator.manual_seed(0)
            if (generator := getattr(prior.codec, "generator", None)) is not None:
                generator.manual_seed(3)
            assert torch.equal(gradient(guide, "cuda:0").cpu(), on_cpu(name))
            assert seen == {"cuda:1"}
        assert {str(parameter.device) for parameter in prior.network.parameters()} == {"cpu"}
        if hasattr(prior.codec, "vae"):
            assert prior.codec.vae.device == torch.device("cuda:1"), "its gradient comes after the network has run"


def test_a_student_trains_on_an_offloaded_network(load: Load, on_cpu: Callable[..., Tensor]) -> None:
    pytest.importorskip("accelerate")
    with PretendedCuda():
        guide: Any = guide_of(load("sd", device="cuda:1", cpu_offload="model"), rule="vsd")
        assert torch.equal(gradient(guide, "cuda:0").cpu(), on_cpu("sd", rule="vsd"))
        assert {str(parameter.device) for parameter in guide.rule.adapter.parameters()} == {"cuda:1"}


@pytest.mark.parametrize("name", ["sd", "sd3", "zero123"])
def test_layers_can_be_offloaded_one_by_one(
    name: str, load: Load, on_cpu: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate")
    from gen3d.guidance.models import load as module

    settings = {"rule": "vsd"} if name == "sd" else {}
    # The CPU stands for the device: what is tested is that weights come when they are asked, and go again.
    monkeypatch.setattr(module, "_placement", lambda options: Placement("cpu", "sequential"))
    prior = load(name)
    assert {parameter.device.type for parameter in prior.network.parameters()} == {"meta"}
    assert torch.equal(gradient(guide_of(prior, **settings)), on_cpu(name, **settings))
    assert {parameter.device.type for parameter in prior.network.parameters()} == {"meta"}


@pytest.mark.parametrize("offload", [False, "model", "sequential"])
@pytest.mark.parametrize("name", ["sd", "sd3", "zero123"])
def test_what_encodes_prompts_is_gone_after_they_are_encoded(
    name: str, offload: bool | str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    if offload:
        pytest.importorskip("accelerate")
        from gen3d.guidance.models import load as module

        monkeypatch.setattr(module, "_placement", lambda options: Placement("cpu", options.offload))
    prior = load(name, cpu_offload=offload)
    pipeline = getattr(prior, "pipeline", None)
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    encoders = [getattr(pipeline, one, None) for one in names] if pipeline else [prior.image_encoder]
    kept = [weakref.ref(encoder) for encoder in encoders if encoder is not None]
    del encoders
    guide = guide_of(prior)
    gc.collect()
    assert [reference() for reference in kept] == [None] * len(kept)
    assert gradient(guide).isfinite().all()


def test_draws_of_latents_come_from_the_cpu(load: Load) -> None:
    images = torch.cat(renders(), -1)
    expected = load("sd").encode_image(images, torch.ones(3))
    assert not torch.equal(load("sd").codec.posterior(images[..., :3].permute(0, 3, 1, 2))[0], expected)
    with PretendedCuda():
        found = load("sd", device="cuda:0").encode_image(images.to("cuda:0"), torch.ones(3))
        assert torch.equal(found.cpu(), expected)


def test_prompts_are_encoded_on_the_device(load: Load) -> None:
    with PretendedCuda():
        prior = load("sdxl", device="cuda:1")
        conditioning = prior.encode_prompt(PromptSet("a chair", "", {"back": "a chair, back view"}))
        for condition in (conditioning.positive, conditioning.negative, *conditioning.views.values()):
            assert str(condition.tokens.device) == str(condition.pooled.device) == "cuda:1"
        mixed = conditioning.conditional(4, CAMERAS.to("cuda:0"))
        assert str(mixed.tokens.device) == "cuda:1"

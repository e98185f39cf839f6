"""Every adapter over tiny random instances of the real classes, loaded from a folder; direct calls are the oracle."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gen3d.errors import Gen3DError, UsageError
from gen3d.geometry.cameras import Cameras, orbit, turntable
from gen3d.guidance.contract import Halves, PromptSet
from gen3d.guidance.models.base import NetworkPrior
from gen3d.guidance.models.load import LoadOptions, load_prior
from gen3d.guidance.models.multiview import JointViewAttention, camera_labels
from gen3d.guidance.models.predictions import named
from gen3d.guidance.models.texts import Condition, Conditions

NAMES = ("sd", "sd-v", "sdxl", "sd3", "flux", "if", "multiview")
PROMPTS = PromptSet("a red chair", "blue")
TOLERANCE = {"fp32": 2e-5, "bf16": 6e-2}

Load = Callable[..., Any]


def draw(prior: Any, seed: int = 0) -> tuple[Tensor, Tensor, Cameras]:
    """Noisy samples, times and cameras of four views."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.zeros(4, 16, 16, 4)
    shape = prior.encode_image(white, torch.ones(3)).shape
    times = torch.tensor([0.1, 0.35, 0.6, 0.95])
    return torch.randn(shape, generator=generator), times, turntable(4, 16)


def raw_output(name: str, pipeline: Any, noisy: Tensor, t: Tensor, text: str, cameras: Cameras) -> Tensor:
    """What the network of diffusers' own pipeline answers for one text, called as its documentation says."""
    batch, index = len(noisy), (t * 999).round().long()
    if name in ("sd", "sd-v", "multiview"):
        tokens = pipeline.encode_prompt(text, "cpu", batch, False)[0]
        labels = camera_labels(cameras) if name == "multiview" else None
        return pipeline.unet(noisy, index, encoder_hidden_states=tokens, class_labels=labels).sample
    if name == "if":
        tokens = pipeline.encode_prompt(text, False, batch)[0]
        return pipeline.unet(noisy, index, encoder_hidden_states=tokens).sample[:, :3]
    if name == "sdxl":
        tokens, _, pooled, _ = pipeline.encode_prompt(text, None, "cpu", batch, False)
        size = pipeline._get_add_time_ids((16, 16), (0, 0), (16, 16), torch.float32, 16).repeat(batch, 1)
        added = {"text_embeds": pooled, "time_ids": size}
        return pipeline.unet(noisy, index, encoder_hidden_states=tokens, added_cond_kwargs=added).sample
    if name == "sd3":
        tokens, _, pooled, _ = pipeline.encode_prompt(text, None, None, "cpu", batch, False)
        return pipeline.transformer(noisy, tokens, pooled, 1000 * t).sample
    tokens, pooled, text_ids = pipeline.encode_prompt(text, device="cpu", num_images_per_prompt=batch)
    packed = pipeline._pack_latents(noisy, batch, 4, 8, 8)
    places = pipeline._prepare_latent_image_ids(batch, 4, 4, "cpu", torch.float32)
    scale = torch.ones(batch)
    answer = pipeline.transformer(packed, tokens, pooled, t, places, text_ids, scale).sample
    return pipeline._unpack_latents(answer, 16, 16, 2)


def to_noise(name: str, pipeline: Any, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """The prediction of the noise, worked out by hand from the schedulers' own tables."""
    t = t.view(-1, 1, 1, 1)
    if name in ("sd3", "flux"):
        return noisy + (1 - t) * output
    if name == "sd-v":
        kept = pipeline.scheduler.alphas_cumprod[(t * 999).round().long()]
        return kept.sqrt() * output + (1 - kept).sqrt() * noisy
    return output


@pytest.fixture(scope="module")
def official(model_folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """diffusers' own pipeline of a tiny model, loaded by diffusers alone."""
    import diffusers

    kinds = {"sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3", "flux": "Flux", "if": "IF"}
    made: dict[str, Any] = {}

    def pipeline(name: str) -> Any:
        if name not in made:
            kind = getattr(diffusers, f"{kinds.get(name, 'StableDiffusion')}Pipeline")
            made[name] = kind.from_pretrained(model_folder(name))
            if name == "multiview":
                processors = made[name].unet.attn_processors.items()
                joint = {key: JointViewAttention(one) if ".attn1." in key else one for key, one in processors}
                made[name].unet.set_attn_processor(joint)
        return made[name]

    return pipeline


@pytest.mark.parametrize("name", [*NAMES, "zero123"])
def test_adapters_differ_in_how_the_network_is_asked_alone(name: str, load_tiny: Load) -> None:
    kind = type(load_tiny(name))
    assert issubclass(kind, NetworkPrior)
    for shared in ("predict", "encode_image", "decode", "rest"):
        assert getattr(kind, shared) is getattr(NetworkPrior, shared)
    assert "denoise" in NetworkPrior.__abstractmethods__
    assert not kind.__abstractmethods__


def test_conditions_keep_their_halves_apart() -> None:
    text, none = (
        Condition(torch.full((2, 3, 4), v), torch.full((2, 5), v), beside=torch.full((2, 4, 1, 1), v))
        for v in (1.0, 2.0)
    )
    joined = Conditions(unconditional=none, conditional=text).joined()
    for part in (joined.tokens, joined.pooled, joined.beside):
        assert part is not None
        halves = named(part)
        assert (halves.conditional == 1).all()
        assert (halves.unconditional == 2).all()
    assert joined.labels is None
    assert text.zeros().beside is not None
    assert not text.zeros().tokens.any()
    assert text.row(1).repeat(3).tokens.shape == (3, 3, 4)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_halves_equal_direct_calls_of_the_network(
    name: str, dtype: str, load_tiny: Load, official: Callable[[str], Any]
) -> None:
    prior, pipeline = load_tiny(name, dtype), official(name)
    noisy, t, cameras = draw(prior)
    halves: Halves = prior.predict(noisy, t, prior.encode_prompt(PROMPTS), cameras)
    assert halves.conditional.dtype == torch.float32
    assert not halves.conditional.requires_grad
    with torch.no_grad():
        for half, text in ((halves.conditional, "a red chair"), (halves.unconditional, "blue")):
            output = raw_output(name, pipeline, noisy, t, text, cameras)
            expected = to_noise(name, pipeline, output, noisy, t)
            assert half.shape == noisy.shape
            torch.testing.assert_close(half, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    apart = (halves.conditional - halves.unconditional).abs().max()
    assert apart > 5 * TOLERANCE["fp32"], "the two texts must matter, or the halves could be swapped unseen"
    torch.testing.assert_close(halves.guided(1.0), halves.conditional, atol=1e-5, rtol=1e-5)
    assert torch.equal(halves.guided(0.0), halves.unconditional)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_images_are_encoded_with_finite_gradients(name: str, dtype: str, load_tiny: Load) -> None:
    prior = load_tiny(name, dtype)
    images = torch.rand(2, 24, 24, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    latents = prior.encode_image(images * torch.tensor([0.5, 0.5, 0.5, 1.0]), torch.tensor([0.2, 0.5, 0.9]))
    assert latents.dtype == torch.float32
    latents.square().sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert (images.grad.flatten(0, 2).abs().amax(0) > 0).all(), "colours and alpha all reach what is diffused"
    assert prior.resolution == 16
    assert prior.decode(latents.detach()).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux"])
def test_latents_are_shifted_and_scaled_as_the_pipeline_does(
    name: str, load_tiny: Load, official: Callable[[str], Any]
) -> None:
    prior, vae = load_tiny(name), official(name).vae
    images = torch.rand(2, 16, 16, 4, generator=torch.Generator().manual_seed(1))
    images[..., :3] *= images[..., 3:]
    colors = (images[..., :3] + 0.3 * (1 - images[..., 3:])).permute(0, 3, 1, 2)
    with torch.no_grad():
        mean = vae.encode(2 * colors - 1).latent_dist.mean
    expected = (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    latents = prior.encode_image(images, torch.full((3,), 0.3))
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        decoded = (vae.decode(mean).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(prior.decode(latents), decoded, atol=1e-4, rtol=0)


def test_a_generator_draws_latents_from_the_encoders_distribution(model_folder: Callable[[str], Path]) -> None:
    folder = str(model_folder("sd"))
    images, background = torch.rand(1, 16, 16, 4), torch.zeros(3)
    drawn = [load_prior(folder, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    first, second, other = (prior.encode_image(images, background) for prior in drawn)
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    codec = drawn[0].codec  # type: ignore[attr-defined]
    spread = codec.vae.encode(2 * images[..., :3].permute(0, 3, 1, 2) - 1).latent_dist.std
    many = torch.stack([drawn[0].encode_image(images, background) for _ in range(200)])
    codec.generator = None
    torch.testing.assert_close(
        many.mean(0), codec.encode(images, background), atol=0.3 * float(spread.max()) * 0.18215, rtol=0
    )
    assert (many.std(0) / (0.18215 * spread)).mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "multiview"])
def test_a_step_of_score_distillation_never_decodes(name: str, load_tiny: Load) -> None:
    prior = load_tiny(name)
    calls: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, label=label: calls.append(label))
        for label, module in (("encoder", prior.codec.vae.encoder), ("decoder", prior.codec.vae.decoder))
    ]
    rendered = torch.rand(4, 16, 16, 4, requires_grad=True)
    clean = prior.encode_image(rendered, torch.ones(3))
    t, noise = torch.full((4,), 0.5), torch.randn_like(clean)
    noisy = 0.7 * clean.detach() + 0.7 * noise
    guided = prior.predict(noisy, t, prior.encode_prompt(PROMPTS), turntable(4, 16)).guided(7.5)
    clean.backward(guided - noise)
    assert calls == ["encoder"]
    assert rendered.grad is not None
    assert rendered.grad.isfinite().all()
    prior.decode(noisy)
    assert calls == ["encoder", "decoder"], "the hook counts"
    for hook in hooks:
        hook.remove()


def test_a_v_model_and_the_noise_model_it_is_derived_from_agree(model_folder: Callable[[str], Path]) -> None:
    noise_prior: Any = load_prior(str(model_folder("sd")))
    v_prior: Any = load_prior(str(model_folder("sd-v")))

    class VelocityOf(torch.nn.Module):
        """The v prediction that says the same as a model of the noise: v = (e - s x_t) / a."""

        dtype, config = torch.float32, noise_prior.network.config

        def forward(self, noisy: Tensor, index: Tensor, **inputs: Any) -> Any:
            answer = copy.copy(noise_prior.network(noisy, index, **inputs))
            kept = noise_prior.pipeline.scheduler.alphas_cumprod[index].view(-1, 1, 1, 1)
            answer.sample = (answer.sample - (1 - kept).sqrt() * noisy) / kept.sqrt()
            return answer

    noisy, t, _ = draw(noise_prior)
    conditioning = noise_prior.encode_prompt(PROMPTS)
    v_prior.network = VelocityOf()
    assert (noise_prior.kind, v_prior.kind) == ("epsilon", "v_prediction")
    expected, found = (prior.predict(noisy, t, conditioning, None) for prior in (noise_prior, v_prior))
    torch.testing.assert_close(found.conditional, expected.conditional, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.unconditional, expected.unconditional, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_freed_text_encoders_raise_a_sentence(name: str, model_folder: Callable[[str], Path]) -> None:
    prior: Any = load_prior(str(model_folder(name)), LoadOptions(resolution=16))
    conditioning = prior.encode_prompt(PROMPTS)
    prior.free_text_encoders()
    prior.free_text_encoders()
    left = [type(part).__module__ for part in prior.pipeline.components.values() if part is not None]
    assert not [module for module in left if module.startswith("transformers")]
    with pytest.raises(Gen3DError, match=r"^The text encoders of '.*' were freed after the first prompts: .*\.$"):
        prior.encode_prompt(PROMPTS)
    noisy, t, cameras = draw(prior)
    assert prior.predict(noisy, t, conditioning, cameras).conditional.isfinite().all()


@pytest.mark.parametrize("name", ["sd", "sdxl", "flux"])
def test_texts_of_views_are_mixed_by_the_cameras(name: str, load_tiny: Load) -> None:
    prior = load_tiny(name)
    texts = {view: f"a chair, {view} view" for view in ("front", "side", "back", "overhead")}
    conditioning = prior.encode_prompt(PromptSet("a chair", "", texts))
    noisy, t, _ = draw(prior)
    cameras = orbit(torch.tensor([0.0, 90.0, 180.0, 45.0]), torch.tensor([0.0, 10.0, -10.0, 0.0]), 16)
    found = prior.predict(noisy, t, conditioning, cameras).conditional
    alone = {view: prior.predict(noisy, t, conditioning.facing(view), cameras).conditional for view in texts}
    for row, view in enumerate(("front", "side", "back")):
        torch.testing.assert_close(found[row], alone[view][row], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[3], alone["front"][3], atol=1e-4)
    between = conditioning.conditional(4, cameras).tokens[3]
    middle = (conditioning.views["front"].tokens + conditioning.views["side"].tokens)[0] / 2
    torch.testing.assert_close(between, middle, atol=1e-5, rtol=1e-5)
    without = prior.predict(noisy, t, conditioning, None).conditional
    plain = prior.predict(noisy, t, prior.encode_prompt(PromptSet("a chair")), cameras).conditional
    torch.testing.assert_close(without, plain, atol=1e-5, rtol=1e-5)


def test_a_view_without_a_text_takes_the_prompt(load_tiny: Load) -> None:
    conditioning = load_tiny("sd").encode_prompt(PromptSet("a chair", "", {"back": "a chair, back view"}))
    cameras = orbit(torch.tensor([0.0, 180.0]), torch.tensor([0.0, 0.0]), 16)
    tokens = conditioning.conditional(2, cameras).tokens
    torch.testing.assert_close(tokens[0], conditioning.positive.tokens[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(tokens[1], conditioning.views["back"].tokens[0], atol=1e-6, rtol=0)
    with pytest.raises(UsageError, match="no text for the view 'front'"):
        conditioning.facing("front")
    with pytest.raises(UsageError, match="2 cameras do not fit 3 images"):
        conditioning.conditional(3, cameras)


def test_an_empty_negative_prompt_of_sdxl_is_zeros_and_another_is_not(load_tiny: Load) -> None:
    prior = load_tiny("sdxl")
    assert not prior.encode_prompt(PromptSet("a chair")).negative.tokens.any()
    assert not prior.encode_prompt(PromptSet("a chair")).negative.pooled.any()
    assert prior.encode_prompt(PROMPTS).negative.tokens.any()
    assert load_tiny("sd").encode_prompt(PromptSet("a chair")).negative.tokens.any()


def test_gradients_reach_a_trainable_network_but_not_through_predict(model_folder: Callable[[str], Path]) -> None:
    prior: Any = load_prior(str(model_folder("sd")))
    assert not any(parameter.requires_grad for parameter in prior.network.parameters())
    prior.network.conv_out.requires_grad_(True)
    noisy, t, _ = draw(prior)
    conditioning = prior.encode_prompt(PROMPTS)
    assert not prior.predict(noisy, t, conditioning).conditional.requires_grad
    prior.denoise(noisy, t, conditioning.conditional(4, None)).square().sum().backward()
    assert prior.network.conv_out.weight.grad.abs().sum() > 0


def test_what_a_distilled_flux_is_told_matters(model_folder: Callable[[str], Path]) -> None:
    prior: Any = load_prior(str(model_folder("flux")), LoadOptions(resolution=16))
    noisy, t, _ = draw(prior)
    conditioning = prior.encode_prompt(PROMPTS)
    unguided = prior.predict(noisy, t, conditioning).conditional
    prior.distilled_scale = 3.5
    assert not torch.allclose(prior.predict(noisy, t, conditioning).conditional, unguided, atol=1e-5)


def test_images_of_another_form_and_sizes_that_do_not_fit_are_refused(
    load_tiny: Load, model_folder: Callable[[str], Path]
) -> None:
    with pytest.raises(UsageError, match=r"premultiplied RGBA images \[B, H, W, 4\], not \[1, 16, 16, 3\]"):
        load_tiny("sd").encode_image(torch.rand(1, 16, 16, 3), torch.ones(3))
    with pytest.raises(UsageError, match="multiple of 4 pixels, not 18"):
        load_prior(str(model_folder("sd")), LoadOptions(resolution=18))
    assert load_prior(str(model_folder("sd")), LoadOptions(resolution=32)).resolution == 32

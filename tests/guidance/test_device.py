"""Guidance computes where scenes and models are, from draws of the CPU: the same losses and gradients everywhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from gen3d.config.schema import (
    AppearanceConfig,
    CodeGuidanceConfig,
    DiffusionConfig,
    RegularizersConfig,
    ViewGuidanceConfig,
)
from gen3d.encoders.clip_models import ClipModel
from gen3d.encoders.minilm import FEATURES
from gen3d.geometry.cameras import orbit
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.guidance import rules
from gen3d.guidance.aligned_encoder import EncoderGuidance, MeanOfViews, points_of
from gen3d.guidance.augment import Augmentation
from gen3d.guidance.clip import ClipGuidance, ClipGuidanceConfig, facing, view_features
from gen3d.guidance.code import CODE_RULES, CodeGuidance
from gen3d.guidance.contract import Draw
from gen3d.guidance.diffusion import DiffusionGuidance
from gen3d.guidance.mixture import MixturePrior, isotropic
from gen3d.guidance.paths import FlowPath, scaled_linear_path
from gen3d.guidance.perpneg import perp_neg, view_negatives
from gen3d.guidance.reference import ReferenceImage, reference_loss
from gen3d.guidance.refine import refinement
from gen3d.guidance.timesteps import Window
from gen3d.guidance.variational import LowRankAdapter, VariationalRule, adam
from gen3d.guidance.view_distillation import ViewGuidance, expected_views
from gen3d.pipeline.render_terms import render_terms
from gen3d.priors.denoiser import CodeDenoiser
from gen3d.priors.view_prior import ViewPrior
from gen3d.rendering.appearance import Appearance
from gen3d.rendering.views import Render

CAMERAS = orbit(torch.tensor([20.0, 200.0]), torch.tensor([10.0, 70.0]), 16)
TEXT = nn.functional.normalize(torch.randn(FEATURES, generator=torch.Generator().manual_seed(1)), dim=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def render_on(device: str) -> Render:
    """Two views with normals, attached to leaves."""
    alpha = torch.rand(2, 16, 16, 1, generator=seeded())
    rgb = alpha * torch.rand(2, 16, 16, 3, generator=seeded(1))
    normal = alpha * nn.functional.normalize(torch.randn(2, 16, 16, 3, generator=seeded(2)), dim=-1)
    images = [image.to(device).requires_grad_() for image in (rgb, alpha, 3 * alpha, normal)]
    return Render(*images)


def same_everywhere(asked: Callable[[str], tuple[Tensor, Tensor]], devices: tuple[str, ...] = ("cuda:0",)) -> None:
    """Compares devices with the CPU. asked: takes a device; returns a loss there and what it is to be differentiated
    by.
    """
    found = {}
    for device in ("cpu", *devices):
        loss, leaf = asked(device)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.device == gradient.device == torch.device(device)
        found[device] = loss.detach().cpu(), gradient.cpu()
    assert found["cpu"][1].abs().max() > 0
    for device in devices:
        torch.testing.assert_close(found[device], found["cpu"], rtol=1e-3, atol=1e-6)


def denoiser() -> CodeDenoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CodeDenoiser(6, width=16, depth=2, condition=8)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3, generator=seeded())
    return network


@pytest.mark.parametrize("rule", [*CODE_RULES, "vsd"])
def test_codes_are_distilled_there(rule: str, pretended_cuda: None) -> None:
    config = CodeGuidanceConfig(weight=1.0, rule=rule, guidance_scale=3.0)

    def asked(device: str) -> tuple[Tensor, Tensor]:
        guidance = CodeGuidance.of(denoiser().to(device), TEXT, config, seeded())
        code = torch.randn(1, 6, generator=seeded(2)).to(device).requires_grad_()
        first = guidance(code, 0.2)  # the student of VSD has learned a step by the second one
        assert first.target.device == torch.device(device)
        return guidance(code, 0.3).loss, code

    same_everywhere(asked, ("cuda:0", "cuda:1"))


def test_views_are_distilled_there(pretended_cuda: None) -> None:
    torch.manual_seed(0)
    prior = ViewPrior(widths=(8, 16), groups=4).eval().requires_grad_(False)
    nn.init.normal_(prior.unet.conv_out.weight, std=0.1, generator=seeded())
    coarse = torch.rand(2, 16, 16, 4, generator=seeded(3))  # as the field's views are: on the CPU

    def asked(device: str) -> tuple[Tensor, Tensor]:
        there = copy.deepcopy(prior).to(device)
        guidance = ViewGuidance.of(there, TEXT, ViewGuidanceConfig(weight=1.0), seeded())
        drawn = torch.rand(2, 16, 16, 4, generator=seeded(4)).to(device).requires_grad_()
        step = guidance(drawn, coarse, CAMERAS, 0.3)
        assert step.wanted.device == torch.device(device)
        views = expected_views(there, TEXT, 0.5, coarse, CAMERAS)
        assert views.device.type == "cpu"
        return step.loss + 0 * views.mean().to(device), drawn

    same_everywhere(asked)


def towers_on(device: str) -> ClipModel:
    text: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    return ClipModel.of("tiny", model.to(device), open_clip.tokenize, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.mark.parametrize("background", ["dream_fields", "solid", "white"])
@pytest.mark.parametrize("tower", ["where the render is", "cpu"])
def test_clip_looks_at_renders_there(background: str, tower: str, pretended_cuda: None) -> None:
    config = ClipGuidanceConfig(
        directional=0.5, background=background, augmentation=Augmentation(crops=2), transmittance=1.0
    )

    def asked(device: str) -> tuple[Tensor, Tensor]:
        towers = towers_on("cpu" if tower == "cpu" else device)
        prior = torch.randn(2, 16, generator=seeded(5))
        guidance = ClipGuidance.of(towers, "a red chair", config, seeded(), prior=prior)
        render, start = render_on(device), render_on(device)
        texts = facing(view_features(towers, "a red chair"), CAMERAS)
        step = guidance(render, 3, start=replace(start, rgb=0.5 * start.rgb), texts=texts)
        return step.loss, render.rgb

    same_everywhere(asked)


def test_aligned_encoders_look_there(pretended_cuda: None) -> None:
    def asked(device: str) -> tuple[Tensor, Tensor]:
        guidance = EncoderGuidance(MeanOfViews(towers_on("cpu")), "a red chair")
        render = render_on(device)
        return guidance.from_views(render.rgb).loss, render.rgb

    same_everywhere(asked)


def test_points_are_drawn_from_clouds_there(pretended_cuda: None) -> None:
    def asked(device: str) -> tuple[Tensor, Tensor]:
        points = torch.randn(1, 50, 3, generator=seeded()).to(device).requires_grad_()
        areas = torch.rand(1, 50, generator=seeded(1)).to(device)
        drawn = points_of(SurfaceCloud(points, areas, points), 20, seeded(2))
        return drawn.square().mean(), points

    same_everywhere(asked)


@pytest.mark.parametrize("masked", [True, False])
def test_a_reference_image_is_compared_there(masked: bool, pretended_cuda: None) -> None:
    reference = ReferenceImage(torch.rand(16, 16, 4, generator=seeded(8)), masked)

    def asked(device: str) -> tuple[Tensor, Tensor]:
        render = render_on(device)
        one = Render(render.rgb[:1], render.alpha[:1], render.depth[:1])
        return reference_loss(one, reference, 1.0, torch.rand(3, generator=seeded())), render.rgb

    same_everywhere(asked)


RULES = {**rules.RULES, "refinement": partial(refinement, steps=2)}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("path", [FlowPath(), scaled_linear_path()], ids=["flow", "discrete"])
def test_rules_compute_where_the_samples_are(rule: Any, path: Any, pretended_cuda: None) -> None:
    mixture = isotropic(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), 0.1, labels=("left", "right"))
    found = []
    for device in ("cpu", "cuda:1"):
        clean = torch.randn(3, 2, generator=seeded()).to(device)
        noise = torch.randn(3, 2, generator=seeded(1)).to(device)
        t = torch.tensor([0.3, 0.5, 0.7], device=device)
        gradient = rule(Draw(clean, noise, t, path, mixture.halves("left", path), 3.0, seeded(2)))
        assert gradient.device == torch.device(device)
        found.append(gradient.cpu())
    torch.testing.assert_close(*found)


def test_a_mixture_on_a_device_draws_as_on_the_cpu(pretended_cuda: None) -> None:
    mixture = isotropic(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]), 0.1)
    moved = replace(
        mixture, **{name: getattr(mixture, name).to("cuda:0") for name in ("means", "covariances", "weights")}
    )
    drawn = moved.sample(5, seeded())
    assert drawn.device == torch.device("cuda:0")
    torch.testing.assert_close(drawn.cpu(), mixture.sample(5, seeded()))


def test_a_student_learns_there(pretended_cuda: None) -> None:
    mixture, path = isotropic(torch.zeros(1, 6), 0.5), FlowPath()
    found = []
    for device in ("cpu", "cuda:0"):
        network = denoiser().to(device)
        adapter = LowRankAdapter(network, view_layer="time", view_size=3)
        assert {parameter.device for parameter in adapter.parameters()} == {torch.device(device)}

        def student(noisy: Tensor, t: Tensor, network: CodeDenoiser = network) -> Tensor:
            return network(noisy, t, TEXT.to(noisy).expand(len(noisy), -1))

        rule = VariationalRule(
            adapter, student, adam(adapter, 0.1), Window(0.1, 0.9), updates=2, views=CAMERAS.positions
        )
        clean, noise = (torch.randn(2, 6, generator=seeded(seed)).to(device) for seed in (0, 1))
        draw = Draw(
            clean, noise, torch.tensor([0.4, 0.6], device=device), path, mixture.halves("0", path), 2.0, seeded(3)
        )
        rule(draw)
        found.append(rule(draw).cpu())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", ["sds", "refine", "reconstruction"])
@pytest.mark.parametrize("channels", [3, 4])
def test_diffusion_looks_at_renders_there(rule: str, channels: int, pretended_cuda: None) -> None:
    means = torch.rand(2, channels * 16, generator=seeded(6))
    prior = MixturePrior(isotropic(means, 0.1, labels=("a red chair", "a box")), scaled_linear_path(), 4, channels)
    config = DiffusionConfig(weight=1.0, rule=rule, view_prompts=False, refine_steps=3, clip_pixels=1.0, t_max=0.8)

    def asked(device: str) -> tuple[Tensor, Tensor]:
        guidance = DiffusionGuidance(prior, "a red chair", config, seeded())
        render = render_on(device)
        return guidance(render, CAMERAS, 0.5).loss, render.rgb

    same_everywhere(asked)


def test_perp_neg_weighs_cameras_of_the_cpu(pretended_cuda: None) -> None:
    found = []
    for device in ("cpu", "cuda:0"):
        noises = [torch.randn(2, 4, generator=seeded(seed)).to(device) for seed in range(4)]
        weights = view_negatives(CAMERAS).to(noises[0]).unbind(1)
        found.append(perp_neg(noises[0], noises[1], noises[2:], weights, 7.0).cpu())
    torch.testing.assert_close(*found)


SHOWN = {
    "studio": {"background": "learned"},
    "lambertian": {"background": "dream_fields"},
    "textureless": {"background": "solid"},
    "albedo": {"background": "learned"},
    "normal": {"background": "solid"},
}


@pytest.mark.parametrize("mode", SHOWN)
def test_appearances_are_made_there(mode: str, pretended_cuda: None) -> None:
    chances = {name: float(name == mode) for name in SHOWN}
    config = AppearanceConfig(**chances, **SHOWN[mode])  # type: ignore[arg-type]

    def asked(device: str) -> tuple[Tensor, Tensor]:
        render = render_on(device)
        outputs = frozenset({"rgb", "alpha", "depth", "normal"})
        shown = Appearance(config, outputs, seeded(), device)(render, CAMERAS)
        assert shown.background is not None
        leaf = render.normal if mode == "normal" else render.alpha if mode == "textureless" else render.rgb
        assert leaf is not None
        return (shown.rgb * shown.background).square().mean(), leaf

    same_everywhere(asked)


def test_a_background_is_learned_there(pretended_cuda: None) -> None:
    config, outputs = AppearanceConfig(background="learned"), frozenset({"rgb", "alpha"})
    for device in ("cpu", "cuda:1"):
        (group,) = Appearance(config, outputs, seeded(), device).param_groups()
        assert group["params"][0].device == torch.device(device)


def test_render_terms_are_added_there(pretended_cuda: None) -> None:
    weights = {"opacity": 1.0, "sparsity": 1.0, "entropy": 1.0, "depth_smoothness": 1.0, "orientation": 1.0}

    def asked(device: str) -> tuple[Tensor, Tensor]:
        render = render_on(device)
        terms = render_terms(render, CAMERAS, RegularizersConfig(**weights))
        assert terms.keys() == weights.keys()
        return torch.stack([*terms.values()]).sum(), render.alpha

    same_everywhere(asked)

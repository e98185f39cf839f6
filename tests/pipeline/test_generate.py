"""The whole pipeline with a tiny prior: files, reproducibility, interruption, and the watchdog."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from gen3d.assets.read import read_splats
from gen3d.config.load import load_config, load_stages
from gen3d.config.representations import REPRESENTATIONS
from gen3d.config.schema import KernelsConfig, RunConfig, SplatsConfig
from gen3d.errors import Gen3DError, UsageError
from gen3d.kernels import dispatch
from gen3d.pipeline.events import Said
from gen3d.pipeline.field_views import field_surface
from gen3d.pipeline.models import Models
from gen3d.pipeline.run import Run
from gen3d.pipeline.session import run_in_folder
from gen3d.pipeline.watchdog import Watchdog
from gen3d.priors.shape_prior import ShapePrior
from gen3d.priors.view_prior import ViewPrior
from gen3d.representations.adaptive import SplatScene
from gen3d.representations.splats import GaussianSplats
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.progress import LogReporter
from gen3d.runtime.run_folder import RunFolder

SMALL = [
    "splats.count=400", "splats.max_count=800", "optimization.steps=12", "optimization.resolution=32",
    "optimization.views_per_step=2", "field_views.grid=24", "field_views.views=6", "field_views.refresh_every=6",
    "prior.sample_steps=4", "prior.candidates=2", "export.image_size=48", "export.video_size=32",
    "export.video_frames=4", "export.mesh_grid=32", "export.mesh_faces=2000",
]  # fmt: skip


@pytest.fixture
def small_config(tmp_path: Path, tiny_prior: ShapePrior, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: tiny_prior))
    return load_config(None, SMALL, prompt="a red ball", out=str(tmp_path))


def run_once(
    config: RunConfig, reporter: LogReporter | None = None, then: Sequence[RunConfig] = ()
) -> tuple[RunFolder, dict[str, Path]]:
    run = RunFolder.create(config.out, config.recipe, config.prompt)
    with StopFlag() as stop:
        result = run_in_folder([config, *then], run, reporter or LogReporter(), stop)
    assert result.summary
    return run, result.files


def test_a_run_writes_every_file(small_config: RunConfig) -> None:
    run, files = run_once(small_config)
    assert set(files) == {"preview", "splats", "video", "mesh", "viewer", "metrics"}
    for path in files.values():
        assert path.parent == run.folder
        assert path.stat().st_size > 100
    metrics = json.loads(files["metrics"].read_text())
    assert metrics["mesh"]["watertight"]
    assert metrics["mesh"]["iou"] > 0.85
    assert metrics["nearest_training_object"]["name"] in "abcd"
    assert 100 < metrics["peak_memory_mb"] < 100_000
    assert not list(run.folder.glob("*.tmp*"))


def test_the_kernels_of_the_settings_compute_the_run(small_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    load, used = dispatch.Backend.load, set()

    def noted(self: dispatch.Backend) -> object:
        used.add(self.name)
        return load(self)

    monkeypatch.setattr(dispatch.Backend, "load", noted)
    optimization = replace(small_config.optimization, steps=2, resolution=16)
    config = replace(small_config, kernels=KernelsConfig("torch"), optimization=optimization)
    run = Run([config], Models())
    said = []
    for event in run.events():
        assert dispatch.choose("splat", torch.zeros(1)).name == dispatch.choose("raster", torch.zeros(1)).name
        said += [event.text] if isinstance(event, Said) else []
    assert run.finished
    assert used == {"torch"}
    assert not any("kernels" in text for text in said)


def test_kernels_that_cannot_compute_on_the_device_are_refused(small_config: RunConfig) -> None:
    for backend in ("gsplat", "triton"):
        config = replace(small_config, kernels=KernelsConfig(backend))
        with pytest.raises(UsageError) as caught:
            Run([config], Models())
        assert str(caught.value) == (
            f"'kernels.backend' is '{backend}', which computes on CUDA and cannot compute on cpu: leave it at 'auto', "
            "or use --device cuda."
        )


def test_operations_that_a_backend_does_not_have_are_named(
    small_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "defect", lambda module, device: None)
    run = Run([replace(small_config, kernels=KernelsConfig("nerfacc"))], Models())
    first = next(run.events())
    assert isinstance(first, Said)
    assert first.text.startswith("'nerfacc' has no kernels for splat, surface, raster, march, ")


TINY = {
    "dmtet": ["dmtet.grid=20", "dmtet.color_grid=16"],
    "mesh": ["mesh.faces=600", "mesh.texture_size=64"],
    "points": ["points.count=800"],
    "primitives": ["primitives.count=3", "primitives.fit_steps=40"],
    "nerf": ["nerf.rows=4096", "nerf.levels=6", "nerf.finest=64", "nerf.fit_steps=150"],
    "triplane": ["triplane.resolution=32", "triplane.fit_steps=80", "triplane.samples=48", "triplane.occupancy=32"],
    "sdf": ["sdf.rows=4096", "sdf.levels=6", "sdf.finest=64", "sdf.fit_steps=80", "sdf.settle_steps=2"],
    "voxels": ["voxels.grid=40", "voxels.coarse_grid=32", "voxels.occupancy=32", "voxels.samples=48"],
}
"""Settings that make the other representations small."""


@pytest.mark.parametrize("name", [name for name in REPRESENTATIONS if name != "splats"])
def test_every_representation_goes_from_prompt_to_files(
    name: str, tmp_path: Path, tiny_prior: ShapePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShapePrior, "load", staticmethod(lambda folder=None: tiny_prior))
    settings = [*SMALL, f"representation={name}", *TINY.get(name, [])]
    _, files = run_once(load_config(None, settings, prompt="a red ball", out=str(tmp_path)))
    assert {"preview", "splats", "video", "mesh", "viewer", "metrics"} <= set(files)
    assert all(path.stat().st_size > 100 for path in files.values())
    metrics = json.loads(files["metrics"].read_text())
    assert metrics["representation"] == name
    assert metrics["mesh"]["iou"] > 0.85
    assert ("parts" in files) == (name == "primitives")


def test_view_dependent_colours_reach_the_splat_file(small_config: RunConfig) -> None:
    small_config.splats.sh_degree = 1
    _, files = run_once(small_config)
    rest = read_splats(files["splats"]).sh_rest
    assert rest is not None
    assert rest.shape[1:] == (3, 3)
    assert rest.abs().max() > 0


def test_the_same_seed_gives_the_same_bytes(small_config: RunConfig) -> None:
    first, second = (run_once(small_config)[1]["splats"].read_bytes() for _ in range(2))
    assert first == second
    small_config.seed = 1
    assert run_once(small_config)[1]["splats"].read_bytes() != first


@pytest.mark.parametrize(("section", "setting"), [("view_prior", "weight"), ("field_views", "detail")])
def test_the_view_prior_changes_the_asset_and_repeats_itself(
    small_config: RunConfig, section: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    prior = ViewPrior(widths=(8, 16), groups=4).eval().requires_grad_(False)
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.1)
    monkeypatch.setattr(ViewPrior, "load", staticmethod(lambda folder=None: prior))
    setattr(getattr(small_config, section), setting, 0.0)
    without = run_once(small_config)[1]["splats"].read_bytes()
    setattr(getattr(small_config, section), setting, 1.0)
    first, second = (run_once(small_config)[1]["splats"].read_bytes() for _ in range(2))
    assert first == second != without


def test_the_loss_falls(small_config: RunConfig) -> None:
    """The views' loss, from grey splats of the wrong size on, ends below half of its start."""
    small_config.optimization.steps = 60
    small_config.splats.lr_color = 0.05
    small_config.clip.weight = 0  # the guide does not take what a random prior draws for a red ball
    losses: list[float] = []

    class Watcher(LogReporter):
        def step(self, step, total, values):  # type: ignore[no-untyped-def]
            losses.append(values["views"])

    original = SplatScene.from_shape

    def grey(shape, settings, generator):  # type: ignore[no-untyped-def]
        scene = original(shape, settings, generator)
        with torch.no_grad():
            scene.splats.sh.zero_()
            scene.splats.means.mul_(0.8)
        return scene

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SplatScene, "from_shape", staticmethod(grey))
        run_once(small_config, Watcher())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_stop_exports_what_there_is(small_config: RunConfig) -> None:
    run = RunFolder.create(small_config.out, small_config.recipe, small_config.prompt)
    with StopFlag() as stop:
        stop.set()
        files = run_in_folder([small_config], run, LogReporter(), stop).files
    assert files["splats"].is_file()
    assert files["mesh"].is_file()


def test_a_missing_gpu_is_said(small_config: RunConfig) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    small_config.device = "cuda"
    with pytest.raises(Gen3DError, match="--device cpu"):
        run_once(small_config)


def test_splats_lie_on_the_surface_of_their_field(tiny_prior: ShapePrior) -> None:
    surface = field_surface(tiny_prior, torch.zeros(1, tiny_prior.code_size), 32)
    radius = surface.vertices.norm(dim=1)
    scene = SplatScene.from_shape(surface, SplatsConfig(count=500), torch.Generator().manual_seed(0))
    assert (scene.splats.means.norm(dim=1) - radius.mean()).abs().max() < 0.05
    cloud = scene.surface_cloud()
    assert cloud.areas.sum().item() == pytest.approx(surface.area, rel=1e-4)
    assert cloud.points.requires_grad


def splats() -> SplatScene:
    points = GaussianSplats.from_points(torch.rand(20, 3) - 0.5, torch.rand(20, 3))
    return SplatScene(points, SplatsConfig(), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("loss", "alpha", "said"),
    [(float("nan"), 0.3, "loss"), (1.0, 0.0, "empty"), (1.0, 1.0, "fills"), (1.0, float("nan"), "empty")],
)
def test_the_watchdog_names_the_trouble(loss: float, alpha: float, said: str) -> None:
    trouble = Watchdog(splats()).before_update(torch.tensor(loss), torch.full((1, 4, 4, 1), alpha))
    assert trouble is not None
    assert said in trouble


def test_the_watchdog_goes_back() -> None:
    scene = splats()
    watchdog = Watchdog(scene)
    before = scene.splats.means.detach().clone()
    seen = torch.tensor(0.5), torch.full((1, 4, 4, 1), 0.3)
    assert watchdog.before_update(*seen) is None
    assert watchdog.after_update() is None
    scene.splats.quats.grad = torch.full_like(scene.splats.quats, torch.nan)
    assert watchdog.before_update(*seen) == "a gradient is not a number"
    with torch.no_grad():
        scene.splats.means.fill_(float("nan"))
    assert watchdog.after_update() == watchdog.at_the_end() == "a parameter is not a number"
    watchdog.restore()
    assert torch.equal(scene.splats.means, before)
    assert not watchdog.exhausted


@pytest.mark.parametrize("kind", ["sphere", "box", "blob"])
def test_a_scene_may_start_as_a_solid(kind: str, small_config: RunConfig) -> None:
    small_config.start.kind = kind
    small_config.optimization.steps = 2
    _, files = run_once(small_config)
    assert json.loads(files["metrics"].read_text())["mesh"]["watertight"]


def test_stages_hand_the_scene_over(small_config: RunConfig, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(
        "representation: points\npoints: {count: 600}\noptimization: {steps: 3, resolution: 32, views_per_step: 2}\n"
        "field_views: {grid: 24, views: 6}\nexport: {image_size: 48, video_size: 32, video_frames: 4, mesh_grid: 32}\n"
    )
    first, *then = load_stages(
        None, [*SMALL, f"then={second}", "stage1.optimization.steps=3", "stage2.optimization.steps=3"],
        prompt="a red ball", out=str(tmp_path),
    )  # fmt: skip
    _, files = run_once(first, then=then)
    metrics = json.loads(files["metrics"].read_text())
    assert metrics["representation"] == "points"
    assert metrics["mesh"]["iou"] > 0.8


def test_clip_may_guide_alone_from_a_solid(small_config: RunConfig) -> None:
    small_config.start.kind = "sphere"
    small_config.code.weight = small_config.field_views.weight = 0.0
    small_config.clip.weight = 1.0
    small_config.optimization.steps = 3
    first, second = (run_once(small_config)[1]["splats"].read_bytes() for _ in range(2))
    assert first == second
    small_config.clip.weight = 0.0
    with pytest.raises(UsageError, match="Nothing guides"):
        run_once(small_config)


def test_a_diffusion_model_that_is_not_there_is_a_sentence(small_config: RunConfig) -> None:
    small_config.diffusion.weight = 1.0
    with pytest.raises(UsageError, match="has a weight but no model"):
        run_once(small_config)
    small_config.diffusion.models = ("nobody/nothing",)
    with pytest.raises(Gen3DError, match="nobody/nothing"):
        run_once(small_config)


def test_of_several_candidates_the_best_draft_is_finished(small_config: RunConfig) -> None:
    small_config.candidates = 3
    run, files = run_once(small_config)
    ranking = json.loads((run.folder / "candidates.json").read_text())
    drafts = ranking["drafts"]
    assert [draft["seed"] for draft in drafts] == [0, 1, 2]
    assert len({draft["clip_score"] for draft in drafts}) == 3
    best = min(drafts, key=lambda draft: (draft["rank"], -draft["probability"]))
    assert ranking["finished"] == best["seed"]
    again = run_once(small_config)[1]
    assert files["splats"].read_bytes() == again["splats"].read_bytes()


def test_settings_change_what_guides_see_and_what_is_regularised(small_config: RunConfig) -> None:
    """CLIP alone guides a ball of primitives: each setting leads elsewhere, and names a term or a part of the step."""
    small_config.representation, small_config.start.kind = "primitives", "sphere"
    small_config.primitives.count, small_config.primitives.fit_steps = 2, 20
    small_config.code.weight = small_config.field_views.weight = 0.0
    small_config.clip.weight, small_config.optimization.steps = 1.0, 2
    small_config.export.texture_size, small_config.export.viewer = 0, False
    terms: list[set[str]] = []

    class Watcher(LogReporter):
        def step(self, step, total, values):  # type: ignore[no-untyped-def]
            terms.append(set(values))

    files = run_once(small_config, Watcher())[1]
    results = {"default": files["mesh"].read_bytes()}
    assert terms[-1] == {"loss", "clip", "regular"}
    (stage,) = json.loads(files["metrics"].read_text())["stages"]
    assert stage["steps"] == 2
    assert {"clip", "guides' gradients", "render", "backward"} <= set(stage["shares"])
    assert 0 < stage["shares"]["clip"] < stage["guidance_share"] < 1
    for section, values in {
        "learned": {"background": "learned"},
        "normal": {"studio": 0.0, "normal": 1.0},
    }.items():
        with pytest.MonkeyPatch.context() as patch:
            for name, value in values.items():
                patch.setattr(small_config.appearance, name, value)
            results[section] = run_once(small_config)[1]["mesh"].read_bytes()
    small_config.regularizers.sparsity = small_config.regularizers.orientation = 1.0
    results["terms"] = run_once(small_config, Watcher())[1]["mesh"].read_bytes()
    assert {"sparsity", "orientation"} <= terms[-1]
    assert len(set(results.values())) == len(results)
    small_config.representation = "points"
    with pytest.raises(UsageError, match="orientation"):
        run_once(small_config)


def test_guides_work_together_and_fade(small_config: RunConfig, tmp_path: Path) -> None:
    image = torch.zeros(48, 48, 4)
    image[12:36, 12:36] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    Image.fromarray((image * 255).byte().numpy()).save(tmp_path / "blue.png")
    small_config.code.weight = small_config.field_views.weight = 0.0
    small_config.optimization.steps = 40
    small_config.clip.weight, small_config.clip.weight_final = 0.02, 0.0
    small_config.encoder.weight = 0.02
    small_config.reference.weight, small_config.reference.image = 10.0, str(tmp_path / "blue.png")
    small_config.prior.select = "plausibility"
    small_config.splats.lr_color = 0.1
    run, files = run_once(small_config)
    shares = json.loads(files["metrics"].read_text())["stages"][0]["shares"]
    assert {"clip", "encoder", "reference"} <= set(shares)
    colors = (0.5 + 0.2820948 * read_splats(files["splats"]).sh_dc).mean(0)
    small_config.reference.weight = 0.0
    without = (0.5 + 0.2820948 * read_splats(run_once(small_config)[1]["splats"]).sh_dc).mean(0)
    assert colors[2] - colors[0] > without[2] - without[0] + 0.05
    assert run.folder.is_dir()


def test_a_reference_that_is_no_image_is_refused(small_config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    small_config.reference.weight = 1.0
    for path, message in (("", "no image"), ("missing.png", "does not exist"), ("broken.png", "cannot be read")):
        small_config.reference.image = str(tmp_path / path) if path else ""
        with pytest.raises(UsageError, match=message):
            run_once(small_config)

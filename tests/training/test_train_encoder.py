"""Every system on a corpus of a dozen coloured shapes: it trains, is written, and is searched with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gen3d.cli import main
from gen3d.cli.train import ENCODER_KINDS
from gen3d.corpus.store import Corpus, ObjectRecord, write_records
from gen3d.encoders.aligned import load_encoder
from gen3d.encoders.trained import load_flow, load_voxel_maker
from gen3d.errors import Gen3DError, UsageError
from gen3d.retrieval.search import search
from gen3d.runtime.interrupt import StopFlag
from gen3d.runtime.paths import packaged_weights
from gen3d.runtime.tensors import load_weights
from gen3d.training.checkpoint import Budget
from gen3d.training.encoder_data import EncoderData, hard_batch, says_something, texts_of
from gen3d.training.systems.base import Options
from gen3d.training.systems.table import KINDS
from gen3d.training.train_encoder import train_encoder
from tests.toy_clip import SHAPES, TONES, draw_shape

VIEWS = 4
TINY_VIEW = {"layers": 2, "width": 16, "head_width": 8, "patch_size": 16, "image_size": 64}
TINY = {
    "clip": Options(batch=6, sizes=TINY_VIEW),
    "text2shape": Options(batch=6, sizes={"word": 8, "text": (8,), "hidden": 8, "shape": (8, 8, 8), "made": (8, 8, 8)}),
    "openshape": Options(
        batch=10, points=64, sizes={"width": 16, "layers": 1, "heads": 2, "groups": 8, "neighbours": 8}
    ),
    "duoduo": Options(batch=6, sizes=TINY_VIEW),
    "align": Options(batch=6, each=2, nested=(16, 32), sizes=TINY_VIEW),
    "clipforge": Options(batch=6, sizes={"layers": 2, "hidden": 16}),
}
TINY["text2shape-gan"] = TINY["text2shape"]


def write_shapes(folder: Path) -> Corpus:
    """Flat shapes in three colours, as the arrays of a corpus; the last one is held out, and one has a useless name."""
    rng, kinds = np.random.default_rng(0), [(shape, tone) for shape in SHAPES[:4] for tone in TONES]
    count, points = len(kinds), 256
    views = np.zeros((count, VIEWS, 64, 64, 4), np.uint8)
    surface, rgb = np.zeros((count, points, 3), np.float16), np.zeros((count, points, 3), np.uint8)
    records = []
    for i, (shape, tone) in enumerate(kinds):
        color = np.round(255 * np.array(TONES[tone]))
        for view in range(VIEWS):
            mask = draw_shape(shape, 64, 16 + 2 * view)
            views[i, view, ..., 3], views[i, view, ..., :3] = 255 * mask, color
        y, x = np.nonzero(draw_shape(shape, 64, 24))
        pick = rng.integers(len(x), size=points)
        surface[i] = np.stack([x[pick] / 32 - 1, 1 - y[pick] / 32, np.zeros(points)], -1)
        rgb[i] = color
        name = f"{tone} {shape}"
        records.append(
            ObjectRecord(
                id=f"toy/{i}", name="IMG_2041.obj" if i == 1 else name, nouns=[name], category="toys",
                captions=[name, f"a {name}", f"a flat {name}"], source="toy", license="CC0 1.0", creator="gen3d",
                held_out=i == count - 1, evaluate=True, area=1.0,
            )
        )  # fmt: skip
    for name, array in (
        ("views", views), ("surface", surface), ("surface_rgb", rgb),
        ("cameras", np.zeros((count, VIEWS, 2), np.float32)),
        ("grid", rng.integers(-127, 127, (count, 40, 40, 40)).astype(np.int8)),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", array)
    write_records(folder, records)
    return Corpus(folder)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def text2shape(shapes: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text2shape")
    options = TINY["text2shape"]
    train_encoder("text2shape", shapes, folder / "state", folder, Budget(steps=2), options=options, device="cpu")
    return folder


def test_the_command_line_knows_all_kinds():
    assert ENCODER_KINDS == KINDS


@pytest.mark.parametrize("kind", ["text2shape", "openshape", "duoduo", "align"])
def test_a_trained_encoder_is_searched_with(kind, shapes, text2shape, tmp_path):
    if kind == "text2shape":
        tmp_path = text2shape
    else:
        state = tmp_path / "state"
        train_encoder(kind, shapes, state, tmp_path, Budget(steps=3), options=TINY[kind], device="cpu")
    encoder = load_encoder(tmp_path)
    assert encoder.name == f"gen3d-{kind}"
    result = search("a red square", shapes.folder, encoder=tmp_path, index=tmp_path / "index")
    assert len(result) == 10
    assert result.left_out == []
    pictures = torch.rand(2, 80, 60, 3)
    if kind == "text2shape":
        with pytest.raises(Gen3DError, match="no pictures"):
            encoder.embed_pictures(pictures)
    else:
        assert encoder.embed_pictures(pictures).shape == (2, encoder.dimension)


def test_a_clip_with_a_transformer_is_trained_and_what_begins_with_it_trains_its_joint_attention_alone(
    shapes, tmp_path
):
    clip, duoduo = tmp_path / "clip", tmp_path / "duoduo"
    train_encoder("clip", shapes, tmp_path / "a", clip, Budget(steps=2), options=TINY["clip"], device="cpu")
    assert load_encoder(clip).embed_text(["a red square"]).isfinite().all()
    train_encoder(
        "duoduo", shapes, tmp_path / "b", duoduo, Budget(steps=3), clip=clip, options=Options(batch=6), device="cpu"
    )
    before, after = load_weights(clip / "clip.safetensors"), load_weights(duoduo / "encoder.safetensors")
    changed = {name for name, value in after.items() if not torch.equal(value, before[f"visual.{name}"])}
    assert changed
    assert all(name.startswith("transformer.resblocks.1.attn.") for name in changed)
    assert (duoduo / "clip.safetensors").read_bytes() == (clip / "clip.safetensors").read_bytes()
    assert load_encoder(duoduo).embed_text(["a red square"]).shape == (1, 256)


def test_the_two_that_make_shapes(shapes, text2shape, tmp_path):
    train_encoder(
        "text2shape-gan", shapes, tmp_path / "a", tmp_path / "gan", Budget(steps=6), clip=text2shape,
        options=TINY["text2shape"], device="cpu",
    )  # fmt: skip
    maker, words = load_voxel_maker(tmp_path / "gan")
    voxels = maker(words(["a red square", "a blue disc"]), torch.zeros(2, 8))
    assert voxels.shape == (2, 4, 32, 32, 32)
    train_encoder(
        "clipforge", shapes, tmp_path / "b", tmp_path / "flow", Budget(steps=2), options=TINY["clipforge"], device="cpu"
    )
    flow = load_flow(tmp_path / "flow")
    codes = flow.inverse(torch.randn(2, flow.sizes.code), load_encoder().embed_text(["a red square", "a blue disc"]))
    assert codes.isfinite().all()
    with pytest.raises(Gen3DError, match="makes shapes of text but embeds none"):
        load_encoder(tmp_path / "flow")


def test_resuming_equals_an_uninterrupted_training(shapes, tmp_path):
    def train(folder: str, stop: StopFlag | None = None, reporter=None) -> Path | None:
        return train_encoder(
            "openshape", shapes, tmp_path / folder, tmp_path / f"{folder}-out", Budget(steps=24), seed=3,
            options=TINY["openshape"], device="cpu", stop=stop, reporter=reporter,
        )  # fmt: skip

    stop = StopFlag()

    class StopAtTen:
        def stage(self, name: str) -> None: ...
        def note(self, message: str) -> None: ...
        def warn(self, message: str) -> None: ...
        def step(self, step: int, total: int, values: dict[str, float]) -> None:
            if "loss" in values:
                stop.set()

    whole = train("whole")
    assert train("parts", stop, StopAtTen()) is None
    rest = train("parts")
    first, second = load_weights(whole), load_weights(rest)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_features_of_the_frozen_clip_are_computed_once(shapes, tmp_path):
    from gen3d.encoders.view_averaged import ViewAveragedClip

    clip = ViewAveragedClip.of_folder(packaged_weights())
    stages = []

    class Stages:
        def stage(self, name: str) -> None:
            stages.append(name)

        def step(self, *_) -> None: ...

    first = EncoderData(shapes).frozen(clip, tmp_path, Stages())
    second = EncoderData(shapes).frozen(clip, tmp_path, Stages())
    assert torch.equal(first.views, second.views)
    assert len(stages) == 2
    redrawn = EncoderData(shapes)
    redrawn.__dict__["_views"] = 255 - np.asarray(shapes.array("views"))
    assert not torch.equal(redrawn.frozen(clip, tmp_path, Stages()).views, first.views), "they are of other renders"
    stages.pop()
    raw = EncoderData(shapes, enriched=False)
    assert len(raw.frozen(clip, tmp_path, Stages()).texts) == len(raw.captions) == 10
    assert len(stages) == 3  # other captions of the same views
    with torch.no_grad():
        views = clip.embed_pictures(EncoderData(shapes).images(torch.tensor([2]), torch.arange(VIEWS))[0])
    assert torch.allclose(views, first.views[2], atol=1e-3)


def test_held_out_objects_are_not_trained_on_and_useless_texts_are_dropped_but_not_their_shapes(shapes):
    data = EncoderData(shapes, enriched=False)
    assert len(data) == len(shapes) - 1
    assert data.caption_count.tolist() == [1, 0] + 9 * [1]
    assert 1 in data.draw(11, torch.Generator().manual_seed(0)).tolist()
    assert 1 not in data.draw(11, torch.Generator().manual_seed(0), captioned=True).tolist()
    assert len(EncoderData(shapes, enriched=False, filtered=False).captions) == 11
    own = ["green square", "a green square", "a flat green square"]
    assert texts_of(shapes.records[1], enriched=True, filtered=True) == own


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a wooden chair", True), ("Chair no. 2", True), ("IMG_2041", False), ("model.fbx", False), ("20190412", False),
        ("12:30:11", False), ("---", False), ("", False), ("x", False), ("3d cat", True), ("chair_final", False),
    ],
)  # fmt: skip
def test_what_says_something(text, kept):
    assert says_something(text) == kept


def test_captions_are_their_objects_own_and_differ_where_there_are_enough(shapes):
    data, generator = EncoderData(shapes), torch.Generator().manual_seed(0)
    for _ in range(5):
        objects = data.draw(6, generator)
        for item, row in zip(objects.tolist(), data.draw_captions(objects, 2, generator).tolist(), strict=True):
            assert len(set(row)) == 2
            assert all(int(data.caption_owner[index]) == item for index in row)


def test_a_text_of_several_objects_fits_all_of_them(shapes):
    corpus = Corpus(shapes.folder)
    corpus.records[0].captions.append(corpus.records[1].captions[1])
    data = EncoderData(corpus)
    text = data.text_ids[data.captions.index(corpus.records[1].captions[1])]
    assert data.fits[:, text].nonzero().flatten().tolist() == [0, 1]
    assert sorted(set(data.fits.sum(0).tolist())) == [1, 2]
    assert all(data.fits[owner, text] for owner, text in zip(data.caption_owner, data.text_ids, strict=True))


def test_a_hard_batch_holds_seeds_and_their_neighbours_once():
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]]), dim=-1)
    objects, seed = hard_batch(features, torch.tensor([0, 2]), 2)
    assert sorted(objects.tolist()) == [0, 1, 2, 3]
    assert {int(o): int(s) for o, s in zip(objects, seed, strict=True)} == {0: 0, 1: 0, 2: 1, 3: 1}


def test_what_cannot_be_meant_is_refused(shapes, tmp_path, capsys):
    with pytest.raises(UsageError, match="no kind of encoder"):
        train_encoder("uni3d", shapes, tmp_path, tmp_path, Budget(steps=1))
    with pytest.raises(UsageError, match="needs the folder of a trained 'text2shape'"):
        train_encoder("text2shape-gan", shapes, tmp_path, tmp_path, Budget(steps=1))
    assert main(["train", "encoder", str(shapes.folder), "--kind", "uni3d"]) == 2
    assert main(["train", "encoder", str(shapes.folder), "--kind", "align", "--steps", "0"]) == 2
    assert "must lie between 1 and" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_as_one_and_bf16_works(shapes, tmp_path):
    """The same loss and gradient of features that two processes made, and of one batch twice as large."""
    script = tmp_path / "two.py"
    script.write_text(
        "import torch, torch.distributed as d, sys\n"
        "from gen3d.training import losses\n"
        "from gen3d.training.systems.base import everyone, everyones_owners\n"
        "d.init_process_group('gloo')\n"
        "r = d.get_rank()\n"
        "g = torch.Generator().manual_seed(0)\n"
        "x, y, w = torch.randn(4, 6, generator=g), torch.randn(8, 6, generator=g), torch.randn(6, 6, generator=g)\n"
        "owner = torch.arange(4).repeat_interleave(2)\n"
        "n = torch.nn.functional.normalize\n"
        "w.requires_grad_()\n"
        "one = losses.multi_positive(n(x @ w, dim=-1), n(y @ w, dim=-1), owner, torch.tensor(5.0))\n"
        "(whole,) = torch.autograd.grad(one, w)\n"
        "mine, own = n(x[2*r:2*r+2] @ w, dim=-1), n(y[4*r:4*r+4] @ w, dim=-1)\n"
        "part = owner[4*r:4*r+4] - 2*r\n"
        "two = losses.multi_positive(everyone(mine), everyone(own), everyones_owners(part, 2), torch.tensor(5.0))\n"
        "(gradient,) = torch.autograd.grad(two, w)\n"
        "d.all_reduce(gradient); gradient /= 2  # what DDP does\n"
        "assert torch.allclose(one, two, atol=1e-6)\n"
        "assert torch.allclose(whole, gradient, atol=1e-6), (whole - gradient).abs().max()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    subprocess.run([*command, str(script)], check=True, env=environment, timeout=300)
    train = [
        "-m", "gen3d", "train", "encoder", str(shapes.folder), "--kind", "openshape", "--steps", "4", "--cpu", "--bf16",
        "--batch-size", "5", "--points", "64", "--checkpoints", str(tmp_path / "state"), "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
    subprocess.run([*launch, *train], check=True, env=environment, timeout=300)
    assert load_encoder(tmp_path / "out").embed_text(["a red square"]).isfinite().all()

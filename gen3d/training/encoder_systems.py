"""The systems that `gen3d train encoder` trains: for each its networks, its batches, its loss and its file.

The networks and the loss are one module, so that one process trains it as several do: features of all processes are
gathered before they are compared, and a batch of two processes gives the gradient of one twice as large. Beyond the
papers, a text that is another object's as well, as "a chair" is of every chair, counts as no negative of that object.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen3d.corpus.fields import TRUNCATION
from gen3d.encoders.align import NESTED, AlignModel
from gen3d.encoders.clip_mini import build_clip, encode_text, normalise_images, save_clip
from gen3d.encoders.conditional_flow import ConditionalFlow, FlowSizes
from gen3d.encoders.point_encoder import PointEncoder, PointSizes
from gen3d.encoders.text2shape import Text2Shape, Text2ShapeSizes, VoxelGan, VoxelGenerator, VoxelMaker
from gen3d.encoders.tokenizer import WordTokenizer
from gen3d.encoders.trained import CLIP_FILES, WORDS_NAME, load_text2shape, save_encoder
from gen3d.encoders.view_averaged import ViewAveragedClip
from gen3d.encoders.view_transformer import ViewTransformer, ViewTransformerSizes
from gen3d.errors import UsageError
from gen3d.geometry.clouds import SurfaceCloud
from gen3d.language.phrases import TEMPLATES, VIEW_TEMPLATE, VIEWS
from gen3d.priors.linear_code import DISTANCE_RANGE, LinearCode, surface_grids
from gen3d.runtime.paths import packaged_weights
from gen3d.training import losses
from gen3d.training.clip_data import ClipBatches, Palette
from gen3d.training.encoder_data import EncoderData, Frozen, hard_batch, view_means, words_of

KINDS = ("clip", "text2shape", "text2shape-gan", "openshape", "duoduo", "align", "clipforge")
WITHOUT_CLIP = ("clip", "text2shape", "text2shape-gan")
"""The kinds that see no features of a frozen CLIP."""

CRITIC_STEPS = 5
MOST_VIEWS = 6
"""Views of a batch at most (DuoduoCLIP, section 3.2: 1 to 6 of 12)."""

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Options:
    """What a training may do otherwise; the defaults are those that ship, the rest is for ablations.

    batch: shapes a step. points: of a cloud. each: texts, and views, of a shape in gen3d-align. sizes: overrides of a
    network's sizes.
    """

    batch: int = 48
    points: int = 1024
    each: int = 4
    image_loss: bool = True
    text_loss: bool = True
    hard: bool = True
    nested: tuple[int, ...] = NESTED
    sizes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One system. objective: networks and loss, batch -> loss. batch: draws one for a generator on the CPU and the
    share of the budget that is spent. rate: of learning. save: writes the finished objective to a folder.
    """

    objective: Objective
    batch: Callable[[torch.Generator, float], Batch]
    save: Callable[[Any, Path], Path]
    rate: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05


class Objective(nn.Module):
    """Networks that are trained, and the logarithm of the factor on cosines."""

    fits: Tensor

    def __init__(self, fits: Tensor | None = None) -> None:
        """Takes the table of what texts an object may be called by, see `EncoderData.fits`, where the loss asks it."""
        super().__init__()
        self.register_buffer("fits", fits, persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(losses.START_LOG_SCALE))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    def fitting(self, batch: Batch) -> Tensor:
        """[N, M] bool: whether each text of a batch is one of each shape's own, its own text or another's."""
        return self.fits[everyone(batch["objects"])][:, everyone(batch["text_ids"])]

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        raise NotImplementedError

    def before_step(self, step: int) -> None:
        """Takes note of the number of the step."""

    def before_update(self) -> None:
        """Changes gradients before the optimiser uses them."""

    @torch.no_grad()
    def after_update(self) -> None:
        """Keeps the factor on cosines within its bounds."""
        self.log_scale.clamp_(0, math.log(losses.MAX_SCALE))


def build_system(
    kind: str, data: EncoderData, clip: ViewAveragedClip | None, frozen: Frozen | None, folder: Path, options: Options
) -> System:
    """The system of one of `KINDS`.

    clip: the frozen CLIP, which lies in `folder`; for "text2shape-gan" `folder` holds the trained Text2Shape. frozen:
    features by the CLIP. Both are None for the kinds `WITHOUT_CLIP`. Raises UsageError for another kind.
    """
    if kind == "clip":
        return _clip(data, options)
    if kind == "text2shape":
        return _text2shape(data, options)
    if kind == "text2shape-gan":
        return _text2shape_gan(data, folder, options)
    if kind not in KINDS or clip is None or frozen is None:
        raise UsageError(f"'{kind}' is no kind of encoder; there are {', '.join(KINDS)}.")
    build = {"openshape": _openshape, "duoduo": _duoduo, "align": _align, "clipforge": _clipforge}[kind]
    return build(data, clip, frozen, folder, options)


def everyone(features: Tensor) -> Tensor:
    """The rows of all processes, in their order, differentiable; those of this one where it is alone."""
    if not _together():
        return features
    if features.is_floating_point() and features.requires_grad:
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(features))
    parts = [torch.empty_like(features) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, features.contiguous())
    return torch.cat(parts)


def everyones_owners(owner: Tensor, shapes: int) -> Tensor:
    """The indices `owner` of all processes, into the shapes of all of them; each has as many."""
    if _together():
        owner = owner + torch.distributed.get_rank() * shapes
    return everyone(owner)


def _together() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1)


# CLIP


class ClipObjective(Objective):
    """ITC of single views and captions, with names of the gallery as further negatives."""

    def __init__(self, config: dict[str, Any], words: int) -> None:
        super().__init__()
        self.config, self.clip = config, build_clip(config, words)
        self.clip.logit_scale.requires_grad_(False)  # ours is the factor

    def forward(self, batch: Batch) -> Tensor:
        images = _unit(self.clip.encode_image(normalise_images(batch["images"], self.config)))
        texts = torch.cat([encode_text(self.clip, batch["texts"]), encode_text(self.clip, batch["names"])])
        return losses.contrastive_loss(images, texts.float(), batch["ignored"], self.scale)[0]


def _clip(data: EncoderData, options: Options) -> System:
    config = vit_config(options)
    required = [*TEMPLATES, VIEW_TEMPLATE, *VIEWS, *Palette.of_corpus().colors, *(r.nouns[0] for r in data.records)]
    length = int(config["model_cfg"]["text_cfg"]["context_length"])
    tokenizer = WordTokenizer.build(words_of(data), length, required=required)
    batches = ClipBatches(data.corpus, data.rows.tolist(), options.batch, Palette.of_corpus(), seed=0)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        drawn = batches.batch(int(torch.randint(1 << 31, (), generator=generator)))
        texts, names = (tokenizer.encode(some, 0.1, generator) for some in (drawn.texts, drawn.names))
        ignored = torch.cat([drawn.ignored, drawn.names_ignored], 1)
        return {"images": drawn.images, "texts": texts, "names": names, "ignored": ignored}

    def save(objective: ClipObjective, folder: Path) -> Path:
        state = {**objective.clip.state_dict(), "logit_scale": objective.log_scale.detach()}
        return save_clip(state, tokenizer, config, folder)

    return System(ClipObjective(config, tokenizer.vocab_size), batch, save, rate=1e-3, weight_decay=0.1)


def vit_config(options: Options) -> dict[str, Any]:
    """The configuration of a CLIP with a small vision transformer, in the layout of open_clip's hub files."""
    config: dict[str, Any] = json.loads(resources.files("gen3d.encoders").joinpath("clip_vit.json").read_text())
    config["model_cfg"]["vision_cfg"] |= {k: v for k, v in options.sizes.items() if k in _VISION}
    return config


_VISION = ("layers", "width", "head_width", "patch_size", "image_size")


# Text2Shape


class Text2ShapeObjective(Objective):
    """Association and metric learning. A shape comes with two captions."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.net = Text2Shape(sizes)
        self.log_scale.requires_grad_(False)  # raw dot products have none

    def forward(self, batch: Batch) -> Tensor:
        own = self.net.shape(batch["voxels"]).float()
        owner = everyones_owners(batch["owner"], len(own))
        texts, shapes = everyone(self.net.text(batch["texts"]).float()), everyone(own)
        return losses.association(texts, shapes, owner) + losses.text2shape_metric(texts, shapes, owner)


def _text2shape(data: EncoderData, options: Options) -> System:
    tokenizer = WordTokenizer.build(words_of(data), required=(record.nouns[0] for record in data.records))
    sizes = Text2ShapeSizes(tokenizer.vocab_size, **options.sizes)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator, captioned=True)
        chosen = data.draw_captions(objects, 2, generator).flatten()
        texts = tokenizer([data.captions[index] for index in chosen.tolist()])
        return {"voxels": data.voxels(objects), "texts": texts, "owner": _owners(len(objects), 2)}

    def save(objective: Text2ShapeObjective, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder / WORDS_NAME)
        # A softmax over cosines stands in for one over dot products, whose lengths searching leaves out.
        details = {"sizes": dataclasses.asdict(sizes), "scale": 1 / 0.07}
        return save_encoder(folder, "text2shape", objective.net, details)

    return System(Text2ShapeObjective(sizes), batch, save, rate=2e-4, betas=(0.5, 0.999), weight_decay=0.0)


def _owners(shapes: int, each: int) -> Tensor:
    return torch.arange(shapes).repeat_interleave(each)


class GanObjective(Objective):
    """Five steps of the critic, then one of the generator."""

    def __init__(self, sizes: Text2ShapeSizes) -> None:
        super().__init__()
        self.net = VoxelGan(sizes)
        self.log_scale.requires_grad_(False)
        self.turn = 0

    def forward(self, batch: Batch) -> Tensor:
        texts, real = batch["texts"], batch["voxels"]
        fake = self.net.generator(texts, batch["noise"])
        if self.turn % (CRITIC_STEPS + 1) == CRITIC_STEPS:
            return losses.generator_loss(self.net.critic, texts, fake)
        on_real = bool(batch["coin"])
        return losses.critic_loss(self.net.critic, texts, fake, real, batch["mismatched"], on_real)

    def before_step(self, step: int) -> None:
        self.turn = step

    def before_update(self) -> None:
        """Drops what the generator's loss would do to the critic."""
        if self.turn % (CRITIC_STEPS + 1) == CRITIC_STEPS:
            for parameter in self.net.critic.parameters():
                parameter.grad = None


def _text2shape_gan(data: EncoderData, folder: Path, options: Options) -> System:
    encoder, tokenizer = load_text2shape(folder)
    sizes = encoder.sizes

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(min(options.batch, 8), generator, captioned=True)
        chosen = data.draw_captions(objects, 1, generator).flatten()
        with torch.no_grad():
            texts = encoder.text(tokenizer([data.captions[index] for index in chosen.tolist()]))
        voxels = data.voxels(objects)
        noise = VoxelGenerator.noise(len(objects), generator)
        coin = torch.rand((), generator=generator) < 0.5
        return {"texts": texts, "voxels": voxels, "mismatched": voxels.roll(1, 0), "noise": noise, "coin": coin}

    def save(objective: GanObjective, out: Path) -> Path:
        maker = VoxelMaker(sizes)
        maker.text.load_state_dict(encoder.text.state_dict())
        maker.generator.load_state_dict(objective.net.generator.state_dict())
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(out / WORDS_NAME)
        return save_encoder(out, "text2shape-gan", maker, {"sizes": dataclasses.asdict(sizes)})

    return System(GanObjective(sizes), batch, save, rate=5e-5, betas=(0.5, 0.999), weight_decay=0.0)


# OpenShape


class OpenShapeObjective(Objective):
    """The tri-modal loss of coloured points against frozen texts and pictures."""

    def __init__(self, sizes: PointSizes, fits: Tensor, image_loss: bool, text_loss: bool) -> None:
        super().__init__(fits)
        self.net, self.image_loss, self.text_loss = PointEncoder(sizes), image_loss, text_loss

    def forward(self, batch: Batch) -> Tensor:
        shapes = everyone(_unit(self.net(batch["points"])))
        texts, images, seed, has_text = (everyone(batch[name]) for name in ("texts", "images", "seed", "has_text"))
        ignored = losses.false_negatives(images, texts, seed)
        weights = (float(self.text_loss), float(self.image_loss))
        fitting = self.fitting(batch)
        return losses.trimodal(shapes, texts, images, self.scale, ignored, has_text.bool(), fitting, *weights)


def _openshape(data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options) -> System:
    sizes = PointSizes(**{"features": clip.dimension, **options.sizes})
    means = view_means(frozen)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects, seed = _draw_hard(data, means, options, generator, spent)
        has_text = data.caption_count[objects] > 0
        texts, ids = torch.zeros(len(objects), clip.dimension), torch.zeros(len(objects), dtype=torch.long)
        chosen = data.draw_captions(objects[has_text], 1, generator).flatten()
        texts[has_text], ids[has_text] = frozen.texts[chosen], data.text_ids[chosen]
        view = torch.randint(data.view_count, (len(objects),), generator=generator)
        return {
            "points": data.points(objects, options.points, generator), "texts": texts,
            "images": frozen.views[objects, view], "seed": seed, "has_text": has_text.to(torch.uint8),
            "objects": objects, "text_ids": ids,
        }  # fmt: skip

    def save(objective: OpenShapeObjective, out: Path) -> Path:
        details = {"sizes": dataclasses.asdict(sizes), "scale": objective.scale.item()}
        return _with_clip(folder, out, save_encoder(out, "openshape", objective.net, details))

    return System(OpenShapeObjective(sizes, data.fits, options.image_loss, options.text_loss), batch, save)


def _draw_hard(
    data: EncoderData, features: Tensor, options: Options, generator: torch.Generator, spent: float
) -> tuple[Tensor, Tensor]:
    """Objects [B] and the seed that each is a neighbour of [B]; in the first half of a training all are seeds."""
    size = min(options.batch, len(data))
    order = data.draw(len(data), generator)
    if not options.hard or spent < 0.5:
        return order[:size], _apart(torch.arange(size))
    objects, seed = hard_batch(features, order[: max(1, size // 5)], 5)
    objects, seed = objects[:size], seed[:size]
    # Neighbours that several seeds share come once: others take the free places, as seeds without neighbours.
    rest = order[~torch.isin(order, objects)][: size - len(objects)]
    return torch.cat([objects, rest]), _apart(torch.cat([seed, len(data) + torch.arange(len(rest))]))


def _apart(seed: Tensor) -> Tensor:
    """Numbers of seeds that no other process has."""
    rank = (
        torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
    )
    return seed + rank * (1 << 32)


# DuoduoCLIP


class DuoduoObjective(Objective):
    """Two targets: the frozen text, and the mean of the frozen features of the very views that are seen."""

    def __init__(self, tower: ViewTransformer, pixels: tuple[float, float], fits: Tensor) -> None:
        super().__init__(fits)
        self.net, self.pixels = tower, pixels

    def forward(self, batch: Batch) -> Tensor:
        shapes = everyone(_unit(self.net(_normalised(batch["images"], self.pixels))))
        texts, targets = everyone(batch["texts"]), everyone(batch["targets"])
        return losses.duoduo(shapes, texts, targets, self.scale, self.fitting(batch))


def _normalised(images: Tensor, pixels: tuple[float, float]) -> Tensor:
    """Images [B, V, H, W, 3] in 0..1 as a `ViewTransformer` takes them."""
    mean, std = pixels
    return ((images - mean) / std).permute(0, 1, 4, 2, 3)


def _tower(clip: ViewAveragedClip, features: int, options: Options) -> tuple[ViewTransformer, dict[str, Any], bool]:
    """A transformer of views, its sizes, and whether it begins as the frozen CLIP's own."""
    own = getattr(clip.clip.model, "visual", None)
    if isinstance(own, ViewTransformer) and not options.sizes:
        sizes = own.sizes
        tower = ViewTransformer(sizes, features)
        state = own.state_dict()
        if features != clip.dimension:
            state["proj"] = tower.proj.detach()
        tower.load_state_dict(state)
        return tower, dataclasses.asdict(sizes), True
    sizes = ViewTransformerSizes(**vit_config(options)["model_cfg"]["vision_cfg"])
    return ViewTransformer(sizes, features), dataclasses.asdict(sizes), False


def _duoduo(data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options) -> System:
    tower, sizes, begun = _tower(clip, clip.dimension, options)
    pixels = (float(clip.clip.mean[0]), float(clip.clip.std[0]))
    objective = DuoduoObjective(tower, pixels, data.fits)
    if begun:
        tower.requires_grad_(False)
        for parameter in tower.joint_attention():
            parameter.requires_grad_()

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator, captioned=True)
        views = _some_views(data, generator)
        chosen = data.draw_captions(objects, 1, generator).flatten()
        return {
            "images": data.images(objects, views), "targets": losses.view_target(frozen.views[objects][:, views]),
            "texts": frozen.texts[chosen], "objects": objects, "text_ids": data.text_ids[chosen],
        }  # fmt: skip

    def save(objective: DuoduoObjective, out: Path) -> Path:
        details = _view_details(sizes, clip.dimension, objective.scale.item(), pixels)
        return _with_clip(folder, out, save_encoder(out, "duoduo", objective.net, details))

    # The paper's 5e-5 is for an attention that was trained for long.
    return System(objective, batch, save, rate=2e-4 if begun else 5e-4)


def _some_views(data: EncoderData, generator: torch.Generator) -> Tensor:
    """A random number of views, the same for a whole batch, which then is one tensor."""
    count = int(torch.randint(1, min(MOST_VIEWS, data.view_count) + 1, (), generator=generator))
    return torch.randperm(data.view_count, generator=generator)[:count]


def _view_details(sizes: dict[str, Any], features: int, scale: float, pixels: tuple[float, float]) -> dict[str, Any]:
    return {"sizes": sizes, "features": features, "scale": scale, "mean": pixels[0], "std": pixels[1]}


# gen3d-align


class AlignObjective(Objective):
    """Decoupled multi-positives with several texts and several views a shape, at all nested sizes at once."""

    def __init__(self, net: AlignModel, pixels: tuple[float, float], fits: Tensor, options: Options) -> None:
        super().__init__(fits)
        self.net, self.pixels, self.options = net, pixels, options

    def forward(self, batch: Batch) -> Tensor:
        views = _normalised(batch["images"], self.pixels)
        shapes, texts, pictures = self.net(views, batch["texts"], batch["pictures"])
        text_owner, picture_owner = (
            everyones_owners(batch[name], len(shapes)) for name in ("text_owner", "picture_owner")
        )

        fitting = self.fitting(batch)

        def loss(shapes: Tensor, texts: Tensor, pictures: Tensor) -> Tensor:
            parts = []
            if self.options.text_loss:
                parts.append(losses.multi_positive(shapes, texts, text_owner, self.scale, fitting))
            if self.options.image_loss:
                parts.append(losses.multi_positive(shapes, pictures, picture_owner, self.scale))
            return torch.stack(parts).sum()

        return losses.nested(loss, [everyone(part.float()) for part in (shapes, texts, pictures)], self.net.sizes)


def _align(data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options) -> System:
    if not (options.text_loss or options.image_loss):
        raise UsageError("Without the text loss and the image loss there is nothing to train.")
    tower, sizes, _ = _tower(clip, max(options.nested), options)
    net = AlignModel(ViewTransformerSizes(**sizes), clip.dimension, options.nested)
    net.views.load_state_dict(tower.state_dict())
    pixels, each = (float(clip.clip.mean[0]), float(clip.clip.std[0])), options.each

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator, captioned=True)
        chosen = data.draw_captions(objects, each, generator).flatten()
        shown = torch.rand(len(objects), data.view_count, generator=generator).argsort(1)[:, :each]
        return {
            "images": data.images(objects, _some_views(data, generator)), "texts": frozen.texts[chosen],
            "pictures": frozen.views[objects[:, None], shown].flatten(0, 1),
            "objects": objects, "text_ids": data.text_ids[chosen],
            "text_owner": _owners(len(objects), each), "picture_owner": _owners(len(objects), shown.shape[1]),
        }  # fmt: skip

    def save(objective: AlignObjective, out: Path) -> Path:
        details = _view_details(sizes, max(options.nested), objective.scale.item(), pixels)
        details |= {"nested": list(options.nested), "clip_features": clip.dimension}
        return _with_clip(folder, out, save_encoder(out, "align", objective.net, details))

    return System(AlignObjective(net, pixels, data.fits, options), batch, save)


# CLIP-Forge


class FlowObjective(Objective):
    """The likelihood of shape codes given the frozen feature of one picture of the shape. It sees no text."""

    def __init__(self, flow: ConditionalFlow) -> None:
        super().__init__()
        self.net = flow
        self.log_scale.requires_grad_(False)

    def forward(self, batch: Batch) -> Tensor:
        return losses.flow_loss(*self.net(batch["codes"], batch["images"]))


def _clipforge(data: EncoderData, clip: ViewAveragedClip, frozen: Frozen, folder: Path, options: Options) -> System:
    codes = shape_codes(data, load_linear_code())
    sizes = FlowSizes(codes.shape[1], clip.dimension, **options.sizes)
    flow = ConditionalFlow(sizes)
    flow.fit(codes)

    def batch(generator: torch.Generator, spent: float) -> Batch:
        objects = data.draw(options.batch, generator)
        view = torch.randint(data.view_count, (len(objects),), generator=generator)
        # Noise on the condition is what lets texts, which lie beside the pictures, take their place.
        images = frozen.views[objects, view]
        noise = torch.randn(images.shape, generator=generator) / math.sqrt(images.shape[1])
        return {"codes": codes[objects], "images": _unit(images + 0.2 * noise)}

    def save(objective: FlowObjective, out: Path) -> Path:
        details = {"sizes": dataclasses.asdict(sizes)}
        return _with_clip(folder, out, save_encoder(out, "clipforge", objective.net, details))

    return System(FlowObjective(flow), batch, save)


def load_linear_code() -> LinearCode:
    """The linear code of the packaged shape prior, which learned shapes without texts."""
    from gen3d.priors.shape_prior import ShapePrior

    return ShapePrior.load().code


@torch.no_grad()
def shape_codes(data: EncoderData, code: LinearCode) -> Tensor:
    """The codes [N, K] of the training objects: shape, then appearance."""
    grid, surface, rgb = (data.corpus.array(name) for name in ("grid", "surface", "surface_rgb"))
    found = []
    for row in data.rows.tolist():
        distances = torch.from_numpy(grid[row].copy()).float().flatten() * (TRUNCATION / 127)
        points, colors = (torch.from_numpy(array[row].copy()).float()[None] for array in (surface, rgb))
        areas = torch.full(points.shape[:2], data.corpus.records[row].area / points.shape[1])
        appearance = surface_grids(SurfaceCloud(points, areas, colors / 255))[1]
        distances = distances.clamp(-DISTANCE_RANGE, DISTANCE_RANGE)[None]
        found.append(torch.cat([code.encode_distance(distances), code.encode_color(appearance)], 1))
    return torch.cat(found)


def _with_clip(folder: Path, out: Path, written: Path) -> Path:
    """Puts the CLIP that an encoder was aligned with beside it, unless it is the one that comes with gen3d."""
    for name in CLIP_FILES:
        if folder.resolve() not in (packaged_weights().resolve(), out.resolve()):
            shutil.copyfile(folder / name, out / name)
        elif folder.resolve() == packaged_weights().resolve():
            (out / name).unlink(missing_ok=True)
    return written

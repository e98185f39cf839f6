"""Training batches of the evaluator: views of distinct objects with a caption each, many of them recoloured.

Twenty-five chairs share a noun, so a batch holds only a few objects of the same first noun: chance would otherwise
fill it with chairs. The nouns of different objects may still overlap ("armchair" is a "chair" too); where a text's
noun fits another object's image that pair is neither positive nor negative but left out of the loss, as OpenShape
leaves out near-duplicates. Counting such pairs as positives would teach that any chair matches any chair caption,
colour and all.

A batch of a hundred captions says little about six hundred names, so every step also draws names of the gallery that
are wrong for some of its images: further negatives, which cost a few tokens each instead of an image.

Where every noun is distinct a model may ignore colours altogether, so some objects come twice, in two colours that
their captions name: only colour tells such twins apart.

The evaluator judges, so unlike the generator's prior it may see every colour and noun pair, those of
`gen3d.language.captions.held_out_pairs` included. It never sees an object that is held out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gen3d.corpus.store import Corpus, ObjectRecord
from gen3d.errors import Gen3DError
from gen3d.language.captions import COLORS, nouns, recolored, with_article
from gen3d.language.phrases import TEMPLATES, VIEW_TEMPLATE, mentions, view_word
from gen3d.language.words import text_words
from gen3d.training.clip_augment import augment, recolor

PEOPLE = frozenset({"person", "people", "child", "man", "woman", "boy", "girl", "baby"})

Recolored = Callable[[str, str], list[str]]


@dataclass(frozen=True)
class Palette:
    """Named colours (sRGB in 0..1) and the captions of a noun in one of them."""

    colors: Mapping[str, tuple[float, float, float]]
    captions: Recolored

    @classmethod
    def of_corpus(cls) -> Palette:
        """The colours of the captions; the pairs that the corpus holds out of its generator get the same sentences."""

        def every_pair(noun: str, color: str) -> list[str]:
            name = f"{color} {noun}"
            return recolored(noun, color) or [name, with_article(name), f"{with_article(noun)} in {color}"]

        return cls(COLORS, every_pair)

    def names_color(self, text: str) -> bool:
        return any(word in self.colors for word in text_words(text))


@dataclass(frozen=True)
class ClipBatch:
    """A batch: images [B, 3, H, W] in 0..1, their texts, and ignored [B, B] bool: image i may fit text j, which is not
    its own. names: N phrases more, wrong for every image but those of names_ignored [B, N] bool.
    """

    images: Tensor
    texts: list[str]
    ignored: Tensor
    names: list[str]
    names_ignored: Tensor


@dataclass(frozen=True)
class _Sample:
    index: int
    color: str | None


class ClipBatches:
    """Draws batches; batch `step` is a function of (seed, step) alone, so resuming changes nothing."""

    RECOLORED = 0.25
    """Probability that an object without a twin is recoloured; with the twins about 0.4 of all images are."""
    NOUN_CAPTION = 0.4
    VIEW_CAPTION = 0.15
    NAMES = 160
    """Names of the gallery that every step adds to the captions as negatives."""

    def __init__(self, corpus: Corpus, indices: Sequence[int], batch_size: int, palette: Palette, seed: int) -> None:
        """Takes the objects to draw from, `indices`, and a palette of two colours or more.

        Raises Gen3DError when fewer than two objects have captions and distinct nouns.
        """
        self.records = corpus.records
        self.views, self.cameras = corpus.array("views"), corpus.array("cameras")
        self.indices = [int(i) for i in indices if self.records[int(i)].captions and self.records[int(i)].nouns]
        self.batch_size, self.palette, self.seed = batch_size, palette, seed
        self.gallery = gallery_names([self.records[i] for i in self.indices], palette)
        self._general = {name: set(nouns(name)) for name in self.gallery}
        if len({self.records[i].nouns[0] for i in self.indices}) < 2:
            raise Gen3DError(
                f"The corpus '{corpus.folder}' has {len(self.indices)} captioned training objects and fewer than two "
                "distinct nouns, which is too little to contrast: build a larger corpus with 'gen3d corpus build'."
            )

    def batch(self, step: int) -> ClipBatch:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        samples = self._draw(generator)
        chosen = torch.randint(self.views.shape[1], (len(samples),), generator=generator).tolist()
        texts = [self._text(sample, view, generator) for sample, view in zip(samples, chosen, strict=True)]
        images = self._images(samples, chosen, texts, generator)
        order = torch.randperm(len(self.gallery), generator=generator)[: self.NAMES].tolist()
        names = [self.gallery[i] for i in order]
        fits = torch.tensor([[self._may_be(sample, name) for name in names] for sample in samples], dtype=torch.bool)
        phrases = [with_article(name) for name in names]
        return ClipBatch(images, texts, self._ignored(samples, texts), phrases, fits.view(len(samples), len(names)))

    def _draw(self, generator: torch.Generator) -> list[_Sample]:
        twins, repeats = self.batch_size // 8, max(1, self.batch_size // 32)
        names, taken = list(self.palette.colors), Counter[str]()
        samples: list[_Sample] = []
        for position in torch.randperm(len(self.indices), generator=generator).tolist():
            if len(samples) + 1 >= self.batch_size and samples:
                break
            index = self.indices[position]
            record = self.records[index]
            if taken[record.nouns[0]] >= repeats:
                continue
            taken[record.nouns[0]] += 1
            colors = torch.randperm(len(names), generator=generator)[:2].tolist()
            draw = float(torch.rand((), generator=generator))
            # A noun that names its own colours ("red cube on a blue ball") cannot be told a new one.
            if not self._may_recolor(record):
                samples.append(_Sample(index, None))
            elif twins > 0:
                samples += [_Sample(index, names[color]) for color in colors]
                twins -= 1
            else:
                samples.append(_Sample(index, names[colors[0]] if draw < self.RECOLORED else None))
        order = torch.randperm(len(samples), generator=generator).tolist()
        return [samples[i] for i in order]

    def _ignored(self, samples: list[_Sample], texts: list[str]) -> Tensor:
        names = [self._noun_of(sample, text) for sample, text in zip(samples, texts, strict=True)]
        fitting = [set(self.records[sample.index].nouns) for sample in samples]
        return torch.tensor(
            [
                # Twins share all nouns, but their texts name different colours: they are negatives of each other.
                [name in fitting[i] and samples[i].index != samples[j].index for j, name in enumerate(names)]
                for i in range(len(samples))
            ]
        )

    def _may_be(self, sample: _Sample, name: str) -> bool:
        """Whether the object may be called `name`: one of its own nouns, or a more special one than its best."""
        own = self.records[sample.index].nouns
        return name in own or own[0] in self._general[name] or name.endswith(f" {own[0]}")

    def _noun_of(self, sample: _Sample, text: str) -> str:
        """The noun of the object that `text` uses: the longest that it mentions."""
        own = self.records[sample.index].nouns
        return max((noun for noun in own if mentions(text, noun)), key=len, default=own[0])

    def _may_recolor(self, record: ObjectRecord) -> bool:
        # Of people a colour word would be about the skin, not the clothes.
        return not (self.palette.names_color(record.nouns[0]) or PEOPLE.intersection(record.nouns))

    def _text(self, sample: _Sample, view: int, generator: torch.Generator) -> str:
        def pick(options: Sequence[str]) -> str:
            return options[int(torch.randint(len(options), (), generator=generator))]

        record = self.records[sample.index]
        use_noun, use_view = torch.rand(2, generator=generator).tolist()
        if sample.color is not None:
            text = pick(self.palette.captions(record.nouns[0], sample.color))
        elif use_noun < self.NOUN_CAPTION:
            text = with_article(pick(record.nouns))
        else:
            text = pick(record.captions)
        if not text.startswith("a 3d model"):  # some captions bring their template along
            text = pick(TEMPLATES).format(text)
        word = view_word(float(self.cameras[sample.index, view, 0]))
        return VIEW_TEMPLATE.format(text, word) if word and use_view < self.VIEW_CAPTION else text

    def _images(
        self, samples: list[_Sample], chosen: list[int], texts: list[str], generator: torch.Generator
    ) -> Tensor:
        views = np.stack([self.views[s.index, view] for s, view in zip(samples, chosen, strict=True)])
        rgba = torch.from_numpy(views).permute(0, 3, 1, 2).contiguous().float() / 255  # [B, 4, H, W]
        rgb, alpha = rgba[:, :3], rgba[:, 3:]
        painted = torch.tensor([sample.color is not None for sample in samples])
        targets = torch.tensor([self.palette.colors[s.color] if s.color else (0.0, 0.0, 0.0) for s in samples])
        # A named colour is a region, not a point.
        targets = (targets + 0.05 * torch.randn(targets.shape, generator=generator)).clamp(0.02, 0.98)
        selective = torch.rand(len(samples), generator=generator) < 0.5
        rgb[painted] = recolor(rgb[painted], alpha[painted], targets[painted], selective[painted])
        sided = torch.tensor([bool(re.search(r"\b(left|right)\b", text)) for text in texts])
        mirror = (torch.rand(len(samples), generator=generator) < 0.5) & ~sided
        return augment(rgb, alpha, mirror, generator)


def gallery_names(records: Sequence[ObjectRecord], palette: Palette) -> list[str]:
    """The distinct first nouns of the training objects that name no colour, sorted: the gallery of R-precision."""
    names = {r.nouns[0] for r in records if r.nouns and not r.held_out and not palette.names_color(r.nouns[0])}
    return sorted(names)
